package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

// recorder is a tracker that remembers what it is told.
type recorder struct {
	mu    sync.Mutex
	told  []string
	block bool  // lost waits for the end of its context
	fail  error // of reap
}

func (r *recorder) note(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, what)
}

func (r *recorder) up(context.Context) { r.note("up") }
func (r *recorder) down()              { r.note("down") }

func (r *recorder) lost(ctx context.Context) {
	r.note("lost")
	r.mu.Lock()
	block := r.block
	r.mu.Unlock()
	if block {
		<-ctx.Done()
	}
}

func (r *recorder) reap(_ context.Context, node string, epoch uint64) (int, error) {
	r.note(fmt.Sprintf("reap %s %d", node, epoch))
	return 0, r.fail
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}

// is waits until exactly that was told.
func (r *recorder) is(t testing.TB, want ...string) {
	t.Helper()
	redistest.Until(t, fmt.Sprintf("told %q", want), func() bool { return len(r.all()) >= len(want) })
	if got := r.all(); !slices.Equal(got, want) {
		t.Fatalf("told %q, want %q", got, want)
	}
}

// keep starts a keeper with a short lease.
func keep(t testing.TB, s *redistest.Server, node string, change ...func(*Config)) (*keeper, *recorder) {
	t.Helper()
	k, r := idleKeeper(t, s, node, change...), &recorder{}
	if err := k.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.start(r)
	t.Cleanup(k.stop)
	return k, r
}

