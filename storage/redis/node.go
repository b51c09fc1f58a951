package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// tracker is what the keeper tells of Redis and of dead nodes: the presence. Its
// methods are called one at a time, except reap. ctx ends when what was said holds no
// longer, and up and lost may work until then; down comes after they have returned.
type tracker interface {
	// up says that Redis can be written again and lost nothing.
	up(ctx context.Context)
	// lost says that Redis may have lost this node's rows: it was flushed, restarted,
	// failed over, or the lease had run out. Everything is to be written again.
	lost(ctx context.Context)
	// down says that Redis cannot be written, and is not to be tried.
	down()
	// reap deletes the rows of a dead node, unless it has come back, and says how many
	// it deleted.
	reap(ctx context.Context, node string, epoch uint64) (int, error)
}

// keeper holds the node's lease, watches over the other nodes', and finds out when
// Redis cannot be used and what it lost meanwhile.
type keeper struct {
	lease
	epoch uint64 // of this process; set by take
	every time.Duration
	log   *slog.Logger
	told  tracker
	moved func()              // another server is master, or another life of the same
	deaf  func(number uint64) // nobody listens for this node, as look number saw

	isDown    atomic.Bool
	listening atomic.Bool   // other nodes know this one
	asked     atomic.Bool   // the tracker waits for up or lost
	suspected atomic.Bool   // a command got no answer in time
	poke      chan struct{} // look now; room for one
	end       context.CancelFunc
	done      chan struct{} // closed when run has returned
	gone      chan struct{} // closed when another process has the name
	jobs      sync.WaitGroup

	// Of run alone.
	seen    sight     // what was seen last
	at      time.Time // when, zero before
	renewed time.Time // when the lease was renewed last
	steady  time.Time // since when Redis has been there and kept everything
	owed    bool      // lost is to be told, or was told and not finished
	saying  *saying

	peers
	metrics nodeMetrics
}

func newKeeper(client redis.UniversalClient, c Config) (*keeper, error) {
	metrics, err := newNodeMetrics(c.Metrics)
	return &keeper{
		lease: newLease(client, c), every: c.Lease / 6, log: c.Log, metrics: metrics,
		poke: make(chan struct{}, 1), done: make(chan struct{}), gone: make(chan struct{}),
		peers: newPeers(),
	}, err
}

// take gets the lease, trying until ctx ends or it is refused.
func (k *keeper) take(ctx context.Context) error {
	for try := 0; ; try++ {
		err := k.tryTake(ctx)
		if err == nil || !outage(err) || errors.Is(err, errCluster) || errors.Is(err, ErrName) {
			return err
		}
		if try == 0 {
			k.log.Warn("redis: waiting for the server", "cause", err)
		}
		select {
		case <-ctx.Done():
			return unavailable(err)
		case <-time.After(probeAfter(k.every)):
		}
	}
}

func (k *keeper) tryTake(ctx context.Context) error {
	epoch, s, ok, err := k.lease.take(ctx, time.Now(), newSentinel(), 0)
	if err == nil && !ok {
		// A crashed process leaves its lease behind, but nobody who listens.
		n, err := k.listeners(ctx, k.node)
		if err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%w: %q", ErrName, k.node)
		}
		held := epoch
		if epoch, s, ok, err = k.lease.take(ctx, time.Now(), newSentinel(), held); err == nil && !ok {
			return fmt.Errorf("%w: %q", ErrName, k.node)
		}
	}
	if err != nil {
		return err
	}
	k.epoch, k.seen = epoch, s
	k.at = time.Now()
	k.steady, k.renewed = k.at, k.at
	k.metrics.up.Set(1)
	return k.warnOfEviction(ctx)
}

// warnOfEviction: a server that may throw keys away makes people offline.
func (k *keeper) warnOfEviction(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.patience)
	defer cancel()
	memory, err := k.client.Info(ctx, "memory").Result()
	if err != nil {
		return err
	}
	if p := infoField(memory, "maxmemory_policy"); p != "" && p != "noeviction" {
		k.log.Warn("redis: keys may be evicted, and people then seem offline; set maxmemory-policy noeviction", "policy", p)
	}
	return nil
}

// newSentinel is a value that no other life of the data has.
func newSentinel() string { return rand.Text() }

// probeAfter is when to look again at a server that is not there: after a second at
// most, and not when everybody else does.
func probeAfter(every time.Duration) time.Duration {
	d := min(time.Second, every)
	return d - mathrand.N(d/4+1)
}

func (k *keeper) start(t tracker) {
	k.told = t
	ctx, cancel := context.WithCancel(context.Background())
	k.end = cancel
	go k.run(ctx)
}

// stop ends run and everything that it began.
func (k *keeper) stop() {
	k.end()
	<-k.done
	k.jobs.Wait()
}

// why is why run has ended.
func (k *keeper) why() error {
	select {
	case <-k.gone:
		return ErrName
	default:
		return errClosed
	}
}

// failed tells the keeper that the tracker's command failed, and that it waits: up or
// lost follows, at once when Redis is there.
func (k *keeper) failed(err error) {
	k.asked.Store(true)
	k.suspect(err)
}

// suspect looks at once, since a command failed.
func (k *keeper) suspect(err error) {
	if timedOut(err) {
		k.suspected.Store(true)
	}
	k.lookNow()
}

