package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

// openNode opens a node's store on a server, which the end of the test closes.
func openNode(t testing.TB, s *redistest.Server, node string, options ...func(*Config)) *Store {
	t.Helper()
	// Tests that are about time set their own.
	c := Config{
		Addresses: []string{s.Addr()}, Node: node, Timeout: 5 * time.Second,
		pauses: pauses{50 * time.Millisecond, 10 * time.Millisecond},
		Log:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, o := range options {
		o(&c)
	}
	store, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		// The server may be gone, which its own tests are about.
		if err := store.Close(ctx); err != nil {
			t.Log(err)
		}
	})
	return store
}

// impatient is for tests in which Redis does not answer.
func impatient(c *Config) { c.Timeout = 200 * time.Millisecond }

// shortLease is for tests in which the keeper has to notice something.
func shortLease(c *Config) { c.Lease = 1200 * time.Millisecond }

func say(user, conn string, show storage.Show) storage.ConnState {
	return storage.ConnState{Conn: conn, User: user, Resource: "r", Show: show, At: time.UnixMilli(1)}
}

func mustSet(t testing.TB, s storage.Presence, user, conn string, show storage.Show, projects ...string) storage.PresenceChange {
	t.Helper()
	got, err := s.Set(t.Context(), say(user, conn, show), projects)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func mustRemove(t testing.TB, s storage.Presence, user, conn string) storage.PresenceChange {
	t.Helper()
	got, err := s.Remove(t.Context(), user, conn)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// settled waits until Redis knows all that the nodes know.
func settled(t testing.TB, nodes ...*Store) {
	t.Helper()
	for _, s := range nodes {
		redistest.Until(t, "redis knows everything", func() bool {
			p := s.presence
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.settled && len(p.mirror.behind)+len(p.mirror.behindProjects) == 0
		})
	}
}

// dump reads everything that presence keeps but revisions, fences and leases: sets and
// rows in order, rows without their sequence.
func dump(t testing.TB, client *redis.Client) map[string]string {
	t.Helper()
	ctx := t.Context()
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	// Thousands of keys, in two round trips.
	kinds := client.Pipeline()
	for _, key := range keys {
		kinds.Type(ctx, key)
	}
	values := client.Pipeline()
	for i, cmd := range run(t, kinds) {
		switch cmd.(*redis.StatusCmd).Val() {
		case "set":
			values.SMembers(ctx, keys[i])
		case "hash":
			values.HGetAll(ctx, keys[i])
		default:
			values.Get(ctx, keys[i])
		}
	}
	out := make(map[string]string)
	for i, cmd := range run(t, values) {
		key := keys[i]
		switch cmd := cmd.(type) {
		case *redis.StringSliceCmd:
			if key != "wt_nodes" {
				out[key] = strings.Join(slices.Sorted(slices.Values(cmd.Val())), " ")
			}
		case *redis.MapStringStringCmd:
			out[key] = rowsOf(cmd.Val())
		case *redis.StringCmd:
			// Whoever went leaves 0, which says what nothing says.
			if v := cmd.Val(); strings.HasPrefix(key, "wt_user_presence:") && v != "0" {
				out[key] = v
			}
		}
	}
	return out
}

func run(t testing.TB, pipe redis.Pipeliner) []redis.Cmder {
	t.Helper()
	cmds, err := pipe.Exec(t.Context())
	// A key with an expiry may be gone by now.
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return cmds
}

// rowsOf lists a user's rows without their sequence.
func rowsOf(hash map[string]string) string {
	var fields []string
	for f, v := range hash {
		if f == "projects" {
			continue // when they were learned
		}
		parts := strings.SplitN(v, "|", 4)
		if len(parts) == 4 {
			parts[2], _, _ = strings.Cut(parts[2], ".")
		}
		fields = append(fields, f+"="+strings.Join(parts, "|"))
	}
	slices.Sort(fields)
	return strings.Join(fields, " ")
}

// holds checks that Redis has exactly these keys.
func holds(t testing.TB, client *redis.Client, want map[string]string) {
	t.Helper()
	got := dump(t, client)
	if maps.Equal(got, want) {
		return
	}
	var diff []string
	for k, v := range want {
		if got[k] != v {
			diff = append(diff, fmt.Sprintf("%s: %q, want %q", k, got[k], v))
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			diff = append(diff, fmt.Sprintf("%s: %q, want nothing", k, v))
		}
	}
	slices.Sort(diff)
	t.Fatalf("redis differs:\n%s", strings.Join(diff, "\n"))
}
