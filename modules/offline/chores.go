package offline

import (
	"context"
	"time"

	"rollcall/internal/jid"
	"rollcall/server"
)

const (
	// choresEvery is how often what is left to do is tried.
	choresEvery = time.Second
	// lateFor is how long a node looks out for a user who may have come to another one
	// while a message was being kept: where everybody is, nodes know a moment later.
	lateFor = 30 * time.Second
	// maxLate bounds the users that are looked out for.
	maxLate = 10_000
)

// lookLater looks out for a user of whom other nodes may know already.
func (m *Module) lookLater(bare jid.JID) {
	if len(m.host.Nodes()) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.late[bare]; known || len(m.late) < maxLate {
		m.late[bare] = time.Now().Add(lateFor)
	}
	m.tend()
}

// tend has the chores done. m.mu is held.
func (m *Module) tend() {
	if m.chores == nil && len(m.owed)+len(m.late) > 0 {
		m.chores = m.later(choresEvery, m.doChores)
	}
}

func (m *Module) doChores(ctx context.Context, b *server.Batch) {
	m.mu.Lock()
	m.chores = nil
	keys := make([]string, 0, len(m.owed))
	for key := range m.owed {
		keys = append(keys, key)
	}
	var come []jid.JID
	now := time.Now()
	for bare, until := range m.late {
		if m.present(bare) {
			come = append(come, bare)
			delete(m.late, bare)
		} else if now.After(until) {
			delete(m.late, bare)
		}
	}
	m.mu.Unlock()
	for _, key := range keys {
		if !m.settle(ctx, key) {
			break // the store fails
		}
	}
	for _, bare := range come {
		m.look(ctx, b, bare)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tend()
}

// settle forgets what a user's clients have acknowledged while the store failed, and
// reports whether nothing is left of that.
func (m *Module) settle(ctx context.Context, key string) bool {
	m.mu.Lock()
	list := make([]string, 0, len(m.owed[key]))
	for id := range m.owed[key] {
		list = append(list, id)
	}
	m.mu.Unlock()
	if len(list) == 0 {
		return true
	}
	if err := m.o.Spool.Discard(ctx, key, list...); err != nil {
		m.metrics.errors.Inc()
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owed.remove(key, list...)
	return true
}
