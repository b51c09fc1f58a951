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
func legacyStatus(condition string) int {
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

// appendPayload ends the start tag and appends stanzas, whatever follows them,
// and the end tag.
func (r *reply) appendPayload(stanzas, after []byte) {
	r.status = http.StatusOK
	if len(stanzas)+len(after) == 0 {
		r.body = append(r.body, '/', '>')
		return
	}
	// XEP-0206 section 4: the prefix is declared on the body.
	if streams := []byte("<stream:"); bytes.Contains(stanzas, streams) || bytes.Contains(after, streams) {
		r.body = append(r.body, " xmlns:stream='"+ns.Stream+"'"...)
	}
	r.body = append(r.body, '>')
	r.from = len(r.body)
	r.body = append(r.body, stanzas...)
	r.to = len(r.body)
	r.body = append(r.body, after...)
	r.body = append(r.body, "</body>"...)
}

func emptyReply() reply { return payloadReply(nil, nil) }

// errorReply tells a client to ask again (XEP-0124 section 17.3): it goes to
// requests that a newer one has replaced.
func errorReply() reply {
	r := reply{body: []byte(bodyStart + " type='error'")}
	r.appendPayload(nil, nil)
	return r
}

func payloadReply(attrs, stanzas []byte) reply {
	r := reply{body: make([]byte, 0, len(bodyStart)+len(attrs)+len(stanzas)+64)}
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
	ver, contentType           string
	wait, inactivity, maxPause time.Duration
	poll                       time.Duration // shortest interval of polls
	hold                       int
	spare                      int // requests beyond those
}

// requests is how many requests the client may have in flight.
func (t *terms) requests() int { return t.hold + t.spare }

// polling reports whether every request is answered at once (XEP-0124 section 12).
func (t *terms) polling() bool { return t.wait == 0 || t.hold == 0 }

func (c *Config) terms(b *body) terms {
	t := terms{
		ver: negotiateVersion(b.ver), contentType: negotiateContent(b.content),
		wait: c.Wait, hold: c.Hold, spare: max(1, c.Requests-c.Hold),
		inactivity: c.Inactivity, maxPause: c.MaxPause, poll: c.Polling,
	}
	if b.wait.given {
		t.wait = min(t.wait, time.Duration(b.wait.value)*time.Second)
	}
	if b.hold.given {
		t.hold = min(t.hold, b.hold.value)
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
func createdReply(sid string, t *terms, h server.StreamHeader, secure bool, attrs, stanzas []byte) reply {
	r := reply{whole: true, body: make([]byte, 0, 512+len(stanzas))}
	r.body = append(r.body, bodyStart+" xmlns:xmpp='"+ns.XBOSH+"'"...)
	r.body = append(r.body, attrs...)
	seconds := func(name string, d time.Duration) {
		r.body = appendAttr(r.body, name, strconv.Itoa(int(d/time.Second)))
	}
	r.body = appendAttr(r.body, "sid", sid)
	r.body = appendAttr(r.body, "from", h.From)
	r.body = appendAttr(r.body, "ver", t.ver)
	seconds("wait", t.wait)
	r.body = appendAttr(r.body, "hold", strconv.Itoa(t.hold))
	r.body = appendAttr(r.body, "requests", strconv.Itoa(t.requests()))
	seconds("inactivity", t.inactivity)
	if t.poll > 0 {
		seconds("polling", t.poll)
	}
	if t.maxPause > 0 {
		seconds("maxpause", t.maxPause)
	}
	if secure {
		r.body = appendAttr(r.body, "secure", "true")
	}
	r.body = appendAttr(r.body, "authid", h.ID)
	r.body = appendAttr(r.body, "xmpp:version", "1.0")
	r.body = appendAttr(r.body, "xmpp:restartlogic", "true")
	r.appendPayload(stanzas, nil)
	return r
}
