package mongo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"golang.org/x/sync/semaphore"

	"rollcall/storage"
)

// Store is an open connection to the product's MongoDB. It is safe for concurrent
// use.
type Store struct {
	c       Config // with defaults
	client  *driver.Client
	reader  *reader
	own     *own
	health  *health
	metrics *metrics

	logins     *semaphore.Weighted // operations at once
	of         *cache[[]storage.Project]
	members    *cache[membership]
	ofTurns    *semaphore.Weighted // loads at once
	memberTurn *semaphore.Weighted
	lookout    *lookout

	life    context.Context // until Close
	end     context.CancelFunc
	mu      sync.Mutex // between the end and new background work
	work    sync.WaitGroup
	closing sync.Once
	closed  error // of the first Close
}

var (
	_ storage.Users    = (*Store)(nil)
	_ storage.Projects = (*Store)(nil)
	_ storage.Watcher  = (*Store)(nil)

	_ storage.Spool     = (*Store)(nil)
	_ storage.Rosters   = (*Store)(nil)
	_ storage.Documents = (*Store)(nil)
	_ storage.Owners    = (*Store)(nil)
)

// errClosed is what everything returns once the store is closed.
var errClosed = fmt.Errorf("mongo: %w: the store is closed", storage.ErrUnavailable)

// Open connects, reads the directory once, so that later changes can be told, and
// begins to look for them. It tries until ctx ends; then the error wraps
// storage.ErrUnavailable. ctx ends the opening, not the store.
func Open(ctx context.Context, c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	s := &Store{c: c}
	s.life, s.end = context.WithCancel(context.Background())
	err := s.connect()
	if err == nil {
		err = s.lookout.begin(ctx)
	}
	if err != nil {
		// The reason for not opening matters more than one for not closing.
		_ = s.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return s, nil
}

// connect makes everything and asks nothing.
func (s *Store) connect() error {
	c := s.c
	o := options.Client().ApplyURI(c.URI).
		SetTimeout(c.Timeout).
		SetServerSelectionTimeout(c.ServerSelection).
		SetConnectTimeout(c.Timeout).
		SetMaxPoolSize(uint64(c.Pool)).
		// Others may be behind: a change that was told would be cached away again.
		SetReadPreference(readpref.Primary()).
		SetAppName("rollcall")
	if err := o.Validate(); err != nil {
		return errors.New("mongo: the URI cannot be used") // the driver's words may show the password
	}
	var err error
	if s.client, err = driver.Connect(o); err != nil {
		return fmt.Errorf("mongo: %w", err)
	}
	if s.metrics, err = newMetrics(c.Metrics, s); err != nil {
		return fmt.Errorf("mongo: metrics: %w", err)
	}
	s.health = &health{
		ping: func(ctx context.Context) error { return s.client.Ping(ctx, readpref.Primary()) },
		run:  s.background, log: c.Log, down: "MongoDB does not answer: logins fail, what is cached is served",
	}
	s.own = newOwn(s)
	s.reader = newReader(s.client, c, &flaws{log: c.Log, counter: s.metrics.flaws, seen: make(map[[3]string]struct{})})
	// Logins and rosters do not take each other's connections.
	turns := int64(max(1, c.Pool/3))
	s.logins, s.ofTurns, s.memberTurn = semaphore.NewWeighted(turns), semaphore.NewWeighted(turns), semaphore.NewWeighted(turns)
	l := limits{
		entries: c.Cache.Users, bytes: c.Cache.Bytes / 2, age: c.Cache.Age,
		patience: s.patience(), impatience: s.patience() / 8, flight: 5 * c.Timeout,
	}
	s.of = newCache(s.life, l, s.loadProjectsOf, projectsSize, s.count("users"))
	l.entries = c.Cache.Projects
	s.members = newCache(s.life, l, s.loadMembership, membership.size, s.count("projects"))
	s.lookout = newLookout(s)
	return nil
}

// patience is how long a call may take in all, so that its error is there in time.
func (s *Store) patience() time.Duration { return s.c.Timeout - s.c.Timeout/10 }

func (s *Store) count(cache string) func(string) {
	return func(how string) { s.metrics.cache.WithLabelValues(cache, how).Inc() }
}

// cached is how much the caches hold.
func (s *Store) cached() (entries int, bytes int64) {
	n, b := s.of.held()
	m, c := s.members.held()
	return n + m, b + c
}

// background runs f until the store is closed.
func (s *Store) background(f func(ctx context.Context)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() == nil {
		s.work.Go(func() { f(s.life) })
	}
}

// do runs one operation, of a kind for the metrics, when it is its turn.
func (s *Store) do(ctx context.Context, kind string, turns *semaphore.Weighted, f func(context.Context) error) error {
	start := time.Now()
	err := s.try(ctx, s.health, turns, f)
	s.metrics.operation(kind, start, err)
	return err
}

// try runs f, which also returns errors of package storage for what it finds.
func (s *Store) try(ctx context.Context, h *health, turns *semaphore.Weighted, f func(context.Context) error) error {
	if err := s.usable(ctx, h); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	if err := turns.Acquire(limited, 1); err != nil {
		return s.failure(ctx, err)
	}
	defer turns.Release(1)
	// It may have gone down while this waited.
	if err := s.usable(ctx, h); err != nil {
		return err
	}
	began := time.Now()
	err := f(limited)
	if found(err) {
		h.note(nil)
		return err
	}
	// Little time is left to who waited for a turn: that is nothing against MongoDB.
	if hurried := driver.IsTimeout(err) && time.Since(began) < s.patience()/2; ctx.Err() == nil && !hurried {
		h.note(err)
	}
	return s.failure(ctx, err)
}

// usable says why nothing should be tried now.
func (s *Store) usable(ctx context.Context, h *health) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.life.Err() != nil {
		return errClosed
	}
	if err := s.health.up(); err != nil {
		return err
	}
	return h.up()
}

// found reports whether an error is about what MongoDB answered, and not one of its own.
func found(err error) bool {
	return errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrFull) || errors.Is(err, storage.ErrInvalid)
}

// failure turns what the driver says into the errors of package storage. ctx is that of
// the call: once it has ended, its error is the answer.
func (s *Store) failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if s.life.Err() != nil {
		return errClosed
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return fmt.Errorf("mongo: %w: %w", storage.ErrUnavailable, err)
}

// Close ends what is under way. Everything called later fails, and Watch ends, with an
// error that wraps storage.ErrUnavailable.
func (s *Store) Close(ctx context.Context) error {
	s.closing.Do(func() {
		s.mu.Lock()
		s.end()
		s.mu.Unlock()
		s.work.Wait()
		if s.client != nil {
			s.closed = s.client.Disconnect(ctx)
		}
	})
	return s.closed
}
