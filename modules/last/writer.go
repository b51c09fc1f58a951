package last

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"rollcall/storage"
)

const (
	// settle is how long a record waits: people who reconnect replace theirs, and those of
	// many who leave at once are written together.
	settle = 2 * time.Second
	// writers is how many are written at the same time.
	writers = 16
	// maxPending bounds what waits; more is lost.
	maxPending = 100_000
)

// writer writes records behind everybody's back.
type writer struct {
	documents storage.Documents
	log       *slog.Logger
	lost      prometheus.Counter
	cancel    context.CancelFunc
	ended     chan struct{}
	news      chan struct{}
	stopping  chan struct{}

	mu      sync.Mutex
	waiting map[string]record // by the user's key
	writing map[string]record // is being written
}

func newWriter(d storage.Documents, log *slog.Logger, lost prometheus.Counter) *writer {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writer{
		documents: d, log: log, lost: lost, cancel: cancel,
		ended: make(chan struct{}), news: make(chan struct{}, 1), stopping: make(chan struct{}),
		waiting: make(map[string]record),
	}
	go w.run(ctx)
	return w
}

// add has a record written soon, in the place of an earlier one.
func (w *writer) add(key string, r record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, known := w.waiting[key]; !known && len(w.waiting) >= maxPending {
		w.lost.Inc()
		return
	}
	w.waiting[key] = r
	select {
	case w.news <- struct{}{}:
	default: // it is awake
	}
}

// drop forgets what is not written of a user who is gone.
func (w *writer) drop(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, key)
	delete(w.writing, key)
}

// pending returns a record that is not in the store yet.
func (w *writer) pending(key string) (record, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r, ok := w.waiting[key]; ok {
		return r, true
	}
	r, ok := w.writing[key]
	return r, ok
}

func (w *writer) run(ctx context.Context) {
	defer close(w.ended)
	for {
		select {
		case <-w.news:
		case <-w.stopping:
			w.finish(ctx)
			return
		}
		select {
		case <-time.After(settle):
		case <-w.stopping:
			w.finish(ctx)
			return
		}
		w.write(ctx)
	}
}

// finish writes what waits, for as long as there is time.
func (w *writer) finish(ctx context.Context) {
	w.write(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.waiting); n > 0 {
		w.lost.Add(float64(n))
		w.log.Warn("the ends of some users' last connections are not stored", "users", n)
	}
}

// write writes what waits. What the store does not take waits on.
func (w *writer) write(ctx context.Context) {
	w.mu.Lock()
	keys := make([]string, 0, len(w.waiting))
	for key := range w.waiting {
		keys = append(keys, key)
	}
	w.writing, w.waiting = w.waiting, make(map[string]record)
	w.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(writers)
	for _, key := range keys {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return w.put(ctx, key) })
	}
	err := g.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, r := range w.writing {
		if _, newer := w.waiting[key]; !newer {
			w.waiting[key] = r
		}
	}
	w.writing = nil
	if err == nil {
		return
	}
	w.log.Warn("the ends of users' last connections cannot be stored", "waiting", len(w.waiting), "err", err)
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// put writes one record, unless its user is gone by now. It forgets one that the store
// will never take.
func (w *writer) put(ctx context.Context, key string) error {
	w.mu.Lock()
	r, ok := w.writing[key]
	w.mu.Unlock()
	if !ok {
		return nil
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = w.documents.PutDocument(ctx, key, documentKey, data, storage.DocumentLimit{})
	switch {
	case errors.Is(err, storage.ErrFull): // nothing is kept of who has no account, now or later
	case errors.Is(err, storage.ErrInvalid):
		w.lost.Inc()
		w.log.Error("the end of a user's last connection cannot be stored", "user", key, "err", err)
	case err != nil:
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.writing, key)
	return nil
}

// stop writes what waits and ends the writer; when ctx ends, at once.
func (w *writer) stop(ctx context.Context) error {
	close(w.stopping)
	select {
	case <-w.ended:
	case <-ctx.Done():
		w.cancel()
		<-w.ended
	}
	w.cancel()
	return nil
}
