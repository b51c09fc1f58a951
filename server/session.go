package server

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// phase is how far a session has come.
type phase uint8

const (
	opening     phase = iota // the client's first header is awaited
	negotiating              // until a resource is bound
	bound
	relaying // the client goes on with a session at another node; see relay
	closed
)

// Session is one client's stream, from the first byte to the last.
type Session struct {
	srv       *Server
	transport Transport
	conn      string

	mu       sync.Mutex   // the turn; everything below belongs to it unless said otherwise
	neg      *negotiation // nil once bound
	rare     atomic.Pointer[rare]
	lang     unique.Handle[string] // of the stream, from its header on
	jid      jid.JID               // bare once authenticated, full once bound; fixed before the registry has it
	alone    [1]*Session           // itself: the registry's list of one
	bound    uint64                // orders the binds of one address over all nodes; like announced under the registry's lock
	presence atomic.Pointer[Presence]
	arrival  atomic.Pointer[arrival]
	copies   atomic.Uint64 // messages to the bare address that it was given
	seen     atomic.Int64  // nanoseconds since the server was made

	// What is small stands together.
	marks     atomic.Uint32 // see kicked
	lull      lull
	traits    traits // of the listener
	phase     phase
	ended     bool      // the last hook has run; see endings
	announced announced // to other nodes
}

// NewSession starts a session on a connection that was just accepted. The client
// has the login time to bind a resource.
func (srv *Server) NewSession(t Transport, l *Listener) *Session {
	s := &Session{
		srv: srv, transport: t, traits: l.traits(),
		conn: srv.nextConn(),
		neg:  new(negotiation),
	}
	s.Touch()
	s.mu.Lock() // nobody acts on the session before it has its timer
	defer s.mu.Unlock()
	srv.metrics.opened(t.Info().Kind)
	srv.open.Add(1)
	srv.young.add(s)
	s.tap(TapOpen, nil)
	login, reason := srv.cfg.Limits.LoginTime, ReasonLoginTime
	if srv.closing.Load() {
		// Shutdown may have listed the sessions already.
		login, reason = 0, ReasonShutdown
	}
	s.neg.timer = time.AfterFunc(login, func() {
		turn := s.Turn()
		defer turn.End()
		if s.phase < bound {
			turn.Close(Close{Reason: reason})
		}
	})
	return s
}

// Conn identifies the connection within this process; it is never used twice.
func (s *Session) Conn() string { return s.conn }

// JID is the full address of a bound session.
func (s *Session) JID() jid.JID { return s.jid }

// Presence is the last presence of an available session, nil for others.
func (s *Session) Presence() *Presence { return s.presence.Load() }

// Info describes the connection; of a session that waits for its client, the last one. When
// the client is connected to another node, its Kind is "relay", and the rest is as it is
// there.
func (s *Session) Info() Info {
	if m := s.managed(); m != nil {
		return m.about()
	}
	return s.transport.Info()
}

// Touch notes a sign of life from the client.
func (s *Session) Touch() { s.seen.Store(int64(time.Since(s.srv.made))) }

// Seen is when the client last gave a sign of life.
func (s *Session) Seen() time.Time { return s.srv.made.Add(time.Duration(s.seen.Load())) }

// What the lowest bits of Session.marks say. The others count who is writing to the
// connection with no managed before it.
const (
	softly    uint32 = 1 << iota // somebody is going to end the session, if it cannot do without its connection
	surely                       // somebody is going to end the session, or it has ended
	broken                       // the connection was given up by its transport
	oneWriter                    // in the bits from here on
)

// Kick closes the session from outside its turn, soon. Only the first call counts. A
// session that can go on without its connection does so when the reason is that the
// connection is lost. For other reasons a transport may call it with the lock that its
// Write needs.
func (s *Session) Kick(c Close) {
	var on *Session
	if m := s.managed(); m != nil && c.passing() {
		on = m.on()
	}
	s.kick(c, on)
}

