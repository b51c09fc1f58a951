package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"rollcall/storage"
)

// presence is storage.Presence. It keeps what this node's users said in a mirror and
// tells Redis every change in one script; the scripts of concurrent calls share a round
// trip. While Redis is away the mirror goes on, and everything that Redis missed is
// asserted when it is back.
//
// Redis takes a script only under this node's fence, a value that is made anew whenever
// a script may have been lost on the way: one that arrives late is refused, and so is
// one after Redis was flushed or after other nodes took this one for dead.
type presence struct {
	client   redis.UniversalClient
	names    names
	node     string
	process  string // begins this process's fences
	timeout  time.Duration
	patience time.Duration // how long a caller may wait to hear that Redis is away
	every    time.Duration // between two reconciliations
	pauses   pauses
	failing  func(error) // tells the keeper to look after Redis
	log      *slog.Logger
	metrics  *presenceMetrics
	scripts  scripts
	now      func() time.Time

	life   context.Context // ends with close
	cancel context.CancelFunc
	work   sync.WaitGroup
	wake   chan struct{} // something is queued
	gate   sync.Mutex    // held while the fence is made, and what Redis missed is asserted
	rev    atomic.Uint64 // the greatest that is known

	mu      sync.Mutex
	mirror  mirror
	queue   []*call
	fences  uint64        // how many were made
	fence   string        // what Redis has, while open
	open    bool          // Redis is written
	settled bool          // Redis knows everything, or is asked for it
	doubt   bool          // what cannot be done now may be possible soon: calls wait
	news    chan struct{} // closed and made anew when one of these three changes
	waiting []*call
	emptied bool // Redis may have lost everything, and was not told everything since
	closed  bool
	scan    scanner
}

// pauses keep nodes that all find an empty Redis at once from filling it at once: each
// is the longest of a random time.
type pauses struct {
	first, next time.Duration
}

var _ storage.Presence = (*presence)(nil)

var (
	// errAway says that Redis is known to be away.
	errAway = errors.New("it could not be written last time")
	// errSlow says that the answer takes too long.
	errSlow = errors.New("no answer in time")
	// errFenced says that Redis does not know this node's fence: it lost it with
	// everything else, or other nodes believe this one dead.
	errFenced = errors.New("the fence is gone")
)

// newPresence starts a presence that is closed to Redis until up, lost or clean.
// failing must not block; after it has been called, up or lost follows.
func newPresence(client redis.UniversalClient, c Config, m *presenceMetrics, failing func(error)) *presence {
	p := &presence{
		client: client, names: c.Keys.names(), node: c.Node, process: rand.Text(),
		timeout: c.Timeout, patience: patience(c), every: c.Reconcile, pauses: c.pauses,
		failing: failing, log: c.Log, metrics: m,
		scripts: newScripts(), now: time.Now,
		wake: make(chan struct{}, 1), news: make(chan struct{}), mirror: newMirror(),
	}
	p.life, p.cancel = context.WithCancel(context.Background())
	p.work.Go(p.run)
	p.work.Go(p.reconcileAtTimes)
	return p
}

// close removes this node's rows and stops what runs in the background.
func (p *presence) close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.shut(errAway)
	p.mu.Unlock()
	p.cancel()
	p.work.Wait()
	p.gate.Lock()
	defer p.gate.Unlock()
	_, err := p.bury(ctx, p.node, p.process)
	return err
}

// Set implements storage.Presence. A Show that is none of the four states is
// storage.ErrInvalid.
func (p *presence) Set(ctx context.Context, c storage.ConnState, projects []string) (storage.PresenceChange, error) {
	if c.Show < storage.Offline || c.Show > storage.Leave {
		return storage.PresenceChange{}, fmt.Errorf("%w: show %d", storage.ErrInvalid, int(c.Show))
	}
	return p.tell(ctx, true, func() change { return p.mirror.set(c, projects, p.now()) })
}

// Remove implements storage.Presence.
func (p *presence) Remove(ctx context.Context, user, conn string) (storage.PresenceChange, error) {
	return p.tell(ctx, true, func() change { return p.mirror.remove(user, conn) })
}

// Join implements storage.Presence.
func (p *presence) Join(ctx context.Context, user, project string) error {
	_, err := p.tell(ctx, false, func() change { return p.mirror.join(user, project, p.now()) })
	return err
}

// Leave implements storage.Presence.
func (p *presence) Leave(ctx context.Context, user, project string) error {
	_, err := p.tell(ctx, false, func() change { return p.mirror.leave(user, project, p.now()) })
	return err
}

// tell changes the mirror and tells Redis.
func (p *presence) tell(ctx context.Context, nodes bool, f func() change) (storage.PresenceChange, error) {
	if err := ctx.Err(); err != nil {
		return storage.PresenceChange{}, err
	}
	p.mu.Lock()
	ch := f()
	c := &call{change: &ch, nodes: nodes, begun: time.Now(), done: make(chan struct{})}
	switch {
	case p.open:
		p.assert(c)
	case p.doubt:
		p.missed(c)
		p.waiting = append(p.waiting, c)
	default:
		p.mirror.owe(&ch)
		p.mu.Unlock()
		return storage.PresenceChange{}, unavailable(errAway)
	}
	p.mu.Unlock()
	if err := p.wait(ctx, c); err != nil {
		return storage.PresenceChange{}, err
	}
	return c.answer, c.err
}

// assert queues a user's state, as it is now; mu is held, and Redis is open.
func (p *presence) assert(c *call) *call {
	p.mirror.complete(c.change)
	c.evaluation = evaluation{p.scripts.assert, p.assertKeys(p.node, c.change.user), p.assertArgs(c.change, c.nodes)}
	return p.enqueue(c)
}

func (p *presence) assertKeys(node, user string) []string {
	n := &p.names
	return []string{
		n.fence + node, n.rows + user, n.state + user, n.projects + user,
		n.nodeUsers + node, n.rev, n.nodeProjs + node,
	}
}

func (p *presence) assertArgs(ch *change, nodes bool) []any {
	flags := ""
	if ch.listed {
		flags += "l"
	}
	if ch.fresh {
		flags += "f"
	}
	if nodes {
		flags += "n"
	}
	args := make([]any, 0, 16+2*len(ch.rows)+len(ch.projects))
	args = append(args, p.fence, p.node, ch.user, p.names.online, p.names.nodesOf, p.least(), flags, ch.learned, 2*len(ch.rows))
	for _, r := range ch.rows {
		args = append(args, p.node+"|"+r.conn, r.value)
	}
	for _, list := range [][]string{ch.projects, ch.joined, ch.left, ch.on, ch.off} {
		args = append(args, len(list))
		for _, s := range list {
			args = append(args, s)
		}
	}
	return args
}

// least is the revision that Redis must not fall behind.
func (p *presence) least() string { return strconv.FormatUint(p.rev.Load(), 10) }

// sawRevision remembers the greatest revision.
func (p *presence) sawRevision(rev uint64) {
	for known := p.rev.Load(); known < rev && !p.rev.CompareAndSwap(known, rev); known = p.rev.Load() {
	}
}
