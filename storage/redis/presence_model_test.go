package redis

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

// truth is what people of several nodes did, as plainly as it can be said: each node is
// told of a membership that changes when the user is connected to it, as the projects
// module does it.
type truth struct {
	rows    map[[2]string]storage.ConnState // {user, "node|conn"}
	members map[[2]string]bool              // {user, project}
}

func (m *truth) projects(user string) []string {
	var list []string
	for k := range m.members {
		if k[0] == user {
			list = append(list, k[1])
		}
	}
	slices.Sort(list)
	return list
}

func (m *truth) on(user, node string) bool {
	for k := range m.rows {
		if k[0] == user && strings.HasPrefix(k[1], node+"|") {
			return true
		}
	}
	return false
}

// keys is what Redis has to hold.
func (m *truth) keys() map[string]string {
	sets := make(map[string]map[string]bool)
	add := func(key, member string) {
		if sets[key] == nil {
			sets[key] = make(map[string]bool)
		}
		sets[key][member] = true
	}
	best := make(map[string]storage.ConnState)
	for k, c := range m.rows {
		user := k[0]
		node, _, _ := strings.Cut(k[1], "|")
		add("wt_sess:"+user, fmt.Sprintf("%s=%d|%d|%d|%s", k[1], c.Show, c.Priority, c.At.UnixMicro(), c.Resource))
		add("wt_nodesess:"+node, user)
		for _, p := range m.projects(user) {
			add("wt_user_projs:"+user, p)
			add("wt_nodeprojs:"+node, p)
			add("wt_proj_nodes:"+p, node)
		}
		b, ok := best[user]
		if c.Show != storage.Offline && (!ok || c.Priority > b.Priority || c.Priority == b.Priority && c.At.After(b.At)) {
			best[user] = c
		}
	}
	out := make(map[string]string)
	for user, c := range best {
		out["wt_user_presence:"+user] = fmt.Sprint(int(c.Show))
		for _, p := range m.projects(user) {
			add("wt_proj_online_users:"+p, user)
		}
	}
	for key, set := range sets {
		var list []string
		for s := range set {
			list = append(list, s)
		}
		slices.Sort(list)
		out[key] = strings.Join(list, " ")
	}
	return out
}

func (m *truth) add(o *truth) {
	for k, c := range o.rows {
		m.rows[k] = c
	}
	for k := range o.members {
		m.members[k] = true
	}
}

func newTruth() *truth {
	return &truth{rows: make(map[[2]string]storage.ConnState), members: make(map[[2]string]bool)}
}

// live does random things of one user on two nodes. What Redis could not take counts.
func (m *truth) live(t *testing.T, user string, seed uint64, nodes map[string]*Store, steps int) {
	random := rand.New(rand.NewPCG(seed, 7))
	at := random.Perm(steps)
	for i := range steps {
		node := []string{"a", "b"}[random.IntN(2)]
		conn, project := fmt.Sprint(random.IntN(3)), fmt.Sprint("p", random.IntN(4))
		var err error
		switch random.IntN(8) {
		case 0, 1:
			begins := !m.members[[2]string{user, project}]
			if begins {
				m.members[[2]string{user, project}] = true
			} else {
				delete(m.members, [2]string{user, project})
			}
			for name, s := range nodes {
				if !m.on(user, name) {
					continue
				}
				if begins {
					err = s.Join(t.Context(), user, project)
				} else {
					err = s.Leave(t.Context(), user, project)
				}
			}
		case 2, 3, 4:
			delete(m.rows, [2]string{user, node + "|" + conn})
			_, err = nodes[node].Remove(t.Context(), user, conn)
		default:
			c := storage.ConnState{
				Conn: conn, User: user, Resource: "r" + conn, Show: storage.Show(random.IntN(4)),
				Priority: int8(random.IntN(3) - 1), At: time.UnixMilli(int64(at[i])),
			}
			m.rows[[2]string{user, node + "|" + conn}] = c
			_, err = nodes[node].Set(t.Context(), c, m.projects(user))
		}
		if err != nil && !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s, step %d: %v", user, i, err)
			return
		}
	}
}

func TestRedisEqualsTheTruth(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string][]func(*testing.T, *redistest.Server){
		"healthy": nil,
		"scripts forgotten": {func(t *testing.T, s *redistest.Server) {
			if err := s.Client(t).ScriptFlush(t.Context()).Err(); err != nil {
				t.Error(err)
			}
		}},
		"emptied and restarted": {
			func(t *testing.T, s *redistest.Server) {
				if err := s.Client(t).FlushAll(t.Context()).Err(); err != nil {
					t.Error(err)
				}
			},
			func(_ *testing.T, s *redistest.Server) { s.Kill(); s.Restart() },
		},
		"standing still": {func(t *testing.T, s *redistest.Server) {
			s.Suspend()
			begun := time.Now()
			redistest.Until(t, "a while has passed", func() bool { return time.Since(begun) > 400*time.Millisecond })
			s.Resume()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			nodes := map[string]*Store{
				"a": openNode(t, server, "a", impatient, shortLease), "b": openNode(t, server, "b", impatient, shortLease),
			}
			users := make([]*truth, 8)
			var group sync.WaitGroup
			for i := range users {
				users[i] = newTruth()
				group.Go(func() {
					// More than once, so that faults meet people at every stage.
					for round := range uint64(4) {
						users[i].live(t, fmt.Sprint("u", i), uint64(i)*100+round, nodes, 60)
						if round < uint64(len(faults)) && i == 0 {
							faults[round](t, server)
						}
					}
				})
			}
			group.Wait()
			if t.Failed() {
				return
			}
			whole := newTruth()
			for _, u := range users {
				whole.add(u)
			}
			redistest.Until(t, "redis is told everything", func() bool {
				_, errA := nodes["a"].Status(t.Context(), nil)
				_, errB := nodes["b"].Status(t.Context(), nil)
				return errA == nil && errB == nil
			})
			settled(t, nodes["a"], nodes["b"])
			holds(t, server.Client(t), whole.keys())

			// And when one of the nodes dies.
			kill(nodes["b"])
			forgetLease(t, server, "b")
			for k := range whole.rows {
				if strings.HasPrefix(k[1], "b|") {
					delete(whole.rows, k)
				}
			}
			if _, err := nodes["a"].reap(t.Context(), "b", 1); err != nil {
				t.Fatal(err)
			}
			holds(t, server.Client(t), whole.keys())
		})
	}
}
