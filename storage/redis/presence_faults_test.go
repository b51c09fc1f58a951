package redis

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

func TestScriptFlush(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	s := openNode(t, server, "n1")
	mustSet(t, s, "ann", "1", storage.Online, "p")
	if err := client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			if _, err := s.Set(t.Context(), say(fmt.Sprint("u", i), "1", storage.Online), []string{"p"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if err := client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if users, _, err := s.OnlineIn(t.Context(), "p"); err != nil || len(users) != 51 {
		t.Errorf("%d users, %v", len(users), err)
	}
}

// online brings n users online in projects of ten, and returns what Redis then holds.
func online(t *testing.T, server *redistest.Server, s *Store, n int) map[string]string {
	t.Helper()
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			show := storage.Show(i % 4)
			if _, err := s.Set(t.Context(), say(fmt.Sprint("u", i), "1", show), []string{fmt.Sprint("p", i/10), "all"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	return dump(t, server.Client(t))
}

func TestEmptiedRedisIsFilledAgain(t *testing.T) {
	t.Parallel()
	for name, empty := range map[string]func(t *testing.T, s *redistest.Server){
		"FLUSHALL": func(t *testing.T, s *redistest.Server) {
			if err := s.Client(t).FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		},
		"restart": func(_ *testing.T, s *redistest.Server) { s.Kill(); s.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			a, b := openNode(t, server, "a", shortLease), openNode(t, server, "b", shortLease)
			online(t, server, a, 700)
			last := mustSet(t, b, "u1", "2", storage.Busy, "p0", "all").Rev
			before := dump(t, server.Client(t))
			empty(t, server)
			redistest.Until(t, "a call is taken again", func() bool {
				_, err := a.Set(t.Context(), say("u5", "1", storage.Online), nil)
				if err != nil && !errors.Is(err, storage.ErrUnavailable) {
					t.Fatal(err)
				}
				return err == nil
			})
			redistest.Until(t, "the keys are back", func() bool {
				got := dump(t, server.Client(t))
				return len(got) == len(before)
			})
			settled(t, a, b)
			holds(t, server.Client(t), before)
			if got := mustSet(t, a, "u2", "1", storage.Online); got.Rev < last {
				t.Errorf("revision %d after %d", got.Rev, last)
			}
		})
	}
}

// The first command after a flush is refused, so that nothing is built on missing rows.
func TestFlushIsNoticedByTheNextCall(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	s := openNode(t, server, "n1")
	mustSet(t, s, "ann", "1", storage.Online, "p")
	mustSet(t, s, "ann", "2", storage.Busy, "p")
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Status(t.Context(), []string{"ann"}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Status of a flushed server: %v, want ErrUnavailable", err)
	}
	if _, _, err := s.OnlineIn(t.Context(), "p"); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("OnlineIn of a flushed server: %v, want ErrUnavailable", err)
	}
	settled(t, s)
	redistest.Until(t, "ann is online again", func() bool {
		shows, err := s.Status(t.Context(), []string{"ann"})
		return err == nil && shows[0] == storage.Busy
	})
}

func TestStandingStill(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server, "n1", impatient)
	want := online(t, server, s, 20)
	mustSet(t, s, "ann", "1", storage.Online, "p1")
	mustSet(t, s, "bob", "1", storage.Online, "p1")
	server.Suspend()
	var group sync.WaitGroup
	for name, call := range map[string]func() error{
		"Set":    func() error { _, err := s.Set(t.Context(), say("ann", "1", storage.Busy), nil); return err },
		"Remove": func() error { _, err := s.Remove(t.Context(), "bob", "1"); return err },
		"Join":   func() error { return s.Join(t.Context(), "ann", "p2") },
		"Leave":  func() error { return s.Leave(t.Context(), "ann", "p1") },
		"Status": func() error { _, err := s.Status(t.Context(), []string{"ann"}); return err },
		"OnlineIn": func() error {
			_, _, err := s.OnlineIn(t.Context(), "p1")
			return err
		},
	} {
		group.Go(func() {
			begun := time.Now()
			if err := call(); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("%s: %v, want ErrUnavailable", name, err)
			}
			if d := time.Since(begun); d > time.Second {
				t.Errorf("%s took %v", name, d)
			}
		})
	}
	group.Wait()
	// The first of these was on its way; these stay here.
	for _, show := range []storage.Show{storage.Online, storage.Leave} {
		if _, err := s.Set(t.Context(), say("ann", "1", show), nil); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
	}
	if _, err := s.Set(t.Context(), say("cyd", "1", storage.Online), []string{"p1"}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if _, err := s.Remove(t.Context(), "cyd", "1"); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	server.Resume()
	settled(t, s)
	want["wt_sess:ann"], want["wt_user_presence:ann"] = "n1|1=3|0|1000|r", "3"
	want["wt_user_projs:ann"], want["wt_proj_online_users:p2"] = "p2", "ann"
	want["wt_proj_nodes:p2"], want["wt_nodeprojs:n1"] = "n1", want["wt_nodeprojs:n1"]+" p2"
	want["wt_nodesess:n1"] = "ann " + want["wt_nodesess:n1"]
	// p0 and p1 are of the twenty, too.
	want["wt_nodeprojs:n1"] = "all p0 p1 p2"
	holds(t, server.Client(t), want)
}

// A command that Redis executes long after its sender has given up is refused.
func TestLateCommandIsRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server, "n1")
	mustSet(t, s, "ann", "1", storage.Online, "p1")
	p := s.presence
	p.mu.Lock()
	late := evaluation{p.scripts.assert, p.assertKeys("n1", "ann"), p.assertArgs(&change{user: "ann"}, false)}
	lateFence := []any{p.process, "1", "0", "1"}
	p.mu.Unlock()
	p.lost(t.Context())
	mustSet(t, s, "ann", "1", storage.Busy)
	want := dump(t, server.Client(t))
	for _, e := range []evaluation{
		late,
		{p.scripts.fence, []string{"wt_fence:n1", "wt_rev"}, lateFence},
	} {
		n, _, err := numbers(pipeline(t.Context(), p.client, []evaluation{e})[0], 1)
		if err != nil || n[0] != -1 {
			t.Errorf("a late command: %v, %v, want -1", n, err)
		}
	}
	holds(t, server.Client(t), want)
	mustSet(t, s, "ann", "1", storage.Online)
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	master, server := redistest.Start(t), redistest.Start(t)
	client := server.Client(t)
	s := openNode(t, server, "n1", impatient, shortLease)
	mustSet(t, s, "ann", "1", storage.Online, "p1")
	if err := client.ReplicaOf(t.Context(), "127.0.0.1", fmt.Sprint(master.Port())).Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "the replica is read-only", func() bool {
		_, err := s.Set(t.Context(), say("ann", "1", storage.Busy), nil)
		if err != nil && !errors.Is(err, storage.ErrUnavailable) {
			t.Fatal(err)
		}
		return err != nil
	})
	if err := client.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	// The state the replica has may be the master's, which is empty, or its own.
	settled(t, s)
	redistest.Until(t, "ann is busy", func() bool {
		shows, err := s.Status(t.Context(), []string{"ann"})
		return err == nil && shows[0] == storage.Busy
	})
	holds(t, client, map[string]string{
		"wt_sess:ann": "n1|1=2|0|1000|r", "wt_user_presence:ann": "2", "wt_user_projs:ann": "p1",
		"wt_proj_online_users:p1": "ann", "wt_nodesess:n1": "ann", "wt_nodeprojs:n1": "p1", "wt_proj_nodes:p1": "n1",
	})
}

