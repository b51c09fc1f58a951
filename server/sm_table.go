package server

import (
	"sync"

	"rollcall/internal/jid"
)

// streams finds streams that can be resumed, and remembers for a while how much was
// handled of those that could be.
type streams struct {
	mu    sync.Mutex
	live  map[string]*managed
	past  map[string]pastStream
	order []string // ids in past, a ring from next on once it is full
	next  int
}

// pastStream is what is known of a stream that has ended.
type pastStream struct {
	user jid.JID
	in   uint32 // stanzas that its client sent
}

// maxPast is how many streams that have ended are remembered.
const maxPast = 4096

func (t *streams) add(m *managed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live == nil {
		t.live = make(map[string]*managed)
	}
	t.live[m.id] = m
}

func (t *streams) find(id string) *managed {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live[id]
}

// end forgets a stream but for how much of it was handled.
func (t *streams) end(m *managed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.live, m.id)
	if t.past == nil {
		t.past = make(map[string]pastStream)
	}
	t.past[m.id] = pastStream{m.session.jid.Bare(), m.in}
	if len(t.order) < maxPast {
		t.order = append(t.order, m.id)
		return
	}
	delete(t.past, t.order[t.next])
	t.order[t.next] = m.id
	t.next = (t.next + 1) % maxPast
}

// ended is how much was handled of one of a user's streams that has ended.
func (t *streams) ended(id string, user jid.JID) (in uint32, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.past[id]
	return p.in, ok && p.user == user
}
