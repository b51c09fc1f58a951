package mongo

import (
	"context"
	"sync"

	"rollcall/storage"
)

// watchers are those who are told.
type watchers struct {
	mu  sync.Mutex
	all map[*watcher]struct{}
}

type watcher struct {
	ctx context.Context
	f   func(storage.Change)
	mu  sync.Mutex // held over f
}

// tell calls f unless the watcher's time is over.
func (w *watcher) tell(c storage.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() == nil {
		w.f(c)
	}
}

func (ws *watchers) tell(changes []storage.Change) {
	ws.mu.Lock()
	all := make([]*watcher, 0, len(ws.all))
	for w := range ws.all {
		all = append(all, w)
	}
	ws.mu.Unlock()
	for _, c := range changes {
		for _, w := range all {
			w.tell(c)
		}
	}
}

// Watch implements storage.Watcher. Changes are told when they are noticed: as soon as
// a change stream brings them, else within Watch.Interval, or when Changed or Refresh
// looks. So the first may have been committed a little before Watch was called. A slow
// f delays what looks for changes, and Changed and Refresh must not be called by f. It
// returns an error only when the store is closed.
func (s *Store) Watch(ctx context.Context, f func(storage.Change)) error {
	if ctx.Err() != nil {
		return nil
	}
	w := &watcher{ctx: ctx, f: f}
	ws := &s.lookout.watchers
	ws.mu.Lock()
	if ws.all == nil {
		ws.all = make(map[*watcher]struct{})
	}
	ws.all[w] = struct{}{}
	ws.mu.Unlock()
	defer func() {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		delete(ws.all, w)
	}()
	select {
	case <-ctx.Done():
		// f is not running any more once the lock is free, and is not called again.
		w.mu.Lock()
		defer w.mu.Unlock()
		return nil
	case <-s.life.Done():
		return errClosed
	}
}

// Changed reads one project again, now, and tells what is different: what the product
// calls after a change, by way of "rollcall project changed". It returns when
// everything has been told, or with storage.ErrNotFound if there is no such project
// and was none. A failure is made good by looking again soon.
func (s *Store) Changed(ctx context.Context, projectID string) error {
	return s.lookout.ask(ctx, request{project: projectID})
}

// Refresh compares the whole directory, now, and tells what is different. It returns
// when everything has been told.
func (s *Store) Refresh(ctx context.Context) error {
	return s.lookout.ask(ctx, request{all: true})
}

// request is a wish of Changed, or of Refresh.
type request struct {
	ctx     context.Context
	project string
	all     bool
	done    chan error // has room for the answer
}

// ask hands a request to the lookout and waits.
func (l *lookout) ask(ctx context.Context, r request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.ctx, r.done = ctx, make(chan error, 1)
	select {
	case l.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.s.life.Done():
		return errClosed
	}
	select {
	case err := <-r.done:
		return l.s.failure(ctx, err)
	case <-ctx.Done():
		return ctx.Err()
	case <-l.s.life.Done():
		return errClosed
	}
}