// kick is Kick; on is the session on whose connection the stream is, if it is managed.
func (s *Session) kick(c Close, on *Session) {
	bit := surely
	if s.managed() != nil && c.passing() {
		bit = softly
	}
	if s.marks.Or(bit)&(bit|surely) != 0 {
		return
	}
	go func() {
		turn := s.Turn()
		defer turn.End()
		if bit == softly {
			s.marks.And(^softly)
			if m := s.managed(); m.carrier != on {
				return // it has another one by now
			}
		}
		turn.Close(c)
	}()
}

// Broken closes the session from outside its turn, soon, because of what the transport
// saw, unless the stream has left the connection. Only the first call counts.
func (s *Session) Broken(c Close) {
	if s.marks.Or(broken)&broken != 0 {
		return
	}
	go func() {
		turn := s.Begin()
		defer turn.End()
		turn.Close(c)
	}()
}

// maxElement is the limit for the next element in bytes. What comes before
// authentication is limited altogether.
func (s *Session) maxElement() int {
	if s.neg != nil && s.jid.IsZero() {
		return max(1, int(s.srv.cfg.Limits.LoginBytes)-s.neg.taken)
	}
	return int(s.srv.cfg.Limits.StanzaBytes)
}

// element takes one element of the open stream.
func (s *Session) element(t *Turn, el *xmlscan.Element) Outcome {
	s.Touch()
	if s.phase == relaying {
		return s.relay().pass(t, el)
	}
	s.tap(TapIn, el.Raw)
	managing := string(el.Space) == ns.StreamManagement
	switch s.phase {
	case bound:
		if managing {
			return s.streamElement(t, el)
		}
		s.stanza(t, el)
		return More
	case negotiating:
		s.neg.taken += len(el.Raw)
		if managing {
			return s.streamElement(t, el)
		}
		return s.negotiate(t, el)
	case opening:
		s.close(t, StreamError(stream.InvalidNamespace, errNoHeader))
	}
	return Done
}

// stanza takes a stanza of a bound session.
func (s *Session) stanza(t *Turn, el *xmlscan.Element) {
	kind, ok := kindOf(el)
	if !ok {
		s.nonza(t, el)
		return
	}
	s.srv.metrics.in[kind].Inc()
	if m := s.managed(); m != nil && m.acks {
		m.in++
	}
	st := &t.stanza
	*st = Stanza{Batch: &t.Batch, Session: s, Kind: kind, From: s.jid, Element: el}
	var to []byte
	for i := range el.Attrs {
		switch a := &el.Attrs[i]; string(a.Name) {
		case "type":
			st.Type = typeOf(a.Value)
		case "to":
			to = a.Value
		case "from":
			if !s.isOwn(a.Value) {
				s.close(t, StreamError(stream.InvalidFrom, nil)) // RFC 6120 section 8.1.2.1
				return
			}
		}
	}
	if to != nil {
		var err error
		if st.To, err = s.srv.address(to); err != nil {
			st.Reply(Error(stanza.JIDMalformed, ""))
			return
		}
	}
	if s.shuns(st) {
		return
	}
	switch kind {
	case Message:
		s.serveMessage(st)
	case PresenceStanza:
		s.servePresence(st)
	case IQStanza:
		s.serveIQ(t, st)
	}
}

func (s *Session) isOwn(from []byte) bool {
	if string(from) == s.jid.String() && bytes.IndexByte(from, '&') < 0 {
		return true
	}
	j, err := jid.Parse(xmlscan.Unescape(from))
	return err == nil && (j == s.jid || j == s.jid.Bare())
}

// address reads an attribute that is an address. Those that are known here cost
// nothing.
func (srv *Server) address(raw []byte) (jid.JID, error) {
	if j, ok := srv.registry.address(raw); ok {
		return j, nil
	}
	if d := (*srv.domains.Load())[string(raw)]; d != nil {
		return d.address, nil
	}
	return jid.Parse(xmlscan.Unescape(raw))
}

func kindOf(el *xmlscan.Element) (Kind, bool) {
	if string(el.Space) != ns.Client || len(el.Prefix) > 0 {
		return 0, false
	}
	switch string(el.Local) {
	case "message":
		return Message, true
	case "presence":
		return PresenceStanza, true
	case "iq":
		return IQStanza, true
	}
	return 0, false
}