func idleKeeper(t testing.TB, s *redistest.Server, node string, change ...func(*Config)) *keeper {
	t.Helper()
	c := Config{
		Addresses: []string{s.Addr()}, Node: node, Lease: 1200 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, f := range change {
		f(&c)
	}
	c, err := c.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	client := newPool(c, keeperPool, newConns())
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	k, err := newKeeper(client, c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// rounds waits until the keeper has looked that often again.
func rounds(t testing.TB, k *keeper, n uint64) {
	t.Helper()
	k.mu.Lock()
	want := k.finished + n
	k.mu.Unlock()
	redistest.Until(t, "the keeper has looked", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.finished >= want
	})
}

func TestKeeperTells(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lease   time.Duration // 0: a short one
		options []redistest.Option
		harm    func(t *testing.T, s *redistest.Server, r *recorder)
		want    []string
	}{
		"nothing": {harm: func(*testing.T, *redistest.Server, *recorder) {}},
		"restart": {want: []string{"down", "lost"}, harm: func(t *testing.T, s *redistest.Server, r *recorder) {
			s.Kill()
			r.is(t, "down")
			s.Restart()
		}},
		"restart with all data": {
			options: []redistest.Option{redistest.AOF()}, want: []string{"down", "lost"},
			harm: func(t *testing.T, s *redistest.Server, r *recorder) {
				s.Stop()
				r.is(t, "down")
				s.Restart()
			},
		},
		"pause": {lease: 4 * time.Second, want: []string{"down", "up"}, harm: func(t *testing.T, s *redistest.Server, r *recorder) {
			s.Suspend()
			r.is(t, "down")
			s.Resume()
		}},
		"pause longer than the lease": {want: []string{"down", "lost"}, harm: func(t *testing.T, s *redistest.Server, r *recorder) {
			s.Suspend()
			r.is(t, "down")
			time.Sleep(1200 * time.Millisecond) // what the lease lasts
			s.Resume()
		}},
		"flush": {want: []string{"lost"}, harm: func(t *testing.T, s *redistest.Server, _ *recorder) {
			do(t, s, "FLUSHALL")
		}},
		"lease": {want: []string{"lost"}, harm: func(t *testing.T, s *redistest.Server, _ *recorder) {
			do(t, s, "DEL", "wt_node:a")
		}},
		"sentinel": {want: []string{"lost"}, harm: func(t *testing.T, s *redistest.Server, _ *recorder) {
			do(t, s, "DEL", "wt_epoch")
		}},
		"connections": {harm: func(t *testing.T, s *redistest.Server, _ *recorder) {
			do(t, s, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		}},
		"scripts": {harm: func(t *testing.T, s *redistest.Server, _ *recorder) { do(t, s, "SCRIPT", "FLUSH") }},
		"replica": {want: []string{"down", "lost"}, harm: func(t *testing.T, s *redistest.Server, r *recorder) {
			do(t, s, "REPLICAOF", "127.0.0.1", "1")
			r.is(t, "down")
			do(t, s, "REPLICAOF", "NO", "ONE")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t, tt.options...)
			k, r := keep(t, s, "a", func(c *Config) { c.Lease = cmp.Or(tt.lease, c.Lease) })
			rounds(t, k, 1)
			tt.harm(t, s, r)
			rounds(t, k, 3)
			r.is(t, tt.want...)
			if got, err := s.Client(t).Get(t.Context(), "wt_node:a").Uint64(); got != k.epoch || err != nil {
				t.Errorf("the lease is %d, %v: want %d", got, err, k.epoch)
			}
		})
	}
}

func do(t testing.TB, s *redistest.Server, args ...any) {
	t.Helper()
	if err := s.Client(t).Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

// A tracker that asks is always answered.
func TestKeeperAnswers(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	k, r := keep(t, s, "a")
	rounds(t, k, 1)
	for i := range 5 {
		k.failed(errors.New("test"))
		r.is(t, slices.Repeat([]string{"up"}, i+1)...)
	}
}

// What was lost is told again until the tracker has come to an end with it.
func TestLostIsToldAgain(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	k, r := keep(t, s, "a")
	rounds(t, k, 1)
	r.mu.Lock()
	r.block = true
	r.mu.Unlock()
	do(t, s, "FLUSHALL")
	r.is(t, "lost")
	do(t, s, "CLIENT", "PAUSE", "1300", "WRITE") // twice no answer in time
	r.is(t, "lost", "down")
	r.mu.Lock()
	r.block = false
	r.mu.Unlock()
	r.is(t, "lost", "down", "lost")
}

// One of the survivors reaps a dead node, once, and no node that lives.
func TestDeadNodeIsReapedOnce(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	dead := idleKeeper(t, s, "dead")
	if err := dead.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, a := keep(t, s, "a")
	kb, b := keep(t, s, "b")
	kc, c := keep(t, s, "c")
	told := func() []string { return slices.Concat(a.all(), b.all(), c.all()) }
	redistest.Until(t, "somebody reaps", func() bool { return len(told()) > 0 })
	redistest.Until(t, "the node is forgotten", func() bool {
		in, err := s.Client(t).SIsMember(t.Context(), "wt_nodes", "dead").Result()
		return err == nil && !in
	})
	rounds(t, kb, 3)
	rounds(t, kc, 3)
	if got, want := told(), []string{fmt.Sprintf("reap dead %d", dead.epoch)}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// A reaping that fails is done again.
func TestReapingIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	dead := idleKeeper(t, s, "dead")
	if err := dead.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	k := idleKeeper(t, s, "a")
	if err := k.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := &recorder{fail: fmt.Errorf("%w: test", storage.ErrUnavailable)}
	k.start(r)
	t.Cleanup(k.stop)
	redistest.Until(t, "it is tried three times", func() bool { return len(r.all()) >= 3 })
	for _, got := range r.all() {
		if !strings.HasPrefix(got, "reap dead ") {
			t.Errorf("told %q", got)
		}
	}
}

// A node that is back while it is being forgotten stays.
func TestNodeThatIsBackIsNotForgotten(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, dead := idleKeeper(t, s, "a"), idleKeeper(t, s, "dead")
	if err := dead.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.reaped(t.Context(), "dead", dead.epoch, true); err != nil {
		t.Fatal(err)
	}
	if in, err := s.Client(t).SIsMember(t.Context(), "wt_nodes", "dead").Result(); !in || err != nil {
		t.Errorf("in wt_nodes: %v, %v", in, err)
	}
}

func TestSightRefusesOtherReplies(t *testing.T) {
	t.Parallel()
	for _, reply := range [][]any{
		{}, {"s"}, {"s", "1", "node"}, {"s", int64(1)}, {"s", "1", "n", "1", "1", "many", "1"},
	} {
		if err := new(sight).read(reply); err == nil {
			t.Errorf("%v was taken", reply)
		}
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := s.Client(t)
	stale := newClient(Config{Addresses: []string{"127.0.0.1:1"}, Timeout: time.Second})
	defer stale.Close() //nolint:errcheck // it never was open
	if err := stale.Ping(t.Context()).Err(); !outage(err) {
		t.Errorf("%v is an outage", err)
	}
	for _, err := range []error{nil, c.Get(t.Context(), "none").Err(), c.Do(t.Context(), "NONSENSE").Err(), context.Canceled} {
		if outage(err) {
			t.Errorf("%v is no outage", err)
		}
	}
	do(t, s, "CONFIG", "SET", "maxmemory", "1")
	if err := c.Set(t.Context(), "k", "v", 0).Err(); !outage(err) {
		t.Errorf("%v is an outage", err)
	}
}
