package redis

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

// load makes calls of many users without a pause until stop, and tells of each that
// failed how long it took.
func load(t *testing.T, s *Store, users int, failed func(what string, took time.Duration)) (stop func()) {
	var group sync.WaitGroup
	var over atomic.Bool
	for i := range users {
		group.Go(func() {
			user, shows := fmt.Sprint("u", i), []storage.Show{storage.Online, storage.Busy, storage.Leave}
			for n := 0; !over.Load(); n++ {
				for what, call := range map[string]func() error{
					"Set": func() error {
						_, err := s.Set(t.Context(), say(user, "1", shows[n%3]), []string{"p"})
						return err
					},
					"Status": func() error { _, err := s.Status(t.Context(), []string{user}); return err },
				} {
					begun := time.Now()
					err := call()
					if err != nil && !errors.Is(err, storage.ErrUnavailable) {
						t.Errorf("%s: %v", what, err)
					}
					if err != nil {
						failed(what, time.Since(begun))
					}
				}
			}
			if _, err := s.Set(t.Context(), say(user, "1", storage.Busy), []string{"p"}); err != nil {
				t.Errorf("the last of %s: %v", user, err)
			}
		})
	}
	return func() { over.Store(true); group.Wait() }
}

// A server that stands still for little more than a time-out, or seems to on a busy
// machine, is not away: no call fails that was not waited for as long as one may.
func TestShortStall(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server, "n1", func(c *Config) { c.Timeout = 0 })
	var early, late atomic.Int64
	stop := load(t, s, 100, func(what string, took time.Duration) {
		late.Add(1)
		if took < s.patience-s.patience/10 {
			early.Add(1)
			t.Logf("%s failed after %v", what, took)
		}
	})
	// A busy machine may make the stall longer, and then it is an outage.
	for try := 0; ; try++ {
		early.Store(0)
		p := s.presence
		begun := time.Now()
		redistest.Until(t, "calls are made", func() bool { return time.Since(begun) > 50*time.Millisecond })
		server.Suspend()
		begun = time.Now()
		redistest.Until(t, "the time-out is over", func() bool { return time.Since(begun) > p.timeout+100*time.Millisecond })
		server.Resume()
		redistest.Until(t, "calls are taken again", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.open && p.settled
		})
		if early.Load() == 0 || try == 2 {
			break
		}
	}
	stop()
	if early.Load() > 0 {
		t.Errorf("%d calls failed early", early.Load())
	}
	t.Logf("%d calls failed", late.Load())
	settled(t, s)
	got := dump(t, server.Client(t))
	for i := range 100 {
		if key := fmt.Sprint("wt_user_presence:u", i); got[key] != "2" {
			t.Errorf("%s: %q, want 2", key, got[key])
		}
	}
	if found, err := s.reconcile(t.Context()); err != nil || found != (repairs{}) {
		t.Errorf("reconcile: %+v, %v", found, err)
	}
}

// While the server stands still every call fails within a second, and at once when that
// is known.
func TestLongStall(t *testing.T) { // alone, as it is about time
	server := redistest.Start(t)
	s := openNode(t, server, "n1", func(c *Config) { c.Timeout = 200 * time.Millisecond })
	var longest atomic.Int64
	stop := load(t, s, 10, func(_ string, took time.Duration) {
		for was := longest.Load(); int64(took) > was && !longest.CompareAndSwap(was, int64(took)); was = longest.Load() {
		}
	})
	server.Suspend()
	redistest.Until(t, "the outage is known", func() bool {
		p := s.presence
		p.mu.Lock()
		defer p.mu.Unlock()
		return !p.open && !p.doubt
	})
	fastest := time.Hour // the machine may be busy
	for range 20 {
		begun := time.Now()
		if _, err := s.Status(t.Context(), []string{"ann"}); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("Status: %v, want ErrUnavailable", err)
		}
		fastest = min(fastest, time.Since(begun))
	}
	server.Resume()
	settled(t, s)
	stop()
	if most := time.Duration(longest.Load()); most > time.Second {
		t.Errorf("a call took %v", most)
	}
	if fastest > 10*time.Millisecond {
		t.Errorf("calls took %v and more though the outage was known", fastest)
	}
}

// What was lost and could not be told is told later, though Redis knows the fence: a
// failover may lose some rows and not others.
func TestLostStaysLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server, "n1", impatient)
	mustSet(t, s, "ann", "1", storage.Online, "p1")
	want := dump(t, server.Client(t))
	if err := server.Client(t).Del(t.Context(), "wt_sess:ann", "wt_proj_online_users:p1", "wt_user_presence:ann").Err(); err != nil {
		t.Fatal(err)
	}
	server.Suspend()
	s.lost(t.Context()) // no answer
	server.Resume()
	settled(t, s)
	holds(t, server.Client(t), want)
}

// Calls that a new fence refuses are made again under it, and are no reason to ask for
// another one: under load that would never end.
func TestRefusedByTheFenceAlone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server, "n1")
	p := s.presence
	var asked atomic.Int64
	p.mu.Lock()
	failing := p.failing
	p.failing = func(err error) {
		t.Logf("asked for: %v", err)
		asked.Add(1)
		failing(err)
	}
	p.mu.Unlock()
	stop := load(t, s, 20, func(what string, took time.Duration) {
		// While everything is written again queries are answered from what is known.
		if what == "Set" {
			t.Errorf("%s failed after %v", what, took)
		}
	})
	for range 20 {
		p.lost(t.Context())
	}
	stop()
	if n := asked.Load(); n > 0 {
		t.Errorf("the keeper was asked %d times", n)
	}
}