// close ends the session, or takes it off its lost connection if it can go on. It may
// be called in any phase.
func (s *Session) close(t *Turn, c Close) {
	switch {
	case s.phase == closed, s.phase == bound && s.detach(c):
	case s.phase == relaying:
		s.relay().close(t, c)
	default:
		s.end(t, c)
	}
}

// end ends the session, and does everything once.
func (s *Session) end(t *Turn, c Close) {
	was := s.phase
	s.phase = closed
	s.marks.Or(surely)
	defer s.srv.sessionEnded()
	if s.Anonymous() {
		s.srv.anonymous.Add(-1)
	}
	s.grown()
	m := s.managed()
	if m != nil && m.acks {
		s.lastWord(t, m)
	}
	if was == bound {
		s.srv.registry.remove(s, func() { s.srv.nodes.farewell(&t.Batch, s) })
	}
	if tap := s.srv.cfg.Tap; tap != nil {
		tap(TapEvent{Conn: s.conn, JID: s.jid, Kind: TapClose, Close: c})
	}
	info, left := s.disconnect(was, c)
	s.logEnd("closed", c, info)
	if was == bound {
		s.srv.metrics.unbound(info.Kind)
		s.teardown(t, c)
		s.srv.registry.done(s)
		s.srv.endings.end(s)
	}
	switch {
	case len(left) == 0:
	case s.srv.closing.Load():
		s.rescue(&t.Batch, left)
	default:
		go s.takeBack(func(u *undelivered) { u.giveBack(u.entries(left)) })
	}
}

// disconnect closes the connection, if there is one, and returns what it was and what a
// client that acknowledges has not acknowledged.
func (s *Session) disconnect(was phase, c Close) (info Info, left []entry) {
	carrier, m := s, s.managed()
	if m != nil {
		carrier, left = m.stop()
		if m.id != "" {
			s.srv.streams.end(m)
		}
		if carrier == nil {
			s.srv.metrics.detached.Dec()
			return m.about(), left
		}
	}
	info = carrier.transport.Info()
	s.srv.guard("close", s, func() {
		if was == opening && c.Condition() != "" {
			// RFC 6120 section 4.9.1.2: an error comes after a header.
			s.transport.Open(StreamHeader{ID: newID(), From: s.srv.cfg.Hosts[0], Version: "1.0"})
		}
		carrier.transport.Close(c)
	})
	s.srv.metrics.disconnected(info.Kind, c.Reason)
	return info, left
}

// grown ends what a session needs only until a resource is bound.
func (s *Session) grown() {
	if s.neg != nil {
		s.neg.timer.Stop()
		s.neg = nil
		s.srv.young.remove(s)
	}
}

// teardown tells everybody that a bound session is gone.
func (s *Session) teardown(t *Turn, c Close) {
	last := s.Presence()
	s.srv.guard("farewell", s, func() {
		gone := Unavailable(s.jid, time.Now())
		if last != nil {
			s.tellOwn(&t.Batch, gone, false)
		}
		s.tellDirected(&t.Batch, gone, last != nil)
	})
	s.srv.hooks.removeConnection.fire(s.srv, &RemoveConnection{
		Batch: &t.Batch, Conn: s.conn, JID: s.jid, Last: last, Reason: c.Reason,
	})
}

func (s *Session) logEnd(what string, c Close, info Info) {
	if !s.srv.informs() {
		return
	}
	attrs := []any{"reason", c.Reason.String(), "conn", s.conn, "transport", info.Kind, "remote", info.Remote}
	if !s.jid.IsZero() {
		attrs = append(attrs, "jid", s.jid.String())
	}
	if condition := c.Condition(); condition != "" && !c.Cut {
		attrs = append(attrs, "condition", condition)
	}
	if c.Cause != nil {
		attrs = append(attrs, "err", c.Cause)
	}
	s.srv.log.Info(what, attrs...)
}
