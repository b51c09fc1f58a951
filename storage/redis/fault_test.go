package redis_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"rollcall/internal/redistest"
	"rollcall/storage"
	"rollcall/storage/redis"
)

// healed wants both nodes to reach each other, and neither to have taken the other for
// dead.
func healed(t *testing.T, a, b *node) {
	t.Helper()
	a.reaches(t, b)
	b.reaches(t, a)
	for _, n := range []*node{a, b} {
		if n.count(isDown) > 0 {
			t.Errorf("%s was told that a node is down: %v", n.name, n.all())
		}
	}
}

// gapsTold wants both nodes to be told that something may be missing.
func gapsTold(t *testing.T, a, b *node) {
	t.Helper()
	a.await(t, "a gap", isGap)
	b.await(t, "a gap", isGap)
}

func TestKilledServerComesBack(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := pair(t, s)
	s.Kill()
	a.unavailableSoon(t, "b")
	b.unavailableSoon(t, "a")
	s.Restart()
	gapsTold(t, a, b)
	healed(t, a, b)
}

// Everybody's lease runs out while Redis stands still: nobody is dead because of that.
func TestStalledServerKillsNobody(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := pair(t, s, short)
	s.Suspend()
	a.unavailableSoon(t, "b")
	lasts := time.After(shortLease + shortLease/4)
	for waiting := true; waiting; {
		select {
		case <-lasts:
			waiting = false
		default:
			b.unavailableSoon(t, "a")
			time.Sleep(20 * time.Millisecond) // what is tested is the time that passes
		}
	}
	s.Resume()
	healed(t, a, b)
	watchFor(t, a, b)
}

// shortLease is for tests that wait for its end.
const shortLease = 2 * time.Second

func short(c *redis.Config) { c.Lease = shortLease }

// watchFor looks at two nodes for as long as it takes to be taken for dead.
func watchFor(t *testing.T, a, b *node) {
	t.Helper()
	for late := time.Now().Add(shortLease * 3 / 4); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		if a.count(isDown)+b.count(isDown) > 0 {
			t.Fatalf("a node went down: %v %v", a.all(), b.all())
		}
	}
}

func TestFlushedServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := pair(t, s, short)
	c := s.Client(t)
	for range 3 {
		if err := c.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		redistest.Until(t, "both have their leases again", func() bool {
			n, err := c.Exists(t.Context(), "wt_node:a", "wt_node:b", "wt_epoch").Result()
			return err == nil && n == 3
		})
	}
	healed(t, a, b)
	watchFor(t, a, b)
}

func TestCutSubscriptions(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := pair(t, s)
	if err := s.Client(t).ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	gapsTold(t, a, b)
	healed(t, a, b)
}

// A connection that nobody has cut, and nothing passes any more: only asking tells.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	wire := newWire(t, s.Addr())
	a := listen(t, config(t, s, "a"))
	c := config(t, s, "b")
	c.Addresses, c.Lease = []string{wire.addr}, 10*time.Second // which outlasts this
	b := listen(t, c)
	a.await(t, "b", isUp(b))
	wire.silence()
	b.await(t, "a gap", isGap)
	healed(t, a, b)
}

