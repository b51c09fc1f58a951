package bosh

import (
	"strconv"
	"time"

	"mellium.im/xmpp/stream"

	"rollcall/server"
)

// Acknowledgements (XEP-0124 section 9).

// received is the highest rid up to which every request has come.
func (w *window[R]) received() int64 {
	rid := w.next - 1
	for w.find(rid+1) != nil {
		rid++
	}
	return rid
}

// ack forgets the replies up to a rid, which the client has got.
func (w *window[R]) ack(rid int64) {
	if w.acks {
		w.forget(func(s *slot[R]) bool { return s.state == answered && s.rid <= rid })
	}
}

// goesOn says that a new request came: a client without acknowledgements does that
// after it got what was written before. An empty one comes even only when it has no
// other at the server, if it should have no more than one.
func (w *window[R]) goesOn(empty bool) {
	for i := range w.slots {
		s := &w.slots[i]
		s.known = s.known || s.state == answered && (s.sent || empty && w.hold <= 1)
	}
}

// missing is when the reply to a request was made that the client has not got, if
// there is one.
func (w *window[R]) missing(rid int64) (at time.Duration, ok bool) {
	if s := w.find(rid); s != nil && s.state == answered {
		return s.reply.at, true
	}
	return at, false
}

// kept is how many replies are remembered, and how many bytes they have.
func (w *window[R]) kept() (replies, bytes int) {
	for i := range w.slots {
		if s := &w.slots[i]; s.state == answered {
			replies++
			bytes += s.reply.size()
		}
	}
	return replies, bytes
}

// undelivered returns the stanzas of those replies that did not reach the client:
// those that were never written, and with doubtful those that it may have missed.
// These are the ones not acknowledged, or, when a client does not do that, those
// that no new request came after.
func (w *window[R]) undelivered(doubtful bool) []byte {
	var all []byte
	for i := range w.slots {
		s := &w.slots[i]
		if s.state == answered && s.reply.carries() && (!s.sent || doubtful) && (w.acks || !s.known) {
			all = append(all, s.reply.stanzas()...)
		}
	}
	return all
}

// missing is a reply that a client has not got, as it seems.
type missing struct {
	rid int64
	at  time.Duration // of the reply
}

// maxUnacked is how many replies are kept that a client does not acknowledge.
const maxUnacked = 64

// acknowledged takes what a request says of replies. Without the attribute, a
// client that acknowledges has got everything before (XEP-0124 section 9.2). The
// caller has the lock.
func (s *session) acknowledged(r *request, v verdict) {
	fresh := v == process || v == early
	if fresh && !r.creates {
		s.win.goesOn(r.empty())
	}
	if !s.win.acks || r.creates || v == tooHigh || v == overactive || v == stubborn {
		return
	}
	ack := r.rid - 1
	if r.acks {
		ack = min(ack, r.ack)
	}
	s.win.ack(ack)
	if at, ok := s.win.missing(ack + 1); ok && fresh {
		s.report = missing{ack + 1, at}
	}
}

// ackAttrs are the attributes of the reply to a request that acknowledge requests
// and report a reply. The caller has the lock.
func (s *session) ackAttrs(rid int64) []byte {
	if !s.win.acks {
		return nil
	}
	var attrs []byte
	if got := s.win.received(); got != rid || !s.created {
		attrs = appendAttr(attrs, "ack", strconv.FormatInt(got, 10))
	}
	if _, still := s.win.missing(s.report.rid); still && s.report.rid > 0 {
		attrs = appendAttr(attrs, "report", strconv.FormatInt(s.report.rid, 10))
		attrs = appendAttr(attrs, "time", strconv.FormatInt((s.h.now()-s.report.at).Milliseconds(), 10))
	}
	s.report = missing{}
	return attrs
}

// reportTime is how old a reply is that should have come by now.
const reportTime = time.Second

// tellMissing tells of a missing reply at once when it has been under way for long.
// The caller has the lock.
func (s *session) tellMissing() {
	if s.report.rid == 0 || s.h.now()-s.report.at < reportTime {
		return
	}
	if rid, ok := s.win.oldest(); ok {
		s.release(rid)
	}
}

// bound ends the session of a client that acknowledges too little. The caller has
// the lock.
func (s *session) bound() {
	if !s.win.acks || s.end != nil {
		return
	}
	if n, bytes := s.win.kept(); n > maxUnacked || n > 1 && bytes > s.outbox() {
		s.fate = policyViolation
		s.core.Kick(server.StreamError(stream.PolicyViolation, errUnacked))
	}
}
