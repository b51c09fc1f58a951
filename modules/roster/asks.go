package roster

import (
	"slices"
	"sync"
	"time"

	"rollcall/internal/jid"
	"rollcall/server"
)

// asks remembers which connections wanted to see whom before this node knew that they
// may: an approval is known at the watcher's node as soon as at those of the user.
type asks struct {
	mu   sync.Mutex
	list map[wanted]time.Time
}

type wanted struct {
	full jid.JID // who asks; bare for all connections
	at   jid.JID // bare
}

const (
	// askLasts is how long an approval may need from node to node.
	askLasts = time.Minute
	// maxAsks bounds what is remembered.
	maxAsks = 10_000
)

func (a *asks) note(w wanted) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if len(a.list) >= maxAsks {
		for w, at := range a.list {
			if now.Sub(at) > askLasts {
				delete(a.list, w)
			}
		}
	}
	if len(a.list) >= maxAsks {
		return
	}
	if a.list == nil {
		a.list = make(map[wanted]time.Time)
	}
	a.list[w] = now
}

func (a *asks) forget(w wanted) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.list, w)
}

// take forgets and returns who of the watcher's connections asked for a user.
func (a *asks) take(watcher, at jid.JID) (list []jid.JID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for w, when := range a.list {
		if w.at != at || w.full.Bare() != watcher {
			continue
		}
		delete(a.list, w)
		if time.Since(when) <= askLasts {
			list = append(list, w.full)
		}
	}
	return list
}

// greet tells a connection what it may see of a user's connections to this node, or of the
// one that has a full address, and returns how many those are; parted is as in tellShown.
func (m *Module) greet(b *server.Batch, full, about jid.JID, parted bool) int {
	at := about.Bare()
	if len(m.host.Sessions(at)) == 0 {
		return 0
	}
	w := wanted{full, at}
	// First this: what is learned from now on finds it.
	m.asks.note(w)
	o := m.owner(at)
	if o == nil {
		return 0
	}
	n, may := m.tellShown(b, o, full, about, parted)
	if may {
		m.asks.forget(w)
	}
	return n
}

// answerAsks tells a contact's connections what they asked for.
func (m *Module) answerAsks(b *server.Batch, o *own, contact jid.JID) {
	available := m.host.Resources(contact)
	for _, asker := range m.asks.take(contact, o.bare) {
		if !asker.IsFull() || slices.Contains(available, asker) {
			m.tellShown(b, o, asker, o.bare, false)
		}
	}
}