// A listener that is too slow is cut off by Redis, and told so after what it got.
func TestSlowListener(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.Config("client-output-buffer-limit pubsub 1mb 1mb 1"))
	a, b := pair(t, s)
	hold := make(chan struct{})
	b.mu.Lock()
	b.hold = hold
	b.mu.Unlock()
	large := []byte(strings.Repeat("x", 256<<10))
	sent := 0
	redistest.Until(t, "Redis gives the listener up", func() bool {
		err := a.Publish(t.Context(), "b", large)
		if err == nil {
			sent++
		} else if !errors.Is(err, storage.ErrNobody) {
			t.Fatal(err)
		}
		return err != nil
	})
	close(hold)
	b.mu.Lock()
	b.hold = nil
	b.mu.Unlock()
	b.await(t, "a gap", isGap)
	got := b.count(func(e storage.BusEvent) bool { return e.Kind == storage.BusMessage })
	if got == 0 || got > sent {
		t.Errorf("%d messages came of %d", got, sent)
	}
	if last := b.all()[got]; !isGap(last) {
		t.Errorf("event %d is %v, want the gap after the last message", got, last.Kind)
	}
	healed(t, a, b)
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	replica := redistest.Start(t, redistest.ReplicaOf(master))
	sentinel := redistest.Sentinel(t, "mymaster", master, 1)
	a, b := pair(t, master, func(c *redis.Config) {
		c.Addresses, c.MasterName = []string{sentinel.Addr()}, "mymaster"
	})
	redistest.Until(t, "the replica has the leases", func() bool {
		n, err := replica.Client(t).Exists(t.Context(), "wt_node:a", "wt_node:b").Result()
		return err == nil && n == 2
	})
	master.Kill()
	gapsTold(t, a, b)
	healed(t, a, b)
	if n := replica.Calls(t, "publish"); n == 0 {
		t.Error("nothing was published on the new master")
	}
	// The old master comes back as a replica of the new one, and they change places.
	master.Restart()
	redistest.Until(t, "the old master follows the new one", func() bool {
		return master.Info(t, "replication")["master_link_status"] == "up"
	})
	a.forget()
	b.forget()
	order := sentinel.Client(t)
	redistest.Until(t, "the Sentinel makes the old master master", func() bool {
		if master.Info(t, "replication")["role"] == "master" {
			return true
		}
		// It gives up when the replica does not look well to it, or is at it.
		_ = order.Do(t.Context(), "SENTINEL", "FAILOVER", "mymaster").Err()
		return false
	})
	gapsTold(t, a, b)
	healed(t, a, b)
}

// A server that becomes a replica cannot be written, whatever it has.
func TestDemotedServer(t *testing.T) {
	t.Parallel()
	s, other := redistest.Start(t), redistest.Start(t)
	a, b := pair(t, s)
	c := s.Client(t)
	if err := c.ReplicaOf(t.Context(), "127.0.0.1", strconv.Itoa(other.Port())).Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "a knows", func() bool {
		return errors.Is(a.Publish(t.Context(), "b", []byte("x")), storage.ErrUnavailable)
	})
	if err := c.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "both have their leases again", func() bool {
		n, err := c.Exists(t.Context(), "wt_node:a", "wt_node:b", "wt_epoch").Result()
		return err == nil && n == 3
	})
	healed(t, a, b)
}

// Another server becomes master behind the same address, and the old one keeps its
// connections: whoever listens there gets messages still, but is nobody to publishers.
func TestMovedAddress(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	other := redistest.Start(t, redistest.ReplicaOf(s))
	wire := newWire(t, s.Addr())
	a, b := pair(t, s, func(c *redis.Config) { c.Addresses = []string{wire.addr} })
	redistest.Until(t, "the replica has the leases", func() bool {
		n, err := other.Client(t).Exists(t.Context(), "wt_node:a", "wt_node:b").Result()
		return err == nil && n == 2
	})
	wire.move(other.Addr())
	if err := other.Client(t).ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Client(t).ReplicaOf(t.Context(), "127.0.0.1", strconv.Itoa(other.Port())).Err(); err != nil {
		t.Fatal(err)
	}
	gapsTold(t, a, b)
	healed(t, a, b)
}

func TestACLAndTLS(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.WithTLS(),
		redistest.ACL("secret", "rollcall", "word", "~wt_* &wt_* +@all -@dangerous -@admin +info"))
	a, b := pair(t, s, func(c *redis.Config) {
		c.TLS, c.Username, c.Password = s.TLS(), "rollcall", "word"
	})
	healed(t, a, b)
}

func TestSentinelWithPasswords(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.ACL("secret", "rollcall", "word", "~wt_* &wt_* +@all -@admin"))
	sentinel := redistest.Sentinel(t, "mymaster", master, 0,
		redistest.ACL("guard", "watcher", "eyes", "allchannels +@all"))
	a, b := pair(t, master, func(c *redis.Config) {
		c.Addresses, c.MasterName = []string{sentinel.Addr()}, "mymaster"
		c.Username, c.Password = "rollcall", "word"
		c.SentinelUsername, c.SentinelPassword = "watcher", "eyes"
	})
	healed(t, a, b)
}

func TestOtherDatabase(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := pair(t, s, func(c *redis.Config) { c.Database, c.Keys.Prefix = 3, "other:" })
	healed(t, a, b)
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr(), DB: 3})
	defer c.Close() //nolint:errcheck // the server ends too
	if n, err := c.Exists(t.Context(), "other:node:a", "other:node:b").Result(); n != 2 || err != nil {
		t.Errorf("%d leases, %v", n, err)
	}
}
