package nodes

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/storage"
)

// session is a connection in the naive model: what it last said, and when.
type session struct {
	*watcher
	node     int
	show     string // "" or as in XML
	code     int    // 0 while unavailable
	priority int
	order    int // of its last presence among all
}

// model is what a community should look like.
type model struct {
	t        testing.TB
	w        *world
	rand     *rand.Rand
	nodes    []*node
	sessions map[string]*session // by full address
	members  map[int]map[int]bool
	users    int
	projects int
	order    int
	did      []string
}

func newModel(t testing.TB, w *world, users, projects int, seed uint64) *model {
	m := &model{t: t, w: w, rand: rand.New(rand.NewPCG(seed, 1)), sessions: make(map[string]*session),
		members: make(map[int]map[int]bool), users: users, projects: projects}
	for p := range projects {
		m.members[p] = make(map[int]bool)
	}
	for p := range projects {
		if err := w.store.AddProject(t.Context(), storage.Project{ID: project(p)}); err != nil {
			t.Fatal(err)
		}
		for range users / 2 {
			m.join(p, m.rand.IntN(users))
		}
	}
	return m
}

func (m *model) note(format string, args ...any) { m.did = append(m.did, fmt.Sprintf(format, args...)) }

func (m *model) join(p, u int) {
	if err := m.w.store.Join(m.t.Context(), project(p), user(u)); err != nil {
		m.t.Fatal(err)
	}
	m.members[p][u] = true
	m.note("%s joins %s", user(u), project(p))
}

func (m *model) leave(p, u int) {
	if err := m.w.store.Leave(m.t.Context(), project(p), user(u)); err != nil && !errors.Is(err, storage.ErrNotFound) {
		m.t.Fatal(err)
	}
	delete(m.members[p], u)
	m.note("%s leaves %s", user(u), project(p))
}

// pick returns one of the sessions, or nil.
func (m *model) pick() *session {
	if len(m.sessions) == 0 {
		return nil
	}
	keys := slices.Sorted(maps.Keys(m.sessions))
	return m.sessions[keys[m.rand.IntN(len(keys))]]
}

// enter logs somebody in, perhaps where they are already.
func (m *model) enter() {
	u, n := m.rand.IntN(m.users), m.rand.IntN(len(m.nodes))
	resource := fmt.Sprint("r", m.rand.IntN(3))
	x, err := watch(m.nodes[n].address, user(u), resource)
	if err != nil {
		m.t.Fatalf("login of %s/%s at %s: %v", user(u), resource, m.nodes[n].name, err)
	}
	m.note("%s enters at %s", x.jid, m.nodes[n].name)
	s := &session{watcher: x, node: n}
	if old := m.sessions[x.jid]; old != nil {
		// Should the other node not hear of it in time, the client itself is gone.
		old.leave(false)
	}
	m.sessions[x.jid] = s
	m.say(s)
}

// say lets a session change its presence, and waits for the echo, so that it is known
// who was last.
func (m *model) say(s *session) {
	m.order++
	s.order, s.priority = m.order, m.rand.IntN(3)
	text, serial := "", fmt.Sprint(m.order)
	switch s.show = []string{"", "away", "dnd", "xa", "unavailable"}[m.rand.IntN(5)]; s.show {
	case "unavailable":
		s.show, s.code = "", 0
		mustSend(m.t, s.client, "<presence type='unavailable'><status>"+serial+"</status></presence>")
		s.settle(m.t, "gone"+serial)
		s.forget() // it is told nothing more until it is available again
		m.note("%s is unavailable", s.jid)
		return
	case "":
		s.code = 1
	case "dnd":
		s.code, text = 2, "<show>dnd</show>"
	default:
		s.code, text = 3, "<show>"+s.show+"</show>"
	}
	mustSend(m.t, s.client, fmt.Sprintf("<presence>%s<priority>%d</priority><status>%s</status></presence>", text, s.priority, serial))
	until(m.t, "the echo of a presence of "+s.jid, func() bool {
		if !s.alive() {
			m.t.Fatalf("%s was dropped: %v", s.jid, s.err)
		}
		return s.of(s.jid).serial == serial
	})
	m.note("%s says %q with priority %d", s.jid, s.show, s.priority)
}

func (m *model) exit(s *session) {
	polite := m.rand.IntN(2) == 0
	s.client.leave(polite)
	delete(m.sessions, s.jid)
	m.note("%s exits, polite: %t", s.jid, polite)
}

// kill ends a node without a word and starts it again.
func (m *model) kill() {
	i := m.rand.IntN(len(m.nodes))
	n := m.nodes[i]
	for full, s := range m.sessions {
		if s.node == i {
			s.leaving.Store(true)
			delete(m.sessions, full)
		}
	}
	n.end(syscall.SIGKILL)
	m.note("%s is killed and comes back", n.name)
	m.nodes[i] = m.w.start(n.name)
}

