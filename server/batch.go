package server

import "rollcall/internal/jid"

// Batch gathers what is sent, to whomever, and hands it to the connections at
// once. It is used by one goroutine. Hook events, stanzas and IQ requests carry
// the Batch of their turn; others come from Host.NewBatch.
type Batch struct {
	srv   *Server
	dirty []*Session
	buf   []byte // for the stanza being encoded
}

// Send queues one encoded stanza, which is copied, for one connection. A
// connection that takes too little is closed; one that is gone takes nothing.
func (b *Batch) Send(s *Session, stanza []byte) {
	s.tap(TapOut, stanza, Close{})
	if err := s.transport.Write(stanza); err != nil {
		s.Kick(Close{Reason: ReasonSlowReader, Cause: err})
	}
	b.srv.metrics.out.Inc()
	if n := len(b.dirty); n == 0 || b.dirty[n-1] != s {
		b.dirty = append(b.dirty, s)
	}
}

// SendPresence queues a presence for one connection; extra is encoded XML that
// goes in as the last child.
func (b *Batch) SendPresence(s *Session, p *Presence, extra []byte) {
	b.buf = p.AppendTo(b.buf[:0], s.jid, extra)
	b.Send(s, b.buf)
}

// SendAll queues one encoded stanza for each of a user's connections that
// messages to the bare address go to: available, priority not negative. It
// returns how many there were.
func (b *Batch) SendAll(bare jid.JID, stanza func(dst []byte, to jid.JID) []byte) int {
	n := 0
	for _, s := range b.srv.registry.of(bare) {
		if p := s.Presence(); p != nil && p.Priority >= 0 {
			b.buf = stanza(b.buf[:0], s.jid)
			s.copies.Add(1)
			b.Send(s, b.buf)
			n++
		}
	}
	return n
}

// Flush hands on everything that was queued.
func (b *Batch) Flush() {
	for i, s := range b.dirty {
		s.transport.Flush()
		b.dirty[i] = nil
	}
	b.dirty = b.dirty[:0]
	if cap(b.buf) > maxKeptBuffer {
		b.buf = nil
	}
}

// maxKeptBuffer bounds what an idle, pooled Batch holds on to.
const maxKeptBuffer = 16 << 10
