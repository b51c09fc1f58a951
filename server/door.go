package server

import (
	"errors"

	"mellium.im/xmpp/stream"

	"rollcall/internal/xmlscan"
)

// Transport is one client connection as the core sees it. A transport makes a
// session with Server.NewSession, brings input by turns (Session.Begin), says when it
// gives up (Session.Broken), and carries output through the methods below. The core calls them from any
// goroutine, with the session's turn held or not; none of them waits for the
// peer, and none begins a turn on its own goroutine.
type Transport interface {
	// Info describes the connection as it is now.
	Info() Info
	// Open answers the client's stream header; on a restart it is called again.
	// It is called during the session's own turn only.
	Open(h StreamHeader)
	// Write queues one complete top-level element for the peer and copies el.
	// It returns ErrOutboxFull when the peer takes too little of what was
	// queued before, and nil when the connection is on its way down, in which
	// case nothing more reaches the peer.
	Write(el []byte) error
	// Flush sends what was queued, now or as soon as the peer takes it.
	Flush()
	// Close sends what was queued, then the stream error if there is one, then
	// the end of the stream, unless c.Cut says otherwise, and releases the connection.
	// Later calls do nothing.
	Close(c Close)
}

// TLSStarter is a Transport that can turn to TLS in mid-stream (RFC 6120
// section 5). StartTLS is called after <proceed/> was queued, at the end of
// which the transport flushes it, forgets what the client sent ahead, and shakes
// hands; the next thing it brings is a new stream header.
type TLSStarter interface {
	Transport
	// CanStartTLS reports whether the connection is plain and has a certificate.
	CanStartTLS() bool
	StartTLS()
}

// ErrOutboxFull says that a peer reads too slowly: more than the limit waits
// for it.
var ErrOutboxFull = errors.New("server: outbox full")

// Info describes a connection.
type Info struct {
	// Kind names the transport in logs and metrics, for example "tcp". The core
	// never decides by it.
	Kind string
	// Remote is the peer's address, for logs.
	Remote string
	// Secure reports whether nobody on the way can read along.
	Secure bool
	// Manageable reports whether clients may be offered stream management (XEP-0198):
	// what was sent may be lost with the connection, and nothing else says what.
	Manageable bool
}

// StreamHeader is a stream's opening in either direction (RFC 6120 section 4.7,
// RFC 7395 section 3.4, XEP-0206 section 4). Values are not escaped.
type StreamHeader struct {
	ID      string // of the stream; only the server sends it
	From    string
	To      string
	Lang    string
	Version string // "1.0"; empty when the client gave none
}

// Outcome tells a transport what to expect after an element.
type Outcome int

// The outcomes.
const (
	// More: further elements of the same stream.
	More Outcome = iota
	// Restart: a new stream header (RFC 6120 section 4.3.3).
	Restart
	// Done: nothing; the session is closed and whatever still arrives is
	// dropped.
	Done
)

// Turn is a session's exclusive right to act: to be fed by its transport, to be
// closed, to be timed out. It also gathers what the turn sends, to whomever, and
// flushes it at the end. A Turn is used by one goroutine and not after End.
type Turn struct {
	Batch
	s      *Session
	from   *Session // whose transport has the turn; nil when none has
	stanza Stanza   // at hand
	iq     IQ       // at hand, over stanza
}

// Begin waits until the session is free and starts a turn of its transport. When the
// stream has left the transport's connection, because the session ended or goes on
// elsewhere, the turn does nothing, and its Outcome is Done.
func (s *Session) Begin() *Turn {
	t := s.Turn()
	t.from = s
	if m := s.managed(); m != nil && m.session != s {
		// The connection's stream is the one of an earlier session.
		s.mu.Unlock()
		m.session.mu.Lock()
		t.s = m.session
	}
	return t
}

// Turn waits until the session is free and starts a turn, whatever connection it is on.
func (s *Session) Turn() *Turn {
	s.mu.Lock()
	return s.turn()
}

// turn starts a turn of a session whose lock is held.
func (s *Session) turn() *Turn {
	t, _ := s.srv.turns.Get().(*Turn)
	if t == nil {
		t = new(Turn)
	}
	t.s, t.srv = s, s.srv
	return t
}

// stale reports whether the turn is of a transport that the stream has left.
func (t *Turn) stale() bool {
	m := t.s.managed()
	return m != nil && t.from != nil && m.carrier != t.from
}

// End ends the turn and flushes what it sent.
func (t *Turn) End() {
	s := t.s
	s.mu.Unlock()
	t.flush(s)
	t.s, t.from, t.delivery, t.stanza, t.iq = nil, nil, nil, Stanza{}, IQ{}
	s.srv.turns.Put(t)
}

// Session is the session whose turn it is.
func (t *Turn) Session() *Session { return t.s }

// Open takes the client's stream header, the first or one after a restart.
func (t *Turn) Open(h StreamHeader) Outcome {
	defer t.Guard("stream header")
	if t.stale() {
		return Done
	}
	t.s.open(t, h)
	return t.outcome(More)
}

// Element takes the next complete element. el is not kept.
func (t *Turn) Element(el *xmlscan.Element) Outcome {
	defer t.Guard("element")
	if t.stale() {
		return Done
	}
	return t.outcome(t.s.element(t, el))
}

// Skipped takes note of white space between elements, or of anything else that is only
// a sign of life (RFC 6120 section 4.6.1); before authentication it counts like everything else.
func (t *Turn) Skipped(bytes int) Outcome {
	if t.stale() {
		return Done
	}
	t.s.Touch()
	if t.s.phase == relaying {
		t.s.relay().alive(t)
	}
	if n := t.s.neg; n != nil && t.s.jid.IsZero() {
		if n.taken += bytes; n.taken > int(t.srv.cfg.Limits.LoginBytes) {
			t.s.close(t, StreamError(stream.PolicyViolation, errTooMuch))
		}
	}
	return t.outcome(More)
}

// Hangup takes the client's polite end of the stream.
func (t *Turn) Hangup() { t.Close(Close{Reason: ReasonClient}) }

// Close ends the session for a reason that the transport saw.
func (t *Turn) Close(c Close) {
	if !t.stale() {
		t.s.close(t, c)
	}
}

// MaxElement is the length in bytes that the next element may have: little
// before authentication, more after it.
func (t *Turn) MaxElement() int { return t.s.maxElement() }

func (t *Turn) outcome(o Outcome) Outcome {
	if t.s.phase == closed || t.stale() {
		return Done
	}
	return o
}

// Guard, deferred, turns a panic of whoever has the turn into the end of this one
// session.
func (t *Turn) Guard(doing string) {
	if p := recover(); p != nil {
		t.srv.panicked(doing, p, "conn", t.s.conn, "jid", t.s.jid.String())
		end := Close{Reason: ReasonInternal}
		t.Close(end)
		if t.from != nil {
			t.from.transport.Close(end) // in case that the session's own close did not come this far
		} else if t.s.managed() == nil {
			t.s.transport.Close(end)
		}
	}
}
