package server

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// iqTable finds the handlers of iq requests.
type iqTable struct {
	mu      sync.Mutex // of writers
	entries atomic.Pointer[map[iqKey]iqEntry]
}

func (t *iqTable) find(space, name []byte, scope Scope) (e iqEntry, ok bool) {
	if m := t.entries.Load(); m != nil {
		e, ok = (*m)[iqKey{string(space), string(name), scope}]
	}
	return e, ok
}

func (t *iqTable) add(e iqEntry) error {
	k := e.iqKey
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.clone()
	if had, ok := m[k]; ok {
		return fmt.Errorf("<%s xmlns='%s'/> is answered by %s already", k.name, k.space, had.module)
	}
	m[k] = e
	t.entries.Store(&m)
	return nil
}

func (t *iqTable) remove(k iqKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.clone()
	delete(m, k)
	t.entries.Store(&m)
}

func (t *iqTable) clone() map[iqKey]iqEntry {
	if m := t.entries.Load(); m != nil {
		return maps.Clone(*m)
	}
	return make(map[iqKey]iqEntry)
}

// featureTable counts who declared which feature.
type featureTable struct {
	mu    sync.RWMutex
	count map[featureKey]int
	lists map[Scope][]string // of count, in order; a list never changes
}

type featureKey struct {
	scope Scope
	name  string
}

func (t *featureTable) add(scopes Scope, name string) (remove func()) {
	change := func(by int) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.count == nil {
			t.count, t.lists = make(map[featureKey]int), make(map[Scope][]string)
		}
		for _, scope := range []Scope{ToServer, ToSelf, ToOther} {
			if scopes&scope != 0 {
				t.count[featureKey{scope, name}] += by
				t.lists[scope] = t.list(scope)
			}
		}
	}
	change(1)
	return func() { change(-1) }
}

func (t *featureTable) list(scope Scope) (names []string) {
	for k, n := range t.count {
		if k.scope == scope && n > 0 {
			names = append(names, k.name)
		}
	}
	slices.Sort(names)
	return names
}

func (t *featureTable) of(scope Scope) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.lists[scope]
}
