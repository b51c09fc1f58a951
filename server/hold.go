package server

import "rollcall/internal/jid"

// What is held for one connection that holds presence.
const (
	maxHeld      = 1000
	maxHeldBytes = 256 << 10
)

// Hold makes the session's connection wait for presence, for a client that nobody looks
// at (XEP-0352). Of each sender only the latest waits. It is sent, in order, before the
// next message or iq, when too much of it waits, or when on is false again. A stream
// that is resumed holds nothing. Hold is called during the session's turn, and what it
// sends goes with b.
func (s *Session) Hold(b *Batch, on bool) {
	if s.phase != bound {
		return
	}
	m := s.managed()
	switch {
	case m != nil:
		m.mu.Lock()
	case on:
		m = s.manage()
	default:
		return
	}
	m.holding = on
	var err error
	if !on && m.carrier != nil {
		err = m.release()
	}
	m.mu.Unlock()
	if err != nil {
		s.Kick(Close{Reason: ReasonSlowReader, Cause: err})
	}
	b.touch(s)
}

// tail is what waits to be sent, in order. Of each sender's presence only the latest
// is in it.
type tail struct {
	list  []entry         // without data for what is needless
	at    map[jid.JID]int // where in list each sender's presence is
	count int             // what is left
	bytes int
}

// add puts a stanza at the end; from is the sender of a presence that makes an earlier
// one needless, otherwise zero.
func (t *tail) add(from jid.JID, e entry) {
	if !from.IsZero() {
		if i, ok := t.at[from]; ok {
			t.bytes -= len(t.list[i].data)
			t.list[i] = entry{}
			t.count--
		}
		if t.at == nil {
			t.at = make(map[jid.JID]int)
		}
		if len(t.list) > 2*t.count+minGaps {
			t.close()
		}
		t.at[from] = len(t.list)
	}
	t.list = append(t.list, e)
	t.count++
	t.bytes += len(e.data)
}

// minGaps is how many gaps are not worth closing.
const minGaps = 16

// close closes the gaps that needless presence has left.
func (t *tail) close() {
	to := make([]int, len(t.list))
	kept := t.list[:0]
	for i, e := range t.list {
		to[i] = len(kept)
		if e.data != nil {
			kept = append(kept, e)
		}
	}
	clear(t.list[len(kept):])
	t.list = kept
	for from, i := range t.at {
		t.at[from] = to[i]
	}
}

// take empties it.
func (t *tail) take() []entry {
	list := t.list[:0]
	for _, e := range t.list {
		if e.data != nil {
			list = append(list, e)
		}
	}
	*t = tail{}
	return list
}
