package websocket

import (
	"context"
	"fmt"
	"sync"
)

// entrance counts the handshakes that are under way, and admits none once it is
// closed: their connections are not known to the link yet.
type entrance struct {
	mu     sync.Mutex
	inside int
	empty  chan struct{} // made by close, and closed when nobody is inside any more
}

// enter is followed by leave, unless it returns false.
func (e *entrance) enter() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.empty != nil {
		return false
	}
	e.inside++
	return true
}

func (e *entrance) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inside--
	if e.empty != nil && e.inside == 0 {
		close(e.empty)
	}
}

// close waits until nobody is inside or ctx ends.
func (e *entrance) close(ctx context.Context) error {
	select {
	case <-e.shut():
		return nil
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.inside == 0 {
		return nil
	}
	return fmt.Errorf("websocket: %d handshakes under way: %w", e.inside, ctx.Err())
}

func (e *entrance) shut() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.empty == nil {
		e.empty = make(chan struct{})
		if e.inside == 0 {
			close(e.empty)
		}
	}
	return e.empty
}
