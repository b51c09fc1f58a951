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
	closed
)

// Session is one client's stream, from the first byte to the last.
type Session struct {
	srv       *Server
	transport Transport
	conn      string

	mu       sync.Mutex   // the turn; everything below belongs to it unless said otherwise
	neg      *negotiation // nil once bound
	directed map[jid.JID]struct{}
	lang     unique.Handle[string] // of the stream, from its header on
	jid      jid.JID               // bare once authenticated, full once bound; fixed before the registry has it
	alone    [1]*Session           // itself: the registry's list of one
	bound    uint64                // orders the binds of one address over all nodes; like announced under the registry's lock
	presence atomic.Pointer[Presence]
	arrival  atomic.Pointer[arrival]
	copies   atomic.Uint64 // messages to the bare address that it was given
	seen     atomic.Int64  // nanoseconds since the server was made

	// What is small stands together.
	kicked    atomic.Bool
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
		turn := s.Begin()
		defer turn.End()
		if s.phase != bound {
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

// Info describes the connection.
func (s *Session) Info() Info { return s.transport.Info() }

// Touch notes a sign of life from the client.
func (s *Session) Touch() { s.seen.Store(int64(time.Since(s.srv.made))) }

// Seen is when the client last gave a sign of life.
func (s *Session) Seen() time.Time { return s.srv.made.Add(time.Duration(s.seen.Load())) }

// Kick closes the session from outside its turn, soon. Only the first call
// counts.
func (s *Session) Kick(c Close) {
	if s.kicked.Swap(true) {
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
	s.tap(TapIn, el.Raw)
	switch s.phase {
	case bound:
		s.stanza(t, el)
		return More
	case negotiating:
		s.neg.taken += len(el.Raw)
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
		// RFC 6120 section 4.9.3.24.
		s.close(t, StreamError(stream.UnsupportedStanzaType, nil))
		return
	}
	s.srv.metrics.in[kind].Inc()
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

// close ends the session. It may be called in any phase and does everything
// once.
func (s *Session) close(t *Turn, c Close) {
	if s.phase == closed {
		return
	}
	was := s.phase
	s.phase = closed
	s.kicked.Store(true)
	defer s.srv.sessionEnded()
	condition := c.Condition()
	s.grown()
	info := s.transport.Info()
	if was == bound {
		s.srv.registry.remove(s, func() { s.srv.nodes.farewell(&t.Batch, s) })
	}
	if tap := s.srv.cfg.Tap; tap != nil {
		tap(TapEvent{Conn: s.conn, JID: s.jid, Kind: TapClose, Close: c})
	}
	s.srv.guard("close", s, func() {
		if was == opening && condition != "" {
			// RFC 6120 section 4.9.1.2: an error comes after a header.
			s.transport.Open(StreamHeader{ID: newID(), From: s.srv.cfg.Hosts[0], Version: "1.0"})
		}
		s.transport.Close(c)
	})
	s.srv.metrics.closed(info.Kind, c.Reason, was == bound)
	s.logClose(c, info, condition)
	if was == bound {
		s.teardown(t, c)
		s.srv.registry.done(s)
		s.srv.endings.end(s)
	}
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

func (s *Session) logClose(c Close, info Info, condition string) {
	if !s.srv.informs() {
		return
	}
	attrs := []any{"reason", c.Reason.String(), "conn", s.conn, "transport", info.Kind, "remote", info.Remote}
	if !s.jid.IsZero() {
		attrs = append(attrs, "jid", s.jid.String())
	}
	if condition != "" {
		attrs = append(attrs, "condition", condition)
	}
	if c.Cause != nil {
		attrs = append(attrs, "err", c.Cause)
	}
	s.srv.log.Info("closed", attrs...)
}
