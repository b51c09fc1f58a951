package server

import "sync"

// endings lets others wait until a session has ended, hooks included. Few sessions are
// ever waited for, so none keeps a channel for it.
type endings struct {
	mu      sync.Mutex
	awaited map[*Session]chan struct{}
}

// of returns a channel that is closed when a session that was bound has ended.
func (e *endings) of(s *Session) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.awaited[s]
	switch {
	case s.ended:
		c = make(chan struct{})
		close(c)
	case c == nil:
		c = make(chan struct{})
		if e.awaited == nil {
			e.awaited = make(map[*Session]chan struct{})
		}
		e.awaited[s] = c
	}
	return c
}

// end says that a session has ended.
func (e *endings) end(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.ended = true
	if c := e.awaited[s]; c != nil {
		close(c)
		delete(e.awaited, s)
	}
}
