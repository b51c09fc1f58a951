package server

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// manageable reports whether stream management is offered on the session's connection.
func (s *Session) manageable() bool {
	return s.srv.cfg.StreamManagement.Enabled && s.Info().Manageable
}

// offerManagement lists stream management among the features where it is offered.
func (srv *Server) offerManagement() {
	o := &offer{AfterLogin, func(s *Session, dst []byte) []byte {
		if s.manageable() {
			dst = append(dst, "<sm xmlns='"+ns.StreamManagement+"'/>"...)
		}
		return dst
	}}
	srv.offers.change(func(list []*offer) []*offer { return append(list, o) })
}

// streamElement takes an element of stream management (XEP-0198).
func (s *Session) streamElement(t *Turn, el *xmlscan.Element) Outcome {
	m := s.managed()
	switch name := string(el.Local); {
	case name != "enable" && name != "resume" && name != "r" && name != "a":
		s.close(t, StreamError(stream.UnsupportedStanzaType, nil))
	case !s.manageable():
		s.streamFailed(t, stanza.FeatureNotImplemented)
	case name == "resume" && s.phase == negotiating && !s.jid.IsZero():
		s.resume(t, el)
	case s.phase != bound, name == "resume", (name == "enable") == (m != nil && m.acks):
		s.streamFailed(t, stanza.UnexpectedRequest)
	case name == "enable":
		s.enable(t, el)
	case name == "r":
		s.acknowledge(t, m)
	default:
		s.acknowledged(t, m, el)
	}
	return More
}

// streamFailed answers that an element of stream management came to nothing (section
// 6).
func (s *Session) streamFailed(t *Turn, c stanza.Condition) { s.streamFailedAt(t, c, "") }

func (s *Session) streamFailedAt(t *Turn, c stanza.Condition, attrs string) {
	t.buf = append(t.buf[:0], "<failed xmlns='"+ns.StreamManagement+"'"...)
	t.buf = append(t.buf, attrs...)
	t.buf = append(t.buf, '>', '<')
	t.buf = append(t.buf, c...)
	t.buf = append(t.buf, " xmlns='"+ns.Stanzas+"'/></failed>"...)
	s.send(t, t.buf)
}

// enable starts stream management (section 3).
func (s *Session) enable(t *Turn, el *xmlscan.Element) {
	conf := &s.srv.cfg.StreamManagement
	limit := time.Duration(0)
	// A guest has another address the next time.
	if resume := string(el.Attr("resume")); (resume == "true" || resume == "1") && !s.Anonymous() {
		limit = conf.Max
		if n, err := strconv.ParseUint(string(el.Attr("max")), 10, 31); err == nil && n > 0 {
			limit = min(limit, time.Duration(n)*time.Second)
		}
	}
	answer := append(t.buf[:0], "<enabled xmlns='"+ns.StreamManagement+"'"...)
	id := ""
	if limit > 0 {
		id = s.srv.nodes.streamID()
		answer = append(answer, " id='"+id+"' resume='true' max='"...)
		answer = append(strconv.AppendInt(answer, int64(limit/time.Second), 10), '\'')
	}
	answer = append(answer, '/', '>')
	t.buf = answer

	s.tap(TapOut, answer)
	m := s.managed()
	if m == nil {
		m = s.manage()
	} else {
		m.mu.Lock()
	}
	err := m.release()
	if e := m.carrier.transport.Write(answer); e != nil {
		err = e
	}
	m.acks, m.max, m.id = true, limit, id
	m.mu.Unlock()
	if id != "" {
		s.srv.streams.add(m)
	}
	if err != nil {
		s.Kick(Close{Reason: ReasonSlowReader, Cause: err})
	}
	t.touch(s)
}

// acknowledge answers <r/> (section 4), as soon as what the client sent is safe.
func (s *Session) acknowledge(t *Turn, m *managed) {
	if m.pending.Load() > 0 && s.srv.cfg.StreamManagement.AckDelay > 0 {
		if !m.owed.Swap(true) {
			m.owe()
		}
		if m.pending.Load() > 0 {
			return // whoever makes the last one safe, or the watch, has it answered
		}
	}
	s.acknowledgeSafe(t, m)
}

// owe begins to wait.
func (m *managed) owe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owing = m.session.srv.now()
	m.session.srv.watch.add(m)
}