// Whatever the store did not take is taken a second time without harm, as the projects
// module repeats what failed.
func TestRepeatedCallsAfterAnOutage(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server, "n1", impatient)
	mustSet(t, s, "bob", "1", storage.Online, "p1")
	server.Kill()
	calls := []func() error{
		func() error { _, err := s.Set(t.Context(), say("ann", "1", storage.Busy), []string{"p1"}); return err },
		func() error { return s.Join(t.Context(), "ann", "p2") },
		func() error { _, err := s.Set(t.Context(), say("bob", "1", storage.Leave), []string{"p1"}); return err },
		func() error { _, err := s.Remove(t.Context(), "bob", "1"); return err },
	}
	redistest.Until(t, "calls fail", func() bool { return errors.Is(calls[0](), storage.ErrUnavailable) })
	for _, call := range calls {
		if err := call(); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
	}
	server.Restart()
	settled(t, s)
	want := map[string]string{
		"wt_sess:ann": "n1|1=2|0|1000|r", "wt_user_presence:ann": "2", "wt_user_projs:ann": "p1 p2",
		"wt_proj_online_users:p1": "ann", "wt_proj_online_users:p2": "ann", "wt_nodesess:n1": "ann",
		"wt_nodeprojs:n1": "p1 p2", "wt_proj_nodes:p1": "n1", "wt_proj_nodes:p2": "n1",
	}
	holds(t, server.Client(t), want)
	for _, call := range calls {
		if err := call(); err != nil {
			t.Error(err)
		}
	}
	holds(t, server.Client(t), want)
}

