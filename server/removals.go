package server

import (
	"sync"
	"time"

	"rollcall/internal/jid"
)

// removals remembers which accounts were removed lately: a login that was under
// way meanwhile may rest on credentials that were read before.
type removals struct {
	mu    sync.Mutex
	count uint64             // of removals so far
	last  map[jid.JID]uint64 // by bare address, the count at its removal
	queue []removal          // the same, oldest first
}

type removal struct {
	bare  jid.JID
	count uint64
	at    time.Time
}

// now is a point in the order of removals.
func (r *removals) now() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// add remembers a removal, and forgets those that are older than keep.
func (r *removals) add(bare jid.JID, keep time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for len(r.queue) > 0 && now.Sub(r.queue[0].at) > keep {
		old := r.queue[0]
		if r.last[old.bare] == old.count {
			delete(r.last, old.bare)
		}
		r.queue = r.queue[1:]
	}
	if r.last == nil {
		r.last = make(map[jid.JID]uint64)
	}
	r.count++
	r.last[bare] = r.count
	r.queue = append(r.queue, removal{bare, r.count, now})
}

// since reports whether an account was removed after a point in their order.
func (r *removals) since(bare jid.JID, point uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last[bare] > point
}
