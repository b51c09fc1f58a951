package bosh

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mellium.im/xmpp/stream"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// Conditions of a session's end (XEP-0124 section 17.2).
const (
	badRequestCondition = "bad-request"
	improperAddressing  = "improper-addressing"
	hostUnknown         = "host-unknown"
	internalServerError = "internal-server-error"
	itemNotFound        = "item-not-found"
	policyViolation     = "policy-violation"
	remoteStreamError   = "remote-stream-error"
	systemShutdown      = "system-shutdown"
)

// legacyStatus is what clients older than the ver attribute are told instead
// (XEP-0124 section 17.1).
func legacyStatus(condition string) int16 {
	switch condition {
	case badRequestCondition:
		return http.StatusBadRequest
	case policyViolation:
		return http.StatusForbidden
	case itemNotFound:
		return http.StatusNotFound
	}
	return http.StatusOK
}

// bodyStart leaves out the end of the tag.
const bodyStart = "<body xmlns='" + ns.HTTPBind + "'"

func appendAttr(dst []byte, name, value string) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, '=', '\'')
	dst = xmlscan.AppendAttr(dst, value)
	return append(dst, '\'')
}

const (
	bodyEnd     = "</body>"
	streamSpace = " xmlns:stream='" + ns.Stream + "'"
)

// needsStream reports whether stanzas have the prefix of streams, which is declared on
// the body then (XEP-0206 section 4).
func needsStream(stanzas []byte) bool { return bytes.Contains(stanzas, []byte("<stream:")) }

// appendPayload ends the start tag and appends stanzas, whatever follows them,
// and the end tag.
func (r *reply) appendPayload(stanzas, after []byte) {
	r.status = http.StatusOK
	if len(stanzas)+len(after) == 0 {
		r.body = append(r.body, '/', '>')
		return
	}
	if needsStream(stanzas) || needsStream(after) {
		r.body = append(r.body, streamSpace...)
	}
	r.body = append(r.body, '>')
	r.from = int32(len(r.body))
	r.body = append(r.body, stanzas...)
	r.to = int32(len(r.body))
	r.body = append(r.body, after...)
	r.body = append(r.body, bodyEnd...)
}

// emptyBody is that of most replies, and never changed.
var emptyBody = []byte(bodyStart + "/>")

func emptyReply() reply { return reply{body: emptyBody, status: http.StatusOK} }

// errorReply tells a client to ask again (XEP-0124 section 17.3): it goes to
// requests that a newer one has replaced.
func errorReply() reply {
	r := reply{body: []byte(bodyStart + " type='error'")}
	r.appendPayload(nil, nil)
	return r
}

// payloadReply makes a reply of the very size, as it is kept for a while; those that
// need a prefix are few.
func payloadReply(attrs, stanzas []byte) reply {
	if len(attrs)+len(stanzas) == 0 {
		return emptyReply()
	}
	size := len(bodyStart) + len(attrs) + len("/>")
	if len(stanzas) > 0 {
		size += len(stanzas) + len(bodyEnd) - 1
	}
	r := reply{body: make([]byte, 0, size)}
	r.body = append(r.body, bodyStart...)
	r.body = append(r.body, attrs...)
	r.appendPayload(stanzas, nil)
	return r
}

// terminateReply ends a session, or refuses to begin one.
func terminateReply(e ending, stanzas []byte) reply {
	r := reply{body: []byte(bodyStart + " type='terminate'"), last: true}
	if e.condition != "" {
		r.body = appendAttr(r.body, "condition", e.condition)
	}
	r.appendPayload(stanzas, e.stream)
	return r
}

// refusal is a terminateReply for a request that belongs to no session.
func refusal(condition string, legacy bool) reply {
	r := terminateReply(ending{condition: condition}, nil)
	if legacy {
		r.status = legacyStatus(condition)
	}
	return r
}

// ending is the last word on a session.
type ending struct {
	condition string
	stream    []byte // the <stream:error/>, if any
}

