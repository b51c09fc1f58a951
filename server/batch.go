package server

import (
	"rollcall/internal/jid"
	"rollcall/server/cluster"
)

// Batch gathers what is sent, to whomever, and hands it to the connections at
// once. It is used by one goroutine. Hook events, stanzas and IQ requests carry
// the Batch of their turn; others come from Host.NewBatch.
type Batch struct {
	srv   *Server
	dirty []*Session
	told  []*Session      // that were given presence
	peers []*cluster.Peer // that something was posted to
	buf   []byte          // for the stanza being encoded
	item  []byte          // for what is being posted
	sent  int             // elements, not counted by the metrics yet
	// delivery is what is being sent, while somebody wants to know whether it is safe.
	delivery *delivery
}

// Send queues one encoded stanza, which is copied, for one connection. A
// connection that takes too little is closed; one that is gone takes nothing.
func (b *Batch) Send(s *Session, stanza []byte) {
	b.queue(s, stanza, jid.JID{})
	b.touch(s)
}

// touch has the session flushed.
func (b *Batch) touch(s *Session) {
	if n := len(b.dirty); n == 0 || b.dirty[n-1] != s {
		b.dirty = append(b.dirty, s)
	}
}

func (b *Batch) queue(s *Session, stanza []byte, from jid.JID) {
	s.tap(TapOut, stanza)
	d := b.delivery
	if d != nil && d.to != s.jid.Bare() {
		d = nil
	}
	if err := s.write(stanza, from, d); err != nil {
		s.Kick(Close{Reason: ReasonSlowReader, Cause: err})
	}
	b.sent++
}

// SendPresence queues a presence for one connection; extra is encoded XML that
// goes in as the last child.
func (b *Batch) SendPresence(s *Session, p *Presence, extra []byte) {
	if !b.srv.passes(p.JID, s.jid) {
		return
	}
	b.buf = p.AppendTo(b.buf[:0], s.jid, extra)
	b.queue(s, b.buf, p.JID)
	if n := len(b.told); n == 0 || b.told[n-1] != s {
		b.told = append(b.told, s)
	}
}

// Flush hands on everything that was queued; presence amid a storm of it a moment later.
func (b *Batch) Flush() { b.flush(nil) }

// flush is Flush; what goes to last goes last: whoever is answered finds that others know
// already what was asked for.
func (b *Batch) flush(last *Session) {
	if b.sent > 0 {
		b.srv.metrics.out.Add(float64(b.sent))
		b.sent = 0
	}
	waits := false
	for i, s := range b.dirty {
		if s == last {
			waits = true
		} else {
			s.flush()
		}
		b.dirty[i] = nil
	}
	b.dirty = b.dirty[:0]
	if len(b.told) > 0 {
		b.srv.storms.flush(b.told)
		clear(b.told)
		b.told = b.told[:0]
	}
	for i, p := range b.peers {
		p.Flush()
		b.peers[i] = nil
	}
	b.peers = b.peers[:0]
	if waits {
		last.flush()
	}
	if cap(b.dirty) > maxKeptDirty {
		b.dirty = nil
	}
	if cap(b.told) > maxKeptDirty {
		b.told = nil
	}
	if cap(b.buf) > maxKeptBuffer {
		b.buf = nil
	}
	if cap(b.item) > maxKeptBuffer {
		b.item = nil
	}
}

// What an idle, pooled Batch holds on to is bounded.
const (
	maxKeptBuffer = 16 << 10 // bytes
	maxKeptDirty  = 16 << 10 // connections
)