func timedOut(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func (k *keeper) lookNow() {
	select {
	case k.poke <- struct{}{}:
	default: // it will
	}
}

// pokeSpacing keeps commands that fail one after another from filling Redis with looks;
// it grows to a second while they do.
const pokeSpacing = 50 * time.Millisecond

func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	defer k.hush()
	timer := time.NewTimer(0)
	defer timer.Stop()
	spacing, last := pokeSpacing, time.Time{}
	for {
		poke := k.poke
		if k.isDown.Load() {
			poke = nil // nobody knows better than the next look
		}
		select {
		case <-ctx.Done():
			return
		case <-poke:
			if wait := spacing - time.Since(last); wait > 0 {
				spacing = min(2*spacing, time.Second, k.every)
				timer.Reset(wait)
				select {
				case <-ctx.Done():
					return
				case <-timer.C:
				}
			}
		case <-timer.C:
		}
		if time.Since(last) > 2*time.Second {
			spacing = pokeSpacing
		}
		last = time.Now()
		if !k.round(ctx) {
			return
		}
		next := k.every
		if k.isDown.Load() {
			next = probeAfter(k.every)
		}
		timer.Reset(next)
	}
}

// round looks once and tells what that means. It returns false when there is nothing
// to keep any more.
func (k *keeper) round(ctx context.Context) bool {
	start, asked, suspected := time.Now(), k.asked.Swap(false), k.suspected.Swap(false)
	number, others := k.begin()
	s, err := k.look(ctx, k.epoch, newSentinel(), others)
	if err != nil && !(suspected && timedOut(err)) && ctx.Err() == nil {
		// A connection that was idle may have been cut long ago, and one answer that is
		// late is no outage: this process may have had no time to read it.
		start = time.Now()
		s, err = k.look(ctx, k.epoch, newSentinel(), others)
	}
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		k.fail(err)
		return true
	}
	if s.held > k.epoch {
		k.log.Error("redis: another process has taken this node's name", "node", k.node)
		k.isDown.Store(true)
		k.hush()
		k.told.down()
		close(k.gone)
		return false
	}
	k.judge(ctx, s, start, asked)
	dead := k.compare(s.nodes, number, start.Sub(k.steady) >= k.every*3, k.node)
	if k.deaf != nil && !listens(s.nodes, k.node) {
		k.deaf(number)
	}
	k.metrics.nodes.Set(float64(k.alive()))
	for _, n := range dead {
		k.bury(ctx, n)
	}
	k.finish(number)
	return true
}

// fail has seen that Redis is not there.
func (k *keeper) fail(err error) {
	k.at = time.Time{}
	if k.isDown.Swap(true) {
		return
	}
	k.log.Warn("redis: not available", "cause", err)
	k.metrics.up.Set(0)
	k.metrics.outages.Inc()
	k.hush()
	k.told.down()
}

// judge compares what is seen with what was seen before: whether Redis is new, and how
// long it has been there for everybody.
func (k *keeper) judge(ctx context.Context, s sight, start time.Time, asked bool) {
	anew := s.life != k.seen.life || s.sentinel != k.seen.sentinel
	// A look that timed out may have renewed it late, long after it had run out.
	expired := s.held != k.epoch || start.Sub(k.renewed) > 6*k.every
	k.renewed = start
	// After a pause, of Redis or of this process, others need time to renew theirs.
	if anew || expired || k.at.IsZero() || start.Sub(k.at) > 2*k.every {
		k.steady = start
	}
	if expired && s.sentinel == k.seen.sentinel {
		k.returned(ctx) // others have taken us for dead
	}
	was := k.seen
	k.seen, k.at = s, start
	if s.life != was.life && k.moved != nil {
		k.moved()
	}
	wasDown := k.isDown.Swap(false)
	k.metrics.up.Set(1)
	switch {
	case anew || expired:
		k.log.Warn("redis: may have lost what this node wrote; writing it again",
			"restarted", s.life != was.life, "emptied", s.sentinel != was.sentinel, "lease expired", expired)
		k.say(ctx, true)
	case asked && !wasDown:
		k.say(ctx, false)
	case wasDown:
		k.log.Info("redis: available again")
		k.say(ctx, false)
	}
}

// bury has the rows of a dead node removed, by one of the survivors.
func (k *keeper) bury(ctx context.Context, n neighbour) {
	if !k.digging(n.node, true) {
		return
	}
	k.jobs.Go(func() {
		defer k.digging(n.node, false)
		if err := k.reapOne(ctx, n); err != nil && ctx.Err() == nil {
			k.log.Warn("redis: removing what a dead node left", "node", n.node, "cause", err)
			k.lookNow()
		}
	})
}

func (k *keeper) reapOne(ctx context.Context, n neighbour) error {
	mine, err := k.reaper(ctx, n.node)
	if err != nil || !mine {
		return err
	}
	rows, err := k.told.reap(ctx, n.node, n.boot)
	if err == nil {
		k.log.Info("redis: removed what a dead node left", "node", n.node, "rows", rows)
	}
	return errors.Join(err, k.reaped(ctx, n.node, n.boot, err == nil))
}

// leave gives the lease back, so that others need not wait for its end.
func (k *keeper) leave(ctx context.Context) error {
	select {
	case <-k.gone:
		return nil // it is another's
	default:
	}
	if err := k.lease.leave(ctx, k.epoch); err != nil {
		return fmt.Errorf("redis: giving back the lease: %w", unavailable(err))
	}
	return k.announce(ctx, noticeLeft)
}