func (s *Session) acknowledgeSafe(t *Turn, m *managed) {
	m.owed.Store(false)
	s.secure(&t.Batch, m)
	t.buf = m.appendAck(t.buf[:0])
	s.send(t, t.buf)
}

// answerOwed answers an <r/> that has waited.
func (s *Session) answerOwed(m *managed) {
	turn := s.Turn()
	defer turn.End()
	if s.phase == bound && m.owed.Load() {
		defer turn.Guard("acknowledgement")
		s.acknowledgeSafe(turn, m)
	}
}

// lastWord tells the client, if it is there, how much of what it sent was handled: what
// is not acknowledged it sends again in its next session.
func (s *Session) lastWord(t *Turn, m *managed) {
	s.secure(&t.Batch, m)
	m.in = m.handled()
	if m.carrier == nil {
		return
	}
	t.buf = m.appendAck(t.buf[:0])
	s.tap(TapOut, t.buf)
	// It may be full, and that may be why.
	_ = m.carrier.transport.Write(t.buf)
}

func (m *managed) appendAck(dst []byte) []byte {
	dst = append(dst, "<a xmlns='"+ns.StreamManagement+"' h='"...)
	return append(strconv.AppendUint(dst, uint64(m.handled()), 10), "'/>"...)
}

// acknowledged takes <a/>.
func (s *Session) acknowledged(t *Turn, m *managed, el *xmlscan.Element) {
	h, ok := readCount(el)
	switch {
	case !ok:
		s.close(t, StreamError(stream.BadFormat, errNoCount))
	case m.old(h):
	case !m.covers(h):
		s.tooHigh(t, m, h)
	default:
		s.srv.metrics.acks.Inc()
		gotten(&t.Batch, m.acknowledge(h))
		t.touch(s) // there may be more to ask for
	}
}

var errNoCount = errors.New("an acknowledgement without a number")

// readCount reads an attribute h, an unsignedInt of XML Schema.
func readCount(el *xmlscan.Element) (h uint32, ok bool) {
	n, err := strconv.ParseUint(string(el.Attr("h")), 10, 32)
	return uint32(n), err == nil
}

// tooHigh ends a stream whose client acknowledges what it was not sent (section 6).
func (s *Session) tooHigh(t *Turn, m *managed, h uint32) { s.close(t, m.tooHigh(h)) }

func (m *managed) tooHigh(h uint32) Close {
	c := StreamError(stream.UndefinedCondition, fmt.Errorf("%d stanzas acknowledged of %d", h, m.sent()))
	c.Detail = fmt.Sprintf("<handled-count-too-high xmlns='%s' h='%d' send-count='%d'/>", ns.StreamManagement, h, m.sent())
	return c
}

// resume makes this session's connection the one of an earlier session, if the client
// may have it (section 5). The turn is the earlier session's then, unless that one is at
// another node.
func (s *Session) resume(t *Turn, el *xmlscan.Element) {
	h, ok := readCount(el)
	id := el.AttrString("previd")
	if !ok || id == "" {
		s.streamFailed(t, stanza.BadRequest)
		return
	}
	m := s.srv.claim(id, s.jid)
	if m == nil {
		if p := s.srv.nodes.ownerOf(id); p != nil {
			s.resumeAt(t, p, id, h)
			return
		}
		s.notFound(t, id)
		return
	}
	old := m.session
	if !m.covers(h) {
		old.mu.Unlock()
		s.tooHigh(t, m, h)
		return
	}
	if m.lacks(h) {
		old.forsake()
		s.notFound(t, id)
		return
	}
	s.scarce().managed.Store(m) // what the transport brings goes there from now on
	s.phase = closed
	s.grown()
	s.srv.sessionEnded()
	if tap := s.srv.cfg.Tap; tap != nil {
		tap(TapEvent{Conn: s.conn, JID: s.jid, Kind: TapClose, Close: Close{Reason: ReasonResumed}})
	}
	t.s = old
	s.mu.Unlock()
	old.resumed(t, m, s, h)
}

// claim finds a user's stream that can be resumed, and takes the lock of its session. It
// returns nil when there is none. Whoever has that lock waits for no session that is not
// bound.
func (srv *Server) claim(id string, user jid.JID) *managed {
	m := srv.streams.find(id)
	if m == nil || m.session.jid.Bare() != user {
		return nil
	}
	m.session.mu.Lock()
	if m.session.phase != bound {
		m.session.mu.Unlock()
		return nil
	}
	return m
}

