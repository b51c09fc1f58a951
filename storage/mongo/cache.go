package mongo

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"rollcall/storage"
)

// cache keeps what was loaded, bounded in entries and bytes, and loads each key once
// however many want it. What is too old is loaded again, and served all the same
// while that fails or takes long.
type cache[V any] struct {
	limits  limits
	load    func(ctx context.Context, key string) (V, error)
	size    func(V) int64 // in bytes, about
	counted func(how string)
	life    context.Context // of the store

	mu      sync.Mutex
	entries map[string]*list.Element // of *entry[V]
	recent  *list.List               // most recently used first
	bytes   int64
	flights map[string]*flight[V]
}

// limits bound a cache.
type limits struct {
	entries int
	bytes   int64
	age     time.Duration
	// patience is how long a caller waits for a load; impatience, when there is an
	// older value.
	patience, impatience time.Duration
	// flight is how long a load may take whoever still waits for it.
	flight time.Duration
}

type entry[V any] struct {
	key   string
	v     V
	bytes int64
	at    time.Time
}

// flight is a load under way.
type flight[V any] struct {
	done chan struct{}
	v    V
	err  error
	void bool // the key was dropped meanwhile; guarded by the cache's mu
}

// entryCost is what an entry takes besides key and value, in bytes.
const entryCost = 200

var errSlow = fmt.Errorf("mongo: %w: no answer in time", storage.ErrUnavailable)

func newCache[V any](life context.Context, l limits, load func(context.Context, string) (V, error), size func(V) int64, counted func(string)) *cache[V] {
	return &cache[V]{
		limits: l, load: load, size: size, counted: counted, life: life,
		entries: make(map[string]*list.Element), recent: list.New(), flights: make(map[string]*flight[V]),
	}
}

// get returns a value that is shared: callers do not change it.
func (c *cache[V]) get(ctx context.Context, key string) (v V, err error) {
	if err := ctx.Err(); err != nil {
		return v, err
	}
	if c.life.Err() != nil {
		return v, errClosed
	}
	c.mu.Lock()
	old := c.find(key)
	if old != nil && time.Since(old.at) < c.limits.age {
		c.mu.Unlock()
		c.counted("hit")
		return old.v, nil
	}
	f := c.flights[key]
	if f == nil {
		f = &flight[V]{done: make(chan struct{})}
		c.flights[key] = f
		go c.fly(key, f)
	}
	c.mu.Unlock()

	wait := c.limits.patience
	if old != nil {
		wait = c.limits.impatience
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	select {
	case <-f.done:
		if !errors.Is(f.err, storage.ErrUnavailable) {
			c.counted("miss")
			return f.v, f.err
		}
		err = f.err
	case <-late.C:
		err = errSlow
	case <-ctx.Done():
		return v, ctx.Err()
	}
	// Looked up again: if it was dropped meanwhile, it is known to be wrong.
	c.mu.Lock()
	old = c.find(key)
	c.mu.Unlock()
	if old == nil {
		c.counted("failed")
		return v, err
	}
	c.counted("stale")
	return old.v, nil
}

// find returns an entry and notes its use; c.mu is held.
func (c *cache[V]) find(key string) *entry[V] {
	e := c.entries[key]
	if e == nil {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(*entry[V])
}

// fly loads a key.
func (c *cache[V]) fly(key string, f *flight[V]) {
	ctx, cancel := context.WithTimeout(c.life, c.limits.flight)
	defer cancel()
	at := time.Now()
	f.v, f.err = c.load(ctx, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !f.void {
		delete(c.flights, key)
		if f.err == nil {
			c.put(&entry[V]{key: key, v: f.v, bytes: c.size(f.v) + int64(len(key)) + entryCost, at: at})
		}
	}
	close(f.done)
}

// put enters a value; c.mu is held.
func (c *cache[V]) put(e *entry[V]) {
	c.remove(e.key)
	if e.bytes > c.limits.bytes {
		return
	}
	c.entries[e.key] = c.recent.PushFront(e)
	c.bytes += e.bytes
	for len(c.entries) > c.limits.entries || c.bytes > c.limits.bytes {
		c.remove(c.recent.Back().Value.(*entry[V]).key)
	}
}

func (c *cache[V]) remove(key string) {
	if e := c.entries[key]; e != nil {
		c.bytes -= e.Value.(*entry[V]).bytes
		c.recent.Remove(e)
		delete(c.entries, key)
	}
}

// drop forgets keys: what is loaded from now on was read after this call began.
func (c *cache[V]) drop(keys []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		c.remove(key)
		if f := c.flights[key]; f != nil {
			f.void = true
			delete(c.flights, key)
		}
	}
}

// held is how much is kept.
func (c *cache[V]) held() (entries int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries), c.bytes
}