// After a dump of yesterday was loaded, Redis has rows that this node knows nothing of.
func TestStaleRowsOfThisNode(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	s := openNode(t, server, "n1")
	mustSet(t, s, "ann", "1", storage.Online, "p1")
	want := dump(t, client)
	for _, args := range [][]any{
		{"HSET", "wt_sess:eve", "n1|9", "1|0|1.1|r"}, {"SET", "wt_user_presence:eve", "1"}, {"SADD", "wt_user_projs:eve", "p2"},
		{"SADD", "wt_proj_online_users:p2", "eve"}, {"SADD", "wt_nodesess:n1", "eve"},
		{"SADD", "wt_nodeprojs:n1", "p2"}, {"SADD", "wt_proj_nodes:p2", "n1"}, {"HSET", "wt_sess:ann", "n1|8", "2|9|1.1|r"},
	} {
		if err := client.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	s.lost(t.Context())
	settled(t, s)
	holds(t, client, want)
}

func TestFullMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	s := openNode(t, server, "n1", shortLease)
	mustSet(t, s, "ann", "1", storage.Online, "p1")
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Set(t.Context(), say("ann", "1", storage.Busy), nil); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "ann is busy", func() bool {
		shows, err := s.Status(t.Context(), []string{"ann"})
		return err == nil && shows[0] == storage.Busy
	})
}

// A key of another type, which somebody else made, spoils the calls about it alone.
func TestWrongType(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	s := openNode(t, server, "n1")
	if err := client.Set(t.Context(), "wt_proj_online_users:bad", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Set(t.Context(), say("ann", "1", storage.Busy), []string{"bad", "good"}); err == nil || errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("%v, want an error of its own", err)
	}
	mustSet(t, s, "bob", "1", storage.Online, "good")
	if err := client.Del(t.Context(), "wt_proj_online_users:bad").Err(); err != nil {
		t.Fatal(err)
	}
	// The next call about ann tells everything of her again, a reconciliation the rest.
	mustSet(t, s, "ann", "1", storage.Leave)
	if found, err := s.reconcile(t.Context()); err != nil || found != (repairs{}) {
		t.Errorf("reconcile: %+v, %v", found, err)
	}
	holds(t, client, map[string]string{
		"wt_sess:ann": "n1|1=3|0|1000|r", "wt_user_presence:ann": "3", "wt_user_projs:ann": "bad good",
		"wt_sess:bob": "n1|1=1|0|1000|r", "wt_user_presence:bob": "1", "wt_user_projs:bob": "good",
		"wt_proj_online_users:bad": "ann", "wt_proj_online_users:good": "ann bob", "wt_nodesess:n1": "ann bob",
		"wt_nodeprojs:n1": "bad good", "wt_proj_nodes:good": "n1", "wt_proj_nodes:bad": "n1",
	})
}

func TestOldServersRefusals(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"READONLY You can't write against a read only replica. script: x, on @user_script:33.":                               true,
		"ERR Error running script (call to f_1): @user_script:33: @user_script: 33: -READONLY You can't write against a ...": true,
		"ERR Error running script (call to f_1): @user_script:33: WRONGTYPE Operation against a key ...":                     false,
		"NOPERM this user has no permissions": false,
	} {
		cmd := goredis.NewCmd(t.Context())
		cmd.SetErr(refusal(text))
		c := call{change: new(change)}
		c.read(cmd)
		if got := errors.Is(c.err, storage.ErrUnavailable); c.err == nil || got != want {
			t.Errorf("%s: %v", text, c.err)
		}
	}
}

// refusal is an error reply of a server.
type refusal string

func (r refusal) Error() string { return string(r) }

// RedisError implements redis.Error.
func (refusal) RedisError() {}
