package redis

import (
	"fmt"
	"sync"
	"testing"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

// kill ends a node as kill -9 would: nothing is removed, nobody is told.
func kill(s *Store) {
	s.presence.mu.Lock()
	s.presence.open, s.presence.settled, s.presence.closed = false, false, true
	s.presence.mu.Unlock()
	s.keeper.stop()
	s.presence.cancel()
	s.presence.work.Wait()
}

// forgetLease ends a node's lease at once.
func forgetLease(t *testing.T, server *redistest.Server, node string) {
	t.Helper()
	if err := server.Client(t).Del(t.Context(), "wt_node:"+node).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestReap(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := openNode(t, server, "a"), openNode(t, server, "b")
	mustSet(t, b, "ann", "1", storage.Busy, "p1")
	want := dump(t, server.Client(t))
	var group sync.WaitGroup
	set := func(user, conn string, show storage.Show, projects ...string) {
		if _, err := a.Set(t.Context(), say(user, conn, show), projects); err != nil {
			t.Error(err)
		}
	}
	for i := range 50 {
		group.Go(func() {
			for u := i; u < 2500; u += 50 {
				if u%5 == 0 {
					set(fmt.Sprint("u", u), "2", storage.Offline, "p2")
				}
				set(fmt.Sprint("u", u), "1", storage.Online, fmt.Sprint("p", u/50), "all")
			}
		})
	}
	group.Wait()
	// ann is on both; what a said counts no longer.
	if got := mustSet(t, a, "ann", "1", storage.Leave, "p1"); got.New != storage.Leave {
		t.Fatalf("ann is %d", got.New)
	}
	if n, err := b.reap(t.Context(), "a", 1); n != 0 || err != nil {
		t.Fatalf("a living node lost %d rows, %v", n, err)
	}
	kill(a)
	forgetLease(t, server, "a")
	if n, err := b.reap(t.Context(), "a", 1); n != 3001 || err != nil {
		t.Errorf("%d rows reaped, %v, want 3001", n, err)
	}
	holds(t, server.Client(t), want)
	if n, err := b.reap(t.Context(), "a", 1); n != 0 || err != nil {
		t.Errorf("%d rows reaped again, %v", n, err)
	}
	if got := mustSet(t, b, "ann", "1", storage.Online); got.Old != storage.Busy || len(got.Nodes) != 0 {
		t.Errorf("ann after the reaping: %+v", got)
	}
}

// A node that others took for dead while it lived asserts everything again, and its
// commands on the way are refused, so that nobody stays online for ever.
func TestReapedWhileAlive(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := openNode(t, server, "a"), openNode(t, server, "b")
	for i := range 20 {
		mustSet(t, a, fmt.Sprint("u", i), "1", storage.Online, "p1", "p2")
	}
	want := dump(t, server.Client(t))
	forgetLease(t, server, "a")
	if n, err := b.reap(t.Context(), "a", 1); n != 20 || err != nil {
		t.Fatalf("%d rows reaped, %v", n, err)
	}
	holds(t, server.Client(t), map[string]string{})
	redistest.Until(t, "a's calls are taken again", func() bool {
		_, err := a.Set(t.Context(), say("u1", "1", storage.Online), nil)
		return err == nil
	})
	settled(t, a)
	holds(t, server.Client(t), want)
}

// A reaping that is overtaken by the node's return stops.
func TestReapingStopsWhenTheNodeIsBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := openNode(t, server, "a"), openNode(t, server, "b")
	mustSet(t, a, "ann", "1", storage.Online, "p1")
	want := dump(t, server.Client(t))
	p := b.presence
	e := evaluation{p.scripts.assert, p.assertKeys("a", "ann"), []any{
		"", "a", "ann", p.names.online, p.names.nodesOf, p.least(), "f", 0, 0, 0, 0, 0, 0, 0,
	}}
	for _, e := range []evaluation{e, p.interestOf("", "a", nil, []string{"p1"})} {
		if _, ok, err := p.unfenced(t.Context(), []evaluation{e}, 1); ok || err != nil {
			t.Errorf("a reaper's command about a living node: %v, %v", ok, err)
		}
	}
	if ok, err := p.buryStep(t.Context(), "a", "drop"); ok || err != nil {
		t.Errorf("a living node's keys were dropped: %v, %v", ok, err)
	}
	holds(t, server.Client(t), want)
}

func TestStartRemovesLeftovers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := openNode(t, server, "a")
	for i := range 30 {
		mustSet(t, a, fmt.Sprint("u", i), "1", storage.Online, "p1")
	}
	kill(a)
	forgetLease(t, server, "a")
	again := openNode(t, server, "a")
	holds(t, server.Client(t), map[string]string{})
	if got := mustSet(t, again, "u1", "9", storage.Busy, "p1"); got.Old != storage.Offline {
		t.Errorf("u1 was %d", got.Old)
	}
}

func TestCloseRemovesRows(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := openNode(t, server, "a")
	mustSet(t, a, "ann", "1", storage.Online, "p1")
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	holds(t, server.Client(t), map[string]string{})
	if n, err := server.Client(t).Exists(t.Context(), "wt_fence:a", "wt_node:a").Result(); n != 0 || err != nil {
		t.Errorf("%d keys of the node left, %v", n, err)
	}
}

// A process that lost its name to a later one leaves that one's rows alone.
func TestCloseLeavesASuccessorAlone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	old := openNode(t, server, "a")
	mustSet(t, old, "ann", "1", storage.Online, "p1")
	forgetLease(t, server, "a")
	successor := openNode(t, server, "a")
	mustSet(t, successor, "bob", "1", storage.Busy, "p1")
	want := dump(t, server.Client(t))
	if err := old.presence.close(t.Context()); err != nil {
		t.Error(err)
	}
	holds(t, server.Client(t), want)
	mustSet(t, successor, "bob", "1", storage.Online)
}

// A node that comes late to a reaping has nothing to do.
func TestReapedNodeIsNotReapedAgain(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	dead, k := idleKeeper(t, s, "dead"), idleKeeper(t, s, "a")
	if err := dead.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	if mine, err := k.reaper(t.Context(), "dead"); !mine || err != nil {
		t.Fatalf("%v, %v: want the right", mine, err)
	}
	forgetLease(t, s, "dead")
	if err := k.reaped(t.Context(), "dead", dead.epoch, true); err != nil {
		t.Fatal(err)
	}
	if mine, err := k.reaper(t.Context(), "dead"); mine || err != nil {
		t.Errorf("%v, %v: want nothing to do", mine, err)
	}
	if n, err := s.Client(t).Exists(t.Context(), "wt_reap:dead").Result(); n != 0 || err != nil {
		t.Errorf("%d locks left, %v", n, err)
	}
}
