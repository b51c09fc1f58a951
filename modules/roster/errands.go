package roster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"rollcall/internal/jid"
	"rollcall/storage"
)

// errands are store calls that no session waits for, made one after the other.
type errands struct {
	mu      sync.Mutex
	list    []func(context.Context) error
	lost    bool // some were dropped: everything has to be read again
	running bool
	stopped bool
	// Everybody's items are being read again, and are to be once more after that.
	refreshing, again bool
	work              sync.WaitGroup
}

const (
	// maxErrands bounds what waits while the store cannot be asked.
	maxErrands = 10_000
	// retryAfter is when a store that could not be asked is asked again.
	retryAfter = time.Second
)

// later makes a store call soon, and again if the store cannot be asked.
func (m *Module) later(f func(context.Context) error) {
	e := &m.errands
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return
	}
	if len(e.list) >= maxErrands {
		e.lost = true
		return
	}
	e.list = append(e.list, f)
	if !e.running {
		e.running = true
		e.work.Go(m.runErrands)
	}
}

// refreshAll reads the items of everybody here again, one after the other: what else is
// to be done is not kept waiting.
func (m *Module) refreshAll(context.Context) error {
	seen := make(map[jid.JID]struct{})
	for s := range m.host.All() {
		seen[s.JID().Bare()] = struct{}{}
	}
	e := &m.errands
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refreshing {
		e.again = true
		return nil
	}
	e.refreshing = true
	e.list = append(e.list, m.refreshEach(slices.Collect(maps.Keys(seen))))
	return nil
}

// refreshEach is the errand that reads the items of the first of some users again, and
// leaves the others to one after those that wait. There is never more than one.
func (m *Module) refreshEach(list []jid.JID) func(context.Context) error {
	return func(ctx context.Context) error {
		if len(list) > 0 {
			err := guarded(func() error { return m.refresh(ctx, list[0]) })
			if errors.Is(err, storage.ErrUnavailable) {
				return err
			}
			if err != nil && ctx.Err() == nil {
				m.failed("roster", err, "user", list[0].String())
			}
			list = list[1:]
		}
		e := &m.errands
		e.mu.Lock()
		defer e.mu.Unlock()
		switch {
		case len(list) > 0:
			e.list = append(e.list, m.refreshEach(list))
		case e.again:
			e.again, e.refreshing = false, false
			e.list = append(e.list, m.refreshAll)
		default:
			e.refreshing = false
		}
		return nil
	}
}

func (m *Module) stopping() bool {
	m.errands.mu.Lock()
	defer m.errands.mu.Unlock()
	return m.errands.stopped
}

// next is the errand to run; nil when there is none.
func (e *errands) next(m *Module) func(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 && e.lost {
		e.lost = false
		e.list = append(e.list, m.refreshAll)
	}
	if len(e.list) == 0 || e.stopped {
		e.running = false
		return nil
	}
	f := e.list[0]
	e.list = e.list[1:]
	return f
}

// guarded makes an error of a panic, which would be the end of the process.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}

func (m *Module) runErrands() {
	ctx := m.context
	for f := m.errands.next(m); f != nil; f = m.errands.next(m) {
		for {
			err := guarded(func() error { return f(ctx) })
			if err == nil {
				break
			}
			if ctx.Err() == nil {
				m.failed("errand", err)
			}
			if !errors.Is(err, storage.ErrUnavailable) {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryAfter):
			}
		}
	}
}
