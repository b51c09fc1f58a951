package redis

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

func TestReconcile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		damage [][]any // commands
		found  repairs
	}{
		{"nothing", nil, repairs{}},
		{"stale members", [][]any{
			{"SADD", "wt_proj_online_users:p1", "eve", "zed"}, {"SADD", "wt_proj_online_users:nobody", "eve"},
			{"SADD", "wt_proj_online_users:p3", "ann"},
		}, repairs{members: 4}},
		{"an invisible member", [][]any{{"SADD", "wt_proj_online_users:p2", "bob"}}, repairs{members: 1}},
		{"missing members", [][]any{{"DEL", "wt_proj_online_users:p1"}, {"SREM", "wt_proj_online_users:p2", "cyd"}}, repairs{members: 2}},
		{"states", [][]any{
			{"SET", "wt_user_presence:ann", "3"}, {"DEL", "wt_user_presence:cyd"}, {"SET", "wt_user_presence:eve", "1"},
		}, repairs{states: 3}},
		{"a row is gone", [][]any{{"DEL", "wt_sess:ann"}}, repairs{rows: 1, states: 1}},
		{"rows of nobody's", [][]any{
			{"HSET", "wt_sess:eve", "ghost|1", "1|0|1.1|r"}, {"SET", "wt_user_presence:eve", "1"},
			{"SADD", "wt_user_projs:eve", "p1"}, {"SADD", "wt_proj_online_users:p1", "eve"},
		}, repairs{rows: 1, members: 1, states: 1}},
		{"what an unknown node left", [][]any{
			{"HSET", "wt_sess:ann", "ghost|1", "2|9|1.1|r"}, {"SET", "wt_user_presence:ann", "2"},
			{"SADD", "wt_nodesess:ghost", "ann", "eve"}, {"SADD", "wt_nodeprojs:ghost", "p1"},
			{"SADD", "wt_proj_nodes:p1", "ghost"}, {"SET", "wt_fence:ghost", "x.1"},
		}, repairs{rows: 1, states: 1, nodes: 1}},
		{"an own row that is not", [][]any{
			{"HSET", "wt_sess:eve", "a|1", "1|0|1.1|r"}, {"SADD", "wt_nodesess:a", "eve"}, {"SET", "wt_user_presence:eve", "1"},
		}, repairs{rows: 1}},
		{"another value of a row", [][]any{{"HSET", "wt_sess:cyd", "a|1", "0|0|1.1|r"}}, repairs{rows: 1, states: 1}},
		{"projects of a user", [][]any{
			{"SREM", "wt_user_projs:ann", "p1"}, {"SREM", "wt_proj_online_users:p1", "ann"}, {"SADD", "wt_user_projs:ann", "p9"},
		}, repairs{members: 2}},
		{"nodes of a project", [][]any{
			{"SREM", "wt_proj_nodes:p1", "a"}, {"SADD", "wt_proj_nodes:p2", "b", "ghost"}, {"SADD", "wt_proj_nodes:p7", "a"},
			{"SADD", "wt_nodeprojs:a", "p8"},
		}, repairs{nodes: 5}},
		{"indexes", [][]any{{"DEL", "wt_nodesess:a"}, {"DEL", "wt_nodeprojs:a"}}, repairs{nodes: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			client := server.Client(t)
			metrics := prometheus.NewRegistry()
			a, b := openNode(t, server, "a", func(c *Config) { c.Metrics = metrics }), openNode(t, server, "b")
			mustSet(t, a, "ann", "1", storage.Online, "p1")
			mustSet(t, a, "bob", "1", storage.Offline, "p2")
			mustSet(t, a, "cyd", "1", storage.Busy, "p2")
			mustSet(t, b, "dee", "1", storage.Leave, "p3")
			want := dump(t, client)
			for _, args := range tt.damage {
				if err := client.Do(t.Context(), args...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			found, err := a.reconcile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if found != tt.found {
				t.Errorf("found %+v, want %+v", found, tt.found)
			}
			if got := counted(t, metrics); got != tt.found {
				t.Errorf("counted %+v, want %+v", got, tt.found)
			}
			holds(t, client, want)
			if found, err := a.reconcile(t.Context()); found != (repairs{}) || err != nil {
				t.Errorf("found %+v again, %v", found, err)
			}
		})
	}
}

// Reconciling beside live calls finds nothing, because nothing is wrong.
func TestReconcileBesideCalls(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	nodes := []*Store{openNode(t, server, "a"), openNode(t, server, "b")}
	done := make(chan struct{})
	var group sync.WaitGroup
	for _, s := range nodes {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if found, err := s.reconcile(t.Context()); found != (repairs{}) || err != nil {
					t.Errorf("found %+v, %v", found, err)
					return
				}
			}
		})
	}
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			s := nodes[i%2]
			user := fmt.Sprint("u", i/2) // on both nodes
			for k := range 150 {
				var err error
				switch conn := fmt.Sprint("c", k%3); k % 5 {
				case 0, 1, 2:
					_, err = s.Set(t.Context(), say(user, conn, storage.Show((i+k)%4)), []string{"p1", "p2"})
				default:
					_, err = s.Remove(t.Context(), user, conn)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	close(done)
	group.Wait()
}

func TestReconcileRunsByItself(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := server.Client(t)
	openNode(t, server, "a", func(c *Config) { c.Reconcile = 50 * time.Millisecond })
	if err := client.SAdd(t.Context(), "wt_proj_online_users:p", "eve").Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "the stale member is gone", func() bool {
		return client.Exists(t.Context(), "wt_proj_online_users:p").Val() == 0
	})
}

// counted reads the metrics of repairs.
func counted(t *testing.T, metrics *prometheus.Registry) repairs {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := make(map[string]int)
	for _, f := range families {
		if f.GetName() == "rollcall_redis_repaired_total" {
			for _, m := range f.GetMetric() {
				n[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
			}
		}
	}
	return repairs{rows: n["row"], members: n["member"], states: n["state"], nodes: n["node"]}
}
