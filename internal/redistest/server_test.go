package redistest_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"rollcall/internal/redistest"
)

func TestKilledServerComesBackEmpty(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client(t)
	set(t, c)
	s.Kill()
	if err := c.Ping(t.Context()).Err(); err == nil {
		t.Error("a killed server answered")
	}
	s.Restart()
	if err := c.Get(t.Context(), "k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("GET: %v, want nothing", err)
	}
}

func TestAOFKeeps(t *testing.T) {
	s := redistest.Start(t, redistest.AOF())
	c := s.Client(t)
	set(t, c)
	s.Kill()
	s.Restart()
	if v, err := c.Get(t.Context(), "k").Result(); v != "v" || err != nil {
		t.Errorf("GET = %q, %v", v, err)
	}
}

func TestSuspendedServerSaysNothing(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client(t)
	s.Suspend()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var timeout net.Error
	if err := c.Ping(ctx).Err(); !errors.Is(err, context.DeadlineExceeded) && !(errors.As(err, &timeout) && timeout.Timeout()) {
		t.Errorf("PING: %v, want no answer in time", err)
	}
	s.Resume()
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	s.Suspend()
	s.Stop() // must not wait for a process that stands still
}

func TestCalls(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client(t)
	for range 3 {
		if err := c.Publish(t.Context(), "channel", "x").Err(); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Calls(t, "publish"); n != 3 {
		t.Errorf("%d calls of PUBLISH, want 3", n)
	}
	s.ResetCalls(t)
	if n := s.Calls(t, "publish"); n != 0 {
		t.Errorf("%d calls of PUBLISH, want none", n)
	}
}

func TestACLAndTLS(t *testing.T) {
	s := redistest.Start(t, redistest.WithTLS(), redistest.ACL("secret", "app", "word", "~app_* +@all"))
	set(t, s.Client(t))
	app := redis.NewClient(&redis.Options{Addr: s.Addr(), TLSConfig: s.TLS(), Username: "app", Password: "word"})
	defer app.Close() //nolint:errcheck // the server ends too
	if err := app.Set(t.Context(), "app_k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
	if err := app.Get(t.Context(), "k").Err(); !redis.HasErrorPrefix(err, "NOPERM") {
		t.Errorf("GET: %v, want NOPERM", err)
	}
}

func TestSentinelFailsOver(t *testing.T) {
	master := redistest.Start(t)
	replica := redistest.Start(t, redistest.ReplicaOf(master))
	sentinel := redistest.Sentinel(t, "mymaster", master, 1)
	master.Kill()
	redistest.Until(t, "the replica is master", func() bool {
		return replica.Info(t, "replication")["role"] == "master"
	})
	c := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "mymaster", SentinelAddrs: []string{sentinel.Addr()}})
	defer c.Close() //nolint:errcheck // the server ends too
	redistest.Until(t, "the Sentinel names the new master", func() bool { return c.Set(t.Context(), "k", "v", 0).Err() == nil })
}

func set(t *testing.T, c *redis.Client) {
	t.Helper()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
}
