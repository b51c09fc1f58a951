package bosh

import (
	"strconv"
	"time"

	"mellium.im/xmpp/stream"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// Terminal binding conditions (XEP-0124 section 17.2).
const (
	badRequest      = "bad-request"
	hostUnknown     = "host-unknown"
	improper        = "improper-addressing"
	internalError   = "internal-server-error"
	itemNotFound    = "item-not-found"
	policyViolation = "policy-violation"
	remoteError     = "remote-stream-error"
	systemShutdown  = "system-shutdown"
)

const bodyOpen = "<body xmlns='" + ns.HTTPBind + "'"

// emptyBody answers a request that has nothing to wait for.
func emptyBody() []byte { return []byte(bodyOpen + "/>") }

// recoverable answers the copy of a request that was repeated (section 17.3).
func recoverable() []byte { return []byte(bodyOpen + " type='error'/>") }

// terminal ends a session, or says that there is none.
func terminal(condition string) []byte {
	b := []byte(bodyOpen + " type='terminate'")
	if condition != "" {
		b = append(b, " condition='"+condition+"'"...)
	}
	return append(b, '/', '>')
}

// wrap answers with payload.
func wrap(attrs, payload []byte) []byte {
	b := make([]byte, 0, len(bodyOpen)+len(attrs)+len(payload)+len("></body>"))
	b = append(append(b, bodyOpen...), attrs...)
	if len(payload) == 0 {
		return append(b, '/', '>')
	}
	b = append(b, '>')
	b = append(b, payload...)
	return append(b, "</body>"...)
}

// farewell is the last answer of a session (XEP-0206 section 6). Before the
// session was created the errors of creation have names of their own.
func farewell(c server.Close, creating bool, attrs, payload []byte) []byte {
	condition, withError := "", false
	switch streamCondition := c.Condition(); {
	case streamCondition == "":
	case creating && streamCondition == stream.HostUnknown.Err:
		condition = hostUnknown
	case creating && streamCondition == stream.ImproperAddressing.Err:
		condition = improper
	case c.Reason == server.ReasonShutdown:
		condition = systemShutdown
	case c.Reason == server.ReasonInternal:
		condition = internalError
	default:
		condition, withError = remoteError, true
	}
	end := append([]byte(nil), attrs...)
	end = append(end, " type='terminate'"...)
	if condition != "" {
		end = append(end, " condition='"+condition+"'"...)
	}
	if withError {
		end = append(end, " xmlns:stream='"+ns.Stream+"'"...)
		payload = c.AppendError(payload[:len(payload):len(payload)], false)
	}
	return wrap(end, payload)
}

// creation are the attributes of a session's first answer (XEP-0124 section 7.2,
// XEP-0206 section 4).
func (s *session) creation() []byte {
	var b []byte
	add := func(name, value string) {
		b = append(b, ' ')
		b = append(b, name...)
		b = append(b, "='"...)
		b = xmlscan.AppendAttr(b, value)
		b = append(b, '\'')
	}
	seconds := func(name string, d time.Duration) {
		add(name, strconv.Itoa(int(d/time.Second)))
	}
	add("sid", s.sid)
	seconds("wait", s.wait)
	add("requests", strconv.Itoa(s.win.requests))
	add("hold", strconv.Itoa(s.win.hold))
	seconds("inactivity", s.h.cfg.Inactivity)
	if s.h.cfg.Polling > 0 {
		seconds("polling", s.h.cfg.Polling)
	}
	if s.h.cfg.MaxPause > 0 {
		seconds("maxpause", s.h.cfg.MaxPause)
	}
	add("ver", lowerVersion(s.ver))
	add("from", s.header.From)
	add("authid", s.header.ID)
	if s.info.Secure {
		add("secure", "true")
	}
	add("xmlns:xmpp", ns.XBOSH)
	add("xmpp:version", "1.0")
	add("xmpp:restartlogic", "true")
	return b
}

// ownVersion is the version of XEP-0124 spoken here.
const ownVersion = "1.11"

// lowerVersion is the lower of the client's version and ours (section 7.2).
func lowerVersion(client string) string {
	var major, minor int
	if n, m, ok := splitVersion(client); ok {
		major, minor = n, m
	} else {
		return ownVersion
	}
	if major < 1 || major == 1 && minor < 11 {
		return client
	}
	return ownVersion
}

func splitVersion(v string) (major, minor int, ok bool) {
	for i := range len(v) {
		if v[i] != '.' {
			continue
		}
		a, errA := strconv.ParseUint(v[:i], 10, 16)
		b, errB := strconv.ParseUint(v[i+1:], 10, 16)
		return int(a), int(b), errA == nil && errB == nil
	}
	return 0, 0, false
}