// forsake ends a session that its client wants to go on with and that lacks what it was
// sent. The session's lock is held, and given back.
func (s *Session) forsake() {
	turn := s.turn()
	defer turn.End()
	defer turn.Guard("resumption")
	s.end(turn, Close{Reason: ReasonLost, Cause: errForgotten})
}

var errForgotten = errors.New("the client would miss what is not kept any more")

// notFound answers a client that wants a stream which is not there (any more).
func (s *Session) notFound(t *Turn, id string) {
	h, ok := s.srv.streams.ended(id, s.jid)
	s.endedAt(t, h, ok)
}

// endedAt is notFound when it is known how much of the stream was handled, or not.
func (s *Session) endedAt(t *Turn, h uint32, known bool) {
	s.srv.metrics.resumptions.WithLabelValues("not-found").Inc()
	attrs := ""
	if known {
		attrs = " h='" + strconv.FormatUint(uint64(h), 10) + "'"
	}
	s.streamFailedAt(t, stanza.ItemNotFound, attrs)
}

// resumed goes on with the stream on the connection of another session.
func (s *Session) resumed(t *Turn, m *managed, on *Session, h uint32) {
	was := m.about()
	s.showBack(t, m)
	s.Touch()
	// What cannot be stored now is acknowledged all the same: the client would send it
	// again, and it is here.
	s.secure(&t.Batch, m)
	for i := range m.unsafe {
		m.unsafe[i].told = true
	}
	left, safe, err := m.plug(on, h)
	gotten(&t.Batch, safe)
	outcome := "resumed"
	if left != nil {
		outcome = "taken-over"
		left.transport.Close(Close{Reason: ReasonResumed})
		s.srv.metrics.disconnected(was.Kind, ReasonResumed)
	} else {
		s.srv.metrics.detached.Dec()
	}
	info := s.Info()
	s.srv.metrics.moved(was.Kind, info.Kind)
	s.srv.metrics.resumptions.WithLabelValues(outcome).Inc()
	if err != nil {
		s.Kick(Close{Reason: ReasonSlowReader, Cause: err})
	}
	if s.srv.informs() {
		s.srv.log.Info("resumed", "jid", s.jid.String(), "conn", s.conn, "on", on.conn,
			"transport", info.Kind, "remote", info.Remote, "outcome", outcome)
	}
	t.touch(s)
}

// detach takes a stream off its lost connection, and reports whether the session goes
// on without one.
func (s *Session) detach(c Close) bool {
	m := s.managed()
	if m == nil || m.max == 0 || !c.passing() || s.srv.closing.Load() {
		return false
	}
	carrier := m.unplug(s.srv.now())
	if carrier == nil {
		return true // it has none already
	}
	m.lost = c.Reason
	cut := c
	cut.Cut = true
	info := m.about()
	s.srv.guard("close", s, func() { carrier.transport.Close(cut) })
	s.srv.metrics.disconnected(info.Kind, c.Reason)
	s.srv.metrics.detached.Inc()
	s.logEnd("detached", c, info)
	s.crowd()
	return true
}

// crowd ends the user's session that has waited longest for its client, if too many do.
func (s *Session) crowd() {
	var first *managed
	var since time.Duration
	n := 0
	for _, x := range s.srv.registry.of(s.jid.Bare()) {
		m := x.managed()
		if m == nil {
			continue
		}
		m.mu.Lock()
		if m.carrier == nil && !m.over {
			if n++; first == nil || m.since < since {
				first, since = m, m.since
			}
		}
		m.mu.Unlock()
	}
	if n > s.srv.cfg.StreamManagement.Detached {
		go first.session.expire(first)
	}
}

// showAway shows a session away whose client has been gone for a while.
func (s *Session) showAway(m *managed) {
	turn := s.Turn()
	defer turn.End()
	p := s.Presence()
	if m.carrier != nil || s.phase != bound || p == nil || p.Show == "away" || p.Show == "xa" {
		return
	}
	defer turn.Guard("away")
	m.before = p
	s.broadcast(&turn.Batch, p.away(time.Now()))
}

// showBack shows again what the client had said of itself.
func (s *Session) showBack(t *Turn, m *managed) {
	if m.before == nil {
		return
	}
	p := *m.before
	p.At, m.before = time.Now(), nil
	s.broadcast(&t.Batch, &p)
}
