package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rollcall/storage"
)

const (
	// maxBatch is how many writes share a transaction at most.
	maxBatch = 256
	// keepRows and keepFor say which changes are kept for those who watch: at
	// least so many, and all of the last minute, however many an import made.
	keepRows = 100_000
	keepFor  = time.Minute
	// pruneEvery is how many transactions pass between prunings.
	pruneEvery = 1000
)

// write is one caller's change on its way through the committer.
type write struct {
	do    func(*statements) error
	lazy  bool          // see writeLazily
	state atomic.Int32  // of queued, taken and abandoned
	ran   chan struct{} // closed when do has returned
	done  chan error    // gets the outcome; room for one
}

const (
	queued int32 = iota
	taken
	abandoned
)

// committer is the one goroutine that writes. What waits while it commits is
// committed together next.
type committer struct {
	conn *sql.Conn
	st   *statements
	log  *slog.Logger

	queue   chan *write // without a buffer: nothing is left in it at the end
	stop    chan struct{}
	stopped chan struct{}

	mu        sync.Mutex
	committed chan struct{} // closed and replaced by every commit

	keep       int // changes, keepRows but in tests
	sincePrune int
	lazy       bool // how the connection is set up now
}

func startCommitter(ctx context.Context, db *sql.DB, log *slog.Logger) (*committer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	c := &committer{
		conn: conn, log: log, queue: make(chan *write),
		stop: make(chan struct{}), stopped: make(chan struct{}), committed: make(chan struct{}),
		keep: keepRows,
	}
	if c.st, err = prepareStatements(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	// A command that runs briefly would never get to it.
	c.sincePrune = pruneEvery
	go c.run()
	return c, nil
}

// close waits for the transaction that has begun.
func (c *committer) close() error {
	close(c.stop)
	<-c.stopped
	return errors.Join(c.st.close(), c.conn.Close())
}

// nextCommit returns a channel that the next commit closes.
func (c *committer) nextCommit() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.committed
}

func (c *committer) announce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.committed)
	c.committed = make(chan struct{})
}

// write runs do in a transaction of the writing goroutine and returns once that
// is durable. An error of do undoes what do did and nothing else. When ctx ends
// early, the write may or may not have happened, but do is not running any
// more: what it refers to is the caller's again. A do of many statements looks
// at ctx between them.
func (s *Store) write(ctx context.Context, do func(*statements) error) error {
	return s.queue(ctx, &write{do: do})
}

// writeLazily is write for what may be undone when the machine, not the process, ends
// before long: where nothing else waits to be written, it does without an fsync. The next
// write makes it durable.
func (s *Store) writeLazily(ctx context.Context, do func(*statements) error) error {
	return s.queue(ctx, &write{do: do, lazy: true})
}

func (s *Store) queue(ctx context.Context, w *write) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.ran, w.done = make(chan struct{}), make(chan error, 1)
	select {
	case s.commits.queue <- w:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return errClosed
	}
	select {
	case err := <-w.done:
		return s.outcome(ctx, err)
	case <-ctx.Done():
	}
	if w.state.CompareAndSwap(queued, abandoned) {
		return ctx.Err()
	}
	<-w.ran
	select {
	case err := <-w.done:
		return s.outcome(ctx, err)
	default:
		return ctx.Err()
	}
}

// outcome leaves the errors of package storage as they are: a write that was
// refused was refused, even when ctx has ended since.
func (s *Store) outcome(ctx context.Context, err error) error {
	for _, kind := range []error{storage.ErrNotFound, storage.ErrExists, storage.ErrInvalid, storage.ErrFull} {
		if errors.Is(err, kind) {
			return err
		}
	}
	return s.failure(ctx, err)
}

func (c *committer) run() {
	defer close(c.stopped)
	batch := make([]*write, 0, maxBatch)
	for {
		select {
		case w := <-c.queue:
			batch = c.fill(append(batch[:0], w))
			c.commit(batch)
			clear(batch)
		case <-c.stop:
			return
		}
	}
}

// fill adds the writes that wait already.
func (c *committer) fill(batch []*write) []*write {
	for len(batch) < maxBatch {
		select {
		case w := <-c.queue:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// commit runs the batch in one transaction and tells everybody the outcome.
func (c *committer) commit(batch []*write) {
	errs := make([]error, len(batch))
	err := c.begin(batch)
	for i, w := range batch {
		if !w.state.CompareAndSwap(queued, taken) {
			continue
		}
		if err == nil {
			errs[i], err = c.runIn(w)
		}
		close(w.ran)
	}
	if err == nil {
		c.prune()
		err = c.exec("COMMIT")
	}
	if err != nil {
		// Nothing of it holds. SQLite may have rolled back by itself: then there
		// is no transaction to end, and the error says only that.
		_ = c.exec("ROLLBACK")
		c.log.Error("a transaction failed", "writes", len(batch), "error", err)
	} else {
		c.announce()
	}
	for i, w := range batch {
		if errs[i] == nil && err != nil {
			errs[i] = transactionError(err)
		}
		w.done <- errs[i]
	}
}

// begin starts a transaction, and sees to it that its end waits for the disk unless all of
// the batch can do without.
func (c *committer) begin(batch []*write) error {
	lazy := !slices.ContainsFunc(batch, func(w *write) bool { return !w.lazy })
	if lazy != c.lazy {
		level := "FULL"
		if lazy {
			level = "NORMAL"
		}
		if err := c.exec("PRAGMA synchronous = " + level); err != nil {
			return err
		}
		c.lazy = lazy
	}
	return c.exec("BEGIN IMMEDIATE")
}

// transactionError is what a write gets that did nothing wrong itself.
func transactionError(err error) error {
	if errors.Is(kindOf(err), storage.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("sqlite: %w: the transaction failed: %w", storage.ErrUnavailable, err)
}

// runIn runs one write in a savepoint. The first error is the write's own, the
// second one that of the transaction, which is lost then.
func (c *committer) runIn(w *write) (own, whole error) {
	if _, err := exec(c.st.savepoint); err != nil {
		return nil, err
	}
	if own = w.do(c.st); own != nil {
		if err := c.exec("ROLLBACK TO w"); err != nil {
			return own, fmt.Errorf("%w, after %w", err, own)
		}
	}
	_, whole = exec(c.st.release)
	return own, whole
}

// exec runs without a deadline, as all statements of the committer do:
// interrupting one would undo the whole transaction. Each is short.
func (c *committer) exec(command string) error {
	_, err := c.conn.ExecContext(context.Background(), command)
	return err
}

// prune forgets old changes now and then.
func (c *committer) prune() {
	if c.sincePrune++; c.sincePrune < pruneEvery {
		return
	}
	c.sincePrune = 0
	if err := c.st.prune(c.keep, keepFor); err != nil {
		c.log.Error("old changes could not be forgotten", "error", err)
	}
}
