package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"rollcall/internal/redistest"
	"rollcall/storage"
	"rollcall/storage/storagetest"
)

func TestPresence(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	storagetest.Presence(t, func(t *testing.T) storage.Presence {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return openNode(t, server, "n1")
	})
}

func TestPresenceNodes(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	storagetest.PresenceNodes(t, func(t *testing.T) (a, b storage.Presence, nameOfB string) {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return openNode(t, server, "a"), openNode(t, server, "b"), "b"
	})
}

func TestSetRefusesUnknownShow(t *testing.T) {
	t.Parallel()
	s := openNode(t, redistest.Start(t), "n1")
	for _, show := range []storage.Show{-1, 4, 257, math.MaxInt} {
		if _, err := s.Set(t.Context(), say("ann", "c", show), []string{"p"}); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("show %d: %v, want ErrInvalid", show, err)
		}
	}
}

// Times that a script's numbers cannot hold keep their order as far as they go.
func TestTimesFarAway(t *testing.T) {
	t.Parallel()
	s := openNode(t, redistest.Start(t), "n1")
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	for i, tt := range []struct {
		conn string
		show storage.Show
		at   time.Time
		want storage.Show
	}{
		{"a", storage.Busy, year(2026), storage.Busy},
		{"b", storage.Leave, time.Time{}, storage.Busy},
		{"c", storage.Online, year(9999), storage.Online},
		{"a", storage.Busy, year(2027), storage.Online},
		{"b", storage.Leave, year(1500), storage.Online},
	} {
		c := say("ann", tt.conn, tt.show)
		c.At = tt.at
		got, err := s.Set(t.Context(), c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.New != tt.want {
			t.Errorf("step %d: aggregate %d, want %d", i+1, got.New, tt.want)
		}
	}
}

func TestUserOnTwoNodes(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	a, b := openNode(t, server, "a"), openNode(t, server, "b")
	for i, step := range []struct {
		got      storage.PresenceChange
		old, now storage.Show
		nodes    []string
	}{
		{mustSet(t, a, "ann", "1", storage.Online, "p1", "p2"), 0, 1, nil},
		{mustSet(t, b, "bob", "1", storage.Offline, "p2", "p3"), 0, 0, []string{"a"}},
		{mustSet(t, a, "ann", "1", storage.Busy), 1, 2, []string{"b"}},
		// The node's own knowledge of ann's projects does not count: she is online.
		{mustSet(t, b, "ann", "1", storage.Leave, "p1", "p3"), 2, 3, []string{"a"}},
		{mustRemove(t, a, "ann", "1"), 3, 3, []string{"b"}},
		{mustRemove(t, a, "ann", "1"), 3, 3, []string{"b"}},
	} {
		if step.got.Old != step.old || step.got.New != step.now || !slices.Equal(step.got.Nodes, step.nodes) {
			t.Errorf("step %d: %+v, want %d to %d, nodes %v", i+1, step.got, step.old, step.now, step.nodes)
		}
	}
	holds(t, client, map[string]string{
		"wt_sess:ann": "b|1=3|0|1000|r", "wt_sess:bob": "b|1=0|0|1000|r", "wt_user_presence:ann": "3",
		"wt_user_projs:ann": "p1 p2", "wt_user_projs:bob": "p2 p3",
		"wt_proj_online_users:p1": "ann", "wt_proj_online_users:p2": "ann",
		"wt_nodesess:b": "ann bob", "wt_nodeprojs:b": "p1 p2 p3",
		"wt_proj_nodes:p1": "b", "wt_proj_nodes:p2": "b", "wt_proj_nodes:p3": "b",
	})
	// Both nodes hear of a change of memberships, in any order and repeatedly.
	for _, s := range []*Store{b, a, b} {
		if err := errors.Join(s.Join(t.Context(), "ann", "p4"), s.Leave(t.Context(), "ann", "p2")); err != nil {
			t.Fatal(err)
		}
	}
	if got := mustSet(t, a, "cyd", "1", storage.Online, "p4"); !slices.Equal(got.Nodes, []string{"b"}) {
		t.Errorf("nodes %v, want b", got.Nodes)
	}
	mustRemove(t, a, "cyd", "1")
	mustRemove(t, b, "bob", "1")
	mustRemove(t, b, "ann", "1")
	holds(t, client, map[string]string{})
}

// Callers that come at once share round trips, and each gets its own answer.
func TestCallsShareRoundTrips(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server, "n1")
	mustSet(t, s, "ann", "1", storage.Online, "p")
	server.ResetCalls(t)
	const n = 200
	results := make(chan error, n)
	for i := range n {
		go func() {
			user := fmt.Sprintf("u%d", i)
			got, err := s.Set(context.Background(), say(user, "1", storage.Show(1+i%3)), []string{"p"})
			if err == nil && got.New != storage.Show(1+i%3) {
				err = fmt.Errorf("%s became %d", user, got.New)
			}
			results <- err
		}()
	}
	for range n {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if calls := server.Calls(t, "evalsha"); calls != n {
		t.Errorf("%d scripts for %d events", calls, n)
	}
	users, _, err := s.OnlineIn(t.Context(), "p")
	if err != nil || len(users) != n+1 {
		t.Errorf("%d users online, %v", len(users), err)
	}
}

// What one node learned of memberships is not undone by another that asserts what it
// knew before.
func TestLastKnowledgeOfMembershipsCounts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := openNode(t, server, "a"), openNode(t, server, "b")
	mustSet(t, a, "ann", "1", storage.Online, "p1")
	mustSet(t, b, "ann", "1", storage.Busy, "p1")
	if err := errors.Join(b.Leave(t.Context(), "ann", "p1"), b.Join(t.Context(), "ann", "p2")); err != nil {
		t.Fatal(err)
	}
	check := func(what, want string) {
		t.Helper()
		got := dump(t, server.Client(t))
		if got["wt_user_projs:ann"] != want {
			t.Errorf("%s: projects %q, want %q", what, got["wt_user_projs:ann"], want)
		}
		for _, p := range []string{"p1", "p2"} {
			if in := got["wt_proj_online_users:"+p] == "ann"; in != (p == want) {
				t.Errorf("%s: ann in %s: %v", what, p, in)
			}
		}
	}
	a.lost(t.Context())
	check("a asserted what it knew", "p2")
	if err := server.Client(t).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.lost(t.Context())
	a.lost(t.Context())
	check("b first, then a", "p2")
	if err := server.Client(t).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	a.lost(t.Context())
	b.lost(t.Context())
	check("a first, then b", "p2")
	if err := errors.Join(a.Leave(t.Context(), "ann", "p1"), a.Join(t.Context(), "ann", "p2")); err != nil {
		t.Fatal(err)
	}
	check("a learned of it", "p2")
}