// conditionOf translates the core's reason for closing a session. created says
// that the client knows the session.
func conditionOf(c server.Close, created bool) ending {
	switch condition := c.Condition(); {
	case condition == "":
		return ending{}
	case c.Reason == server.ReasonShutdown:
		return ending{condition: systemShutdown}
	case c.Reason == server.ReasonInternal:
		return ending{condition: internalServerError}
	case !created && condition == stream.HostUnknown.Err:
		return ending{condition: hostUnknown}
	case !created && condition == stream.ImproperAddressing.Err:
		return ending{condition: improperAddressing}
	}
	return ending{condition: remoteStreamError, stream: c.AppendError(nil, false)}
}

// terms is what client and server agreed upon when the session was created
// (XEP-0124 section 7).
type terms struct {
	contentType string
	wait        time.Duration
	hold        int32
	spare       int32 // requests beyond those
}

// requests is how many requests the client may have in flight.
func (t *terms) requests() int { return int(t.hold + t.spare) }

// polling reports whether every request is answered at once (XEP-0124 section 12).
func (s *session) polling() bool { return s.terms.wait == 0 || s.terms.hold == 0 }

func (c *Config) terms(b *body) terms {
	t := terms{
		contentType: negotiateContent(b.content),
		wait:        c.Wait, hold: int32(c.Hold), spare: int32(max(1, c.Requests-c.Hold)),
	}
	if b.wait.given {
		t.wait = min(t.wait, time.Duration(b.wait.value)*time.Second)
	}
	if b.hold.given {
		t.hold = min(t.hold, int32(b.hold.value))
	}
	return t
}

// The version of XEP-0124 that is spoken.
const (
	versionMajor = 1
	versionMinor = 11
)

// negotiateVersion returns the lower of the client's version and ours.
func negotiateVersion(theirs string) string {
	a, b, _ := strings.Cut(theirs, ".")
	major, err := strconv.ParseUint(a, 10, 31)
	minor, err2 := strconv.ParseUint(b, 10, 31)
	if err != nil || err2 != nil || major > versionMajor || major == versionMajor && minor > versionMinor {
		major, minor = versionMajor, versionMinor
	}
	return fmt.Sprintf("%d.%d", major, minor)
}

const defaultContentType = "text/xml; charset=utf-8"

// negotiateContent grants a content type that no browser takes for a page.
func negotiateContent(asked string) string {
	kind, params, err := mime.ParseMediaType(asked)
	if err != nil {
		return defaultContentType
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return defaultContentType
	}
	switch kind {
	case "text/xml", "application/xml", "text/plain":
		return kind + "; charset=utf-8"
	}
	return defaultContentType
}

// createdReply is the first one of a session (XEP-0124 section 7.2, XEP-0206
// section 4).
func (s *session) createdReply(attrs, stanzas []byte) reply {
	t, c := &s.terms, &s.h.cfg
	r := reply{whole: true, body: make([]byte, 0, 512+len(stanzas))}
	r.body = append(r.body, bodyStart+" xmlns:xmpp='"+ns.XBOSH+"'"...)
	r.body = append(r.body, attrs...)
	seconds := func(name string, d time.Duration) {
		r.body = appendAttr(r.body, name, strconv.Itoa(int(d/time.Second)))
	}
	r.body = appendAttr(r.body, "sid", s.sid)
	r.body = appendAttr(r.body, "from", s.domain)
	r.body = appendAttr(r.body, "ver", s.opening.version)
	seconds("wait", t.wait)
	r.body = appendAttr(r.body, "hold", strconv.Itoa(int(t.hold)))
	r.body = appendAttr(r.body, "requests", strconv.Itoa(t.requests()))
	seconds("inactivity", c.Inactivity)
	if c.Polling > 0 {
		seconds("polling", c.Polling)
	}
	if c.MaxPause > 0 {
		seconds("maxpause", c.MaxPause)
	}
	if s.secure {
		r.body = appendAttr(r.body, "secure", "true")
	}
	r.body = appendAttr(r.body, "authid", s.opening.id)
	r.body = appendAttr(r.body, "xmpp:version", "1.0")
	r.body = appendAttr(r.body, "xmpp:restartlogic", "true")
	r.appendPayload(stanzas, nil)
	return r
}
