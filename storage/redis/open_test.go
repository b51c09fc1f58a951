package redis_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/redistest"
	"rollcall/storage"
	"rollcall/storage/redis"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*redis.Config){
		"no address":       func(c *redis.Config) { c.Addresses = nil },
		"several":          func(c *redis.Config) { c.Addresses = []string{"a:1", "b:1"} },
		"negative time":    func(c *redis.Config) { c.Lease = -1 },
		"no node":          func(c *redis.Config) { c.Node = "" },
		"strange node":     func(c *redis.Config) { c.Node = "a|b" },
		"too long a node":  func(c *redis.Config) { c.Node = strings.Repeat("a", 65) },
		"a node of spaces": func(c *redis.Config) { c.Node = "a b" },
		"keys of one name": func(c *redis.Config) { c.Keys = redis.Keys{OnlineUsers: "x:", Presence: "x:"} },
		"a key in others":  func(c *redis.Config) { c.Keys.Presence = "wt_" },
		"others in a key":  func(c *redis.Config) { c.Keys.OnlineUsers = "wt_sess:online:" },
	} {
		c := redis.Config{Addresses: []string{"127.0.0.1:1"}, Node: "a"}
		change(&c)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if _, err := redis.Open(ctx, c); err == nil || errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v, want another error", name, err)
		}
		cancel()
	}
}

func TestOpenRefusesCluster(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.Config("cluster-enabled yes"))
	_, err := redis.Open(t.Context(), config(t, s, "a"))
	if err == nil || !strings.Contains(err.Error(), "docs/redis-keys.md") {
		t.Errorf("Open: %v, want an error that points to docs/redis-keys.md", err)
	}
}

func TestOpenRefusesWrongPassword(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t, redistest.ACL("secret", "rollcall", "word", "~* &* +@all"))
	for _, password := range []string{"", "wrong"} {
		c := config(t, s, "a")
		c.Password = password
		if _, err := redis.Open(t.Context(), c); err == nil || errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("Open with %q: %v, want a refusal", password, err)
		}
	}
}

func TestOpenWaitsForTheServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := redis.Open(ctx, config(t, s, "a")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Open: %v, want ErrUnavailable", err)
	}
	opened := make(chan error, 1)
	go func() {
		store, err := redis.Open(context.Background(), config(t, s, "a"))
		if err == nil {
			err = store.Close(context.Background())
		}
		opened <- err
	}()
	s.Restart()
	select {
	case err := <-opened:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Open does not return")
	}
}

func TestNameInUse(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a := listen(t, config(t, s, "a"))
	if _, err := redis.Open(t.Context(), config(t, s, "a")); !errors.Is(err, redis.ErrName) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("Open: %v, want ErrName and the name", err)
	}
	b := listen(t, config(t, s, "b"))
	b.reaches(t, a)
}

// A process that stood still while another took its name must not disturb that one.
func TestNameTaken(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a := listen(t, config(t, s, "a"))
	c := s.Client(t)
	if err := c.Set(t.Context(), "wt_node:a", a.epoch+1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := a.wait(t); !errors.Is(err, redis.ErrName) {
		t.Errorf("Listen: %v, want ErrName", err)
	}
	a.unavailableSoon(t, "b")
	if got, err := c.Get(t.Context(), "wt_node:a").Uint64(); got != a.epoch+1 || err != nil {
		t.Errorf("the lease is %d, %v: want the other's", got, err)
	}
}

// Epochs grow even where the clock went back.
func TestEpochsGrow(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	future := uint64(time.Now().Add(24 * time.Hour).UnixMicro())
	if err := s.Client(t).Set(t.Context(), "wt_boot:a", future, 0).Err(); err != nil {
		t.Fatal(err)
	}
	last := future
	for range 3 {
		store, err := redis.Open(t.Context(), config(t, s, "a"))
		if err != nil {
			t.Fatal(err)
		}
		_, epoch := store.Node()
		if epoch <= last {
			t.Errorf("epoch %d after %d", epoch, last)
		}
		last = epoch
		closeStore(t, store)
	}
}

func TestCloseGivesTheLeaseBack(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	store, err := redis.Open(t.Context(), config(t, s, "a"))
	if err != nil {
		t.Fatal(err)
	}
	c := s.Client(t)
	if in, err := c.SIsMember(t.Context(), "wt_nodes", "a").Result(); !in || err != nil {
		t.Errorf("in wt_nodes: %v, %v", in, err)
	}
	closeStore(t, store)
	if n, err := c.Exists(t.Context(), "wt_node:a", "wt_nodes").Result(); n != 0 || err != nil {
		t.Errorf("%d of lease and set are left, %v", n, err)
	}
}

func TestEvictionIsWarnedOf(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]bool{"allkeys-lru": true, "noeviction": false} {
		s := redistest.Start(t, redistest.Config("maxmemory-policy "+policy))
		var log lines
		c := config(t, s, "a")
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		open(t, c)
		if got := strings.Contains(log.String(), "policy="+policy); got != want {
			t.Errorf("%s: warned %v, want %v: %s", policy, got, want, log.String())
		}
	}
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A server that stands still while leftovers are removed does not end the start.
func TestOpenCleansUpInTime(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := config(t, s, "a")
	c.Timeout = 300 * time.Millisecond
	writer := s.Client(t)
	c.Log = slog.New(slog.DiscardHandler)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			n, err := writer.Exists(context.Background(), "wt_node:a").Result()
			if err != nil {
				t.Error(err)
				return
			}
			if n == 1 {
				s.Suspend()
				return
			}
		}
	}()
	opened := make(chan *redis.Store, 1)
	go func() {
		store, err := redis.Open(context.Background(), c)
		if err != nil {
			t.Error(err)
		}
		opened <- store
	}()
	<-stopped
	begun := time.Now()
	redistest.Until(t, "commands have failed", func() bool { return time.Since(begun) > 3*c.Timeout })
	s.Resume()
	select {
	case store := <-opened:
		if store != nil {
			closeStore(t, store)
		}
	case <-time.After(20 * time.Second):
		t.Error("Open does not return")
	}
}

// Figures that cannot be told end the start, before anything is taken.
func TestOpenRefusesTakenMetrics(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := config(t, s, "a")
	for _, name := range []string{"rollcall_redis_up", "rollcall_redis_scripts_total"} {
		reg := prometheus.NewRegistry()
		reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "Somebody else's."}))
		c.Metrics = reg
		if store, err := redis.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Open: %v, want an error about %s", err, name)
			if err == nil {
				closeStore(t, store)
			}
		}
	}
	if n, err := s.Client(t).Exists(t.Context(), "wt_node:a").Result(); n != 0 || err != nil {
		t.Errorf("%d leases, %v: want none", n, err)
	}
}

// An Open that failed can be repeated.
func TestOpenAgainWithMetrics(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := config(t, s, "a")
	c.Metrics = prometheus.NewRegistry()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := redis.Open(ended, c); err == nil {
		t.Fatal("Open although its context has ended")
	}
	open(t, c)
}
