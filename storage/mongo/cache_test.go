package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/storage"
)

// loads is what a cache under test loads: a number per key that the test raises.
type loads struct {
	mu    sync.Mutex
	value map[string]int
	calls int
	err   error
	wait  time.Duration
}

func (l *loads) load(ctx context.Context, key string) (int, error) {
	l.mu.Lock()
	l.calls++
	v, err, wait := l.value[key], l.err, l.wait
	l.mu.Unlock()
	select {
	case <-time.After(wait):
		return v, err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
	}
}

func (l *loads) set(f func(*loads)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

func newTestCache(t *testing.T, l *loads) *cache[int] {
	limit := limits{
		entries: 3, bytes: 10_000, age: time.Minute,
		patience: 1800 * time.Millisecond, impatience: 225 * time.Millisecond, flight: 10 * time.Second,
	}
	return newCache(t.Context(), limit, l.load, func(int) int64 { return 1000 }, func(string) {})
}

func expect(t *testing.T, c *cache[int], key string, want int) {
	t.Helper()
	if v, err := c.get(t.Context(), key); err != nil || v != want {
		t.Errorf("%s is %d, %v; want %d", key, v, err, want)
	}
}

func TestCacheAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &loads{value: map[string]int{"a": 1}}
		c := newTestCache(t, l)
		expect(t, c, "a", 1)
		l.set(func(l *loads) { l.value["a"] = 2 })
		time.Sleep(59 * time.Second)
		expect(t, c, "a", 1)
		time.Sleep(2 * time.Second)
		expect(t, c, "a", 2)
		l.set(func(l *loads) { l.value["a"] = 3 })
		c.drop([]string{"a", "b"})
		expect(t, c, "a", 3)
		if l.calls != 3 {
			t.Errorf("%d loads, want 3", l.calls)
		}
	})
}

// TestCacheTrouble wants old values while loading fails or takes long, and errors in
// time for what is not known.
func TestCacheTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &loads{value: map[string]int{"a": 1}}
		c := newTestCache(t, l)
		expect(t, c, "a", 1)
		time.Sleep(time.Hour)
		l.set(func(l *loads) { l.err = errDown })
		expect(t, c, "a", 1)
		if _, err := c.get(t.Context(), "b"); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("b: %v", err)
		}
		l.set(func(l *loads) { l.err, l.wait = nil, time.Hour })
		start := time.Now()
		expect(t, c, "a", 1)
		if took := time.Since(start); took != 225*time.Millisecond {
			t.Errorf("an old value after %v", took)
		}
		start = time.Now()
		if _, err := c.get(t.Context(), "b"); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("b: %v", err)
		}
		if took := time.Since(start); took != 1800*time.Millisecond {
			t.Errorf("an error after %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := c.get(ctx, "b"); err != context.DeadlineExceeded {
			t.Errorf("b: %v", err)
		}
		time.Sleep(time.Minute)
		l.set(func(l *loads) { l.wait, l.value["a"] = 0, 2 })
		expect(t, c, "a", 2)
		l.set(func(l *loads) { l.err = errors.New("no") })
		time.Sleep(time.Hour)
		if _, err := c.get(t.Context(), "a"); err == nil || errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("a: %v, want the error itself", err)
		}
	})
}

func TestCacheOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &loads{value: map[string]int{"a": 1}, wait: time.Second}
		c := newTestCache(t, l)
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { expect(t, c, "a", 1) })
		}
		wg.Wait()
		if l.calls != 1 {
			t.Errorf("%d loads, want 1", l.calls)
		}
	})
}

// TestCacheDropUnderWay drops a key that is being loaded: who asks afterwards gets what
// is loaded afterwards.
func TestCacheDropUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &loads{value: map[string]int{"a": 1}, wait: time.Second}
		c := newTestCache(t, l)
		var wg sync.WaitGroup
		wg.Go(func() { expect(t, c, "a", 1) })
		synctest.Wait()
		l.set(func(l *loads) { l.value["a"] = 2 })
		c.drop([]string{"a"})
		expect(t, c, "a", 2)
		wg.Wait()
		expect(t, c, "a", 2)
		if l.calls != 2 {
			t.Errorf("%d loads, want 2", l.calls)
		}
	})
}

// TestCacheDropStale drops an old value while it waits for a newer: known to be wrong, it
// is not served.
func TestCacheDropStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &loads{value: map[string]int{"a": 1}}
		c := newTestCache(t, l)
		expect(t, c, "a", 1)
		time.Sleep(time.Hour)
		l.set(func(l *loads) { l.wait = time.Hour })
		var wg sync.WaitGroup
		wg.Go(func() {
			if v, err := c.get(t.Context(), "a"); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("a is %d, %v", v, err)
			}
		})
		synctest.Wait()
		c.drop([]string{"a"})
		wg.Wait()
	})
}

func TestCacheBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &loads{value: map[string]int{}}
		c := newTestCache(t, l)
		for i := range 100 {
			expect(t, c, fmt.Sprint(i), 0)
			expect(t, c, "0", 0) // in use, so it stays
		}
		if n, b := c.held(); n != 3 || b != 3*(1000+entryCost)+5 {
			t.Errorf("%d entries of %d bytes", n, b)
		}
		if l.calls != 100 {
			t.Errorf("%d loads, want 100", l.calls)
		}
		c.limits.bytes = 2500
		expect(t, c, "x", 0)
		if n, _ := c.held(); n != 2 {
			t.Errorf("%d entries in 2500 bytes", n)
		}
		c.limits.bytes = 10
		expect(t, c, "y", 0)
		if n, _ := c.held(); n != 2 {
			t.Errorf("%d entries: what is too large must not drive out others", n)
		}
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		answers := false
		pings := 0
		var mu sync.Mutex
		h := &health{
			ping: func(context.Context) error {
				mu.Lock()
				defer mu.Unlock()
				if pings++; answers {
					return nil
				}
				return refused
			},
			run: func(f func(context.Context)) { go f(t.Context()) },
			log: slog.New(slog.DiscardHandler),
		}
		for range strikes - 1 {
			h.note(refused)
		}
		h.note(nil)
		for range strikes - 1 {
			h.note(refused)
		}
		if err := h.up(); err != nil {
			t.Fatalf("down after too few failures in a row: %v", err)
		}
		for range 10 { // one prober, not ten
			h.note(refused)
		}
		if !errors.Is(h.up(), storage.ErrUnavailable) {
			t.Fatal("up")
		}
		time.Sleep(10*time.Second + time.Millisecond)
		mu.Lock()
		if pings != 40 {
			t.Errorf("%d pings in 10 s", pings)
		}
		answers = true
		mu.Unlock()
		if h.up() == nil {
			t.Error("up without an answer")
		}
		time.Sleep(probeEvery)
		synctest.Wait()
		if err := h.up(); err != nil {
			t.Error(err)
		}
	})
}
