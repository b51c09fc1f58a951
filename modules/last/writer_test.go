package last

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/storage"
)

// slow is a store that takes its time.
type slow struct {
	storage.Documents
	takes         time.Duration
	puts, at, max atomic.Int64
}

func (s *slow) PutDocument(ctx context.Context, _, _ string, _ []byte, _ storage.DocumentLimit) error {
	defer s.at.Add(-1)
	n := s.at.Add(1)
	for most := s.max.Load(); n > most && !s.max.CompareAndSwap(most, n); most = s.max.Load() {
	}
	select {
	case <-time.After(s.takes):
		s.puts.Add(1)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func counter() prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{Name: "lost"}) }

func value(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// Many who leave at once wait for nobody, are written together, and each once.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, lost := &slow{takes: 10 * time.Millisecond}, counter()
		w := newWriter(store, slog.New(slog.DiscardHandler), lost)
		began := time.Now()
		for range 3 {
			for i := range 10_000 {
				w.add(fmt.Sprint(i), record{At: int64(i)})
			}
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("adding took %s", d)
		}
		time.Sleep(settle + store.takes/2) // the first writes are under way
		if r, ok := w.pending("9999"); !ok || r.At != 9999 {
			t.Errorf("while it is written: %v, %t", r, ok)
		}
		time.Sleep(10 * time.Second)
		if n := store.puts.Load(); n != 10_000 {
			t.Errorf("%d writes", n)
		}
		if n := store.max.Load(); n != writers {
			t.Errorf("%d writes at the same time", n)
		}
		if _, ok := w.pending("9999"); ok {
			t.Error("still pending")
		}
		if err := w.stop(t.Context()); err != nil || value(t, lost) > 0 {
			t.Errorf("%v; %v lost", err, value(t, lost))
		}
	})
}

// Stopping writes what waits, for as long as there is time; what is too much is counted.
func TestStopInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, lost := &slow{takes: 10 * time.Millisecond}, counter()
		w := newWriter(store, slog.New(slog.DiscardHandler), lost)
		for i := range maxPending + 10 {
			w.add(fmt.Sprint(i), record{At: 1})
		}
		if n := value(t, lost); n != 10 {
			t.Errorf("%v lost, want 10", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if err := w.stop(ctx); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 4*time.Second {
			t.Errorf("stopping took %s", d)
		}
		if n := float64(store.puts.Load()) + value(t, lost); n != maxPending+10 {
			t.Errorf("%d written and %v lost", store.puts.Load(), value(t, lost))
		}
	})
}

// A later record counts, and that of who is removed does not.
func TestReplacedAndDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slow{takes: time.Second}
		w := newWriter(store, slog.New(slog.DiscardHandler), counter())
		w.add("a", record{At: 1})
		time.Sleep(settle + time.Second/2)
		w.add("a", record{At: 2})
		if r, _ := w.pending("a"); r.At != 2 {
			t.Errorf("pending: %v", r)
		}
		time.Sleep(time.Second)
		if r, _ := w.pending("a"); r.At != 2 {
			t.Errorf("after the first is written: %v", r)
		}
		w.add("b", record{At: 3})
		w.drop("b")
		if _, ok := w.pending("b"); ok {
			t.Error("dropped, and pending")
		}
		if err := w.stop(t.Context()); err != nil || store.puts.Load() != 2 {
			t.Errorf("%v; %d writes", err, store.puts.Load())
		}
	})
}

// refusing is a store that keeps nothing of some.
type refusing struct {
	storage.Documents
	mu    sync.Mutex
	why   map[string]error
	tries map[string]int
}

func (s *refusing) PutDocument(_ context.Context, user, _ string, _ []byte, _ storage.DocumentLimit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries[user]++
	return s.why[user]
}

// What never fits, as with users who have no account, is not tried again, and takes
// nobody's place.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := counter()
		store := &refusing{tries: make(map[string]int), why: map[string]error{
			"guest": fmt.Errorf("%w: no account", storage.ErrFull), "long": storage.ErrInvalid, "later": storage.ErrUnavailable,
		}}
		w := newWriter(store, slog.New(slog.DiscardHandler), lost)
		for _, key := range []string{"guest", "long", "later", "alice"} {
			w.add(key, record{At: 1})
		}
		time.Sleep(5*settle + settle/2)
		for key, want := range map[string]struct {
			tries   int
			pending bool
		}{"guest": {1, false}, "long": {1, false}, "later": {5, true}, "alice": {1, false}} {
			store.mu.Lock()
			tries := store.tries[key]
			store.mu.Unlock()
			if _, pending := w.pending(key); tries != want.tries || pending != want.pending {
				t.Errorf("%s: tried %d times, pending: %t; want %v", key, tries, pending, want)
			}
		}
		if err := w.stop(t.Context()); err != nil {
			t.Error(err)
		}
		if got := value(t, lost); got != 2 {
			t.Errorf("%v lost", got) // "long", and "later" at the end
		}
	})
}