// trouble makes something happen to Redis.
func (m *model) trouble() {
	ctx := m.t.Context()
	switch m.rand.IntN(4) {
	case 0:
		m.note("FLUSHALL")
		if err := m.w.rdb.FlushAll(ctx).Err(); err != nil {
			m.t.Fatal(err)
		}
	case 1:
		m.note("connections are cut")
		for _, kind := range []string{"pubsub", "normal"} {
			if err := m.w.rdb.ClientKillByFilter(ctx, "TYPE", kind).Err(); err != nil {
				m.t.Fatal(err)
			}
		}
	case 2:
		m.note("Redis stalls")
		m.w.redis.Suspend()
		for range 5 {
			m.ordinary()
		}
		m.w.redis.Resume()
	case 3:
		m.note("Redis is killed and comes back")
		m.w.redis.Kill()
		for range 5 {
			m.ordinary()
		}
		m.w.redis.Restart()
	}
}

// ordinary is what people do all day.
func (m *model) ordinary() {
	switch k := m.rand.IntN(20); {
	case k < 6:
		m.enter()
	case k < 14:
		if s := m.pick(); s != nil {
			m.say(s)
		}
	case k < 16:
		if s := m.pick(); s != nil {
			m.exit(s)
		}
	case k < 18:
		m.join(m.rand.IntN(m.projects), m.rand.IntN(m.users))
	default:
		m.leave(m.rand.IntN(m.projects), m.rand.IntN(m.users))
	}
}

// expected is what Redis should say.
func (m *model) expected() inRedis {
	r := inRedis{make(map[string]int), make(map[string][]string)}
	best := make(map[string]*session)
	for _, s := range m.sessions {
		b := best[s.user]
		if s.code > 0 && (b == nil || s.priority > b.priority || s.priority == b.priority && s.order > b.order) {
			best[s.user] = s
		}
	}
	for u, s := range best {
		r.status[u] = s.code
	}
	for p, members := range m.members {
		for u := range members {
			if r.status[user(u)] > 0 {
				r.members[project(p)] = append(r.members[project(p)], user(u))
			}
		}
		slices.Sort(r.members[project(p)])
	}
	maps.DeleteFunc(r.members, func(_ string, list []string) bool { return len(list) == 0 })
	return r
}

func (m *model) share(a, b string) bool {
	for _, members := range m.members {
		both := 0
		for u := range members {
			if user(u) == a || user(u) == b {
				both++
			}
		}
		if both == 2 {
			return true
		}
	}
	return a == b
}

// wrong lists what an available client believes that is not so.
func (m *model) wrong() (all []string) {
	for _, s := range m.sessions {
		if !s.alive() {
			all = append(all, fmt.Sprintf("%s was dropped: %v", s.jid, s.err))
			continue
		}
		if s.code == 0 {
			continue
		}
		for _, other := range m.sessions {
			c := s.of(other.jid)
			sees := other.code > 0 && m.share(s.user, other.user)
			if c.available != sees || sees && (c.show != other.show || c.serial != fmt.Sprint(other.order)) {
				all = append(all, fmt.Sprintf("%s takes %s for available: %t, %q, %s; it is %t, %q, %d",
					s.jid, other.jid, c.available, c.show, c.serial, sees, other.show, other.order))
			}
		}
		s.mu.Lock()
		for full, c := range s.seen {
			if c.available && m.sessions[full] == nil {
				all = append(all, fmt.Sprintf("%s takes %s for available, who is gone", s.jid, full))
			}
		}
		s.mu.Unlock()
	}
	return all
}

// TestProperty lets random people come, go, change and join on two nodes which are killed
// now and then, with a Redis to which everything happens; afterwards Redis and every
// client say what a naive model says.
func TestProperty(t *testing.T) {
	w := newWorld(t, 10, 1)
	m := newModel(t, w, 10, 5, *seedFlag)
	m.nodes = []*node{w.start("a"), w.start("b")}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, after:\n%s", *seedFlag, strings.Join(m.did, "\n"))
		}
	})
	count := make(map[string]int)
	for range *stepsFlag {
		switch k := m.rand.IntN(100); {
		case k < 2:
			m.kill()
			count["kills"]++
		case k < 6:
			m.trouble()
			count["troubles"]++
		default:
			m.ordinary()
		}
	}
	want := m.expected()
	var got inRedis
	var wrong []string
	same := func() bool {
		var err error
		got, err = w.read(m.users, m.projects)
		return err == nil && maps.Equal(got.status, want.status) && maps.EqualFunc(got.members, want.members, slices.Equal)
	}
	if !within(*leaseFlag*2+30*time.Second, func() bool {
		wrong = m.wrong()
		return same() && len(wrong) == 0
	}) {
		t.Fatalf("Redis has\n%v, want\n%v\n%s", got, want, strings.Join(wrong, "\n"))
	}
	t.Logf("seed %d: %d events, %d nodes killed, %d times trouble with Redis; Redis and %d clients are right",
		*seedFlag, len(m.did), count["kills"], count["troubles"], len(m.sessions))
}
