package storagetest

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"rollcall/storage"
)

func presenceTime(milliseconds int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(milliseconds) * time.Millisecond)
}

func presenceByID(a, b storage.OnlineUser) int { return cmp.Compare(a.ID, b.ID) }

func presenceOK(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func presenceSet(t *testing.T, s storage.Presence, user, conn string, show storage.Show, projects ...string) storage.PresenceChange {
	t.Helper()
	c := storage.ConnState{Conn: conn, User: user, Resource: "r", Show: show, At: presenceTime(0)}
	got, err := s.Set(t.Context(), c, projects)
	presenceOK(t, err)
	return got
}

func presenceRemove(t *testing.T, s storage.Presence, user, conn string) storage.PresenceChange {
	t.Helper()
	got, err := s.Remove(t.Context(), user, conn)
	presenceOK(t, err)
	return got
}

func presenceIn(t *testing.T, s storage.Presence, project string) []storage.OnlineUser {
	t.Helper()
	got, _, err := s.OnlineIn(t.Context(), project)
	presenceOK(t, err)
	return got
}

func presenceShow(t *testing.T, s storage.Presence, user string) storage.Show {
	t.Helper()
	got, err := s.Status(t.Context(), []string{user})
	presenceOK(t, err)
	if len(got) != 1 {
		t.Fatalf("Status of one user has %d entries", len(got))
	}
	return got[0]
}

// presenceModel is storage.Presence as plainly as it can be said: every call
// searches everything.
type presenceModel struct {
	conns  []storage.ConnState // in the order of calls
	member map[[2]string]bool  // {project, user} in online sets
}

func (m *presenceModel) aggregate(user string) storage.Show {
	best := storage.ConnState{Priority: -128}
	for _, c := range m.conns {
		if c.User != user || c.Show == storage.Offline {
			continue
		}
		if c.Priority > best.Priority || c.Priority == best.Priority && !c.At.Before(best.At) {
			best = c
		}
	}
	return best.Show
}

func (m *presenceModel) forget(user, conn string) {
	m.conns = slices.DeleteFunc(m.conns, func(c storage.ConnState) bool { return c.User == user && c.Conn == conn })
}

func (m *presenceModel) set(c storage.ConnState, projects []string) (old, now storage.Show) {
	old = m.aggregate(c.User)
	m.forget(c.User, c.Conn)
	m.conns = append(m.conns, c)
	return old, m.settle(c.User, old, projects)
}

func (m *presenceModel) remove(user, conn string) (old, now storage.Show) {
	old = m.aggregate(user)
	m.forget(user, conn)
	return old, m.settle(user, old, nil)
}

func (m *presenceModel) settle(user string, old storage.Show, projects []string) storage.Show {
	now := m.aggregate(user)
	if old == storage.Offline && now != storage.Offline {
		for _, p := range projects {
			m.member[[2]string{p, user}] = true
		}
	}
	if now == storage.Offline {
		maps.DeleteFunc(m.member, func(k [2]string, _ bool) bool { return k[1] == user })
	}
	return now
}

func (m *presenceModel) join(user, project string) {
	if m.aggregate(user) != storage.Offline {
		m.member[[2]string{project, user}] = true
	}
}

func (m *presenceModel) leave(user, project string) { delete(m.member, [2]string{project, user}) }

func (m *presenceModel) onlineIn(project string) []storage.OnlineUser {
	var users []storage.OnlineUser
	for k := range m.member {
		if k[0] == project {
			users = append(users, storage.OnlineUser{ID: k[1], Show: m.aggregate(k[1])})
		}
	}
	slices.SortFunc(users, presenceByID)
	return users
}

// presenceWalk does random calls about one set of users, to a store and to the
// model at once.
type presenceWalk struct {
	store    storage.Presence
	model    presenceModel
	random   *rand.Rand
	users    []string
	projects []string
	// check is called after each Set and Remove.
	check func(user string, got storage.PresenceChange) error
}

func newPresenceWalk(s storage.Presence, seed uint64, prefix string, users, projects int) *presenceWalk {
	w := &presenceWalk{
		store:  s,
		model:  presenceModel{member: make(map[[2]string]bool)},
		random: rand.New(rand.NewPCG(seed, 1)),
		check:  func(string, storage.PresenceChange) error { return nil },
	}
	for i := range users {
		w.users = append(w.users, fmt.Sprintf("%su%d", prefix, i))
	}
	for i := range projects {
		w.projects = append(w.projects, fmt.Sprintf("p%d", i))
	}
	return w
}

func (w *presenceWalk) pick(from []string) string { return from[w.random.IntN(len(from))] }

func (w *presenceWalk) subset() []string {
	var some []string
	for _, p := range w.projects {
		if w.random.IntN(3) == 0 {
			some = append(some, p)
		}
	}
	return some
}

// step does one call and compares its result; the error tells what it was.
func (w *presenceWalk) step(t *testing.T) error {
	user, conn := w.pick(w.users), fmt.Sprintf("c%d", w.random.IntN(4))
	var got storage.PresenceChange
	var old, now storage.Show
	var err error
	var call string
	switch w.random.IntN(10) {
	case 0:
		p := w.pick(w.projects)
		w.model.join(user, p)
		return w.store.Join(t.Context(), user, p)
	case 1:
		p := w.pick(w.projects)
		w.model.leave(user, p)
		return w.store.Leave(t.Context(), user, p)
	case 2, 3, 4:
		call = fmt.Sprintf("Remove(%s, %s)", user, conn)
		old, now = w.model.remove(user, conn)
		got, err = w.store.Remove(t.Context(), user, conn)
	default:
		c := storage.ConnState{
			Conn: conn, User: user, Resource: "r" + conn, Show: storage.Show(w.random.IntN(4)),
			Priority: int8(w.random.IntN(3) - 1), At: presenceTime(w.random.IntN(5)),
		}
		projects := w.subset()
		call = fmt.Sprintf("Set(%+v, %v)", c, projects)
		old, now = w.model.set(c, projects)
		got, err = w.store.Set(t.Context(), c, projects)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	if got.Old != old || got.New != now {
		return fmt.Errorf("%s changed %d to %d, want %d to %d", call, got.Old, got.New, old, now)
	}
	return w.check(user, got)
}

// compare checks all users and, for a walk that has the store to itself, all
// projects.
func (w *presenceWalk) compare(t *testing.T, sets bool) {
	t.Helper()
	shows, err := w.store.Status(t.Context(), w.users)
	presenceOK(t, err)
	for i, u := range w.users {
		if want := w.model.aggregate(u); shows[i] != want {
			t.Fatalf("Status of %s is %d, want %d", u, shows[i], want)
		}
	}
	if !sets {
		return
	}
	for _, p := range w.projects {
		if got, want := presenceIn(t, w.store, p), w.model.onlineIn(p); !slices.Equal(got, want) {
			t.Fatalf("%s holds %v, want %v", p, got, want)
		}
	}
}

func presenceRandom(t *testing.T, open func(t *testing.T) storage.Presence) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newPresenceWalk(open(t), seed, "", 5, 6)
			var rev uint64
			w.check = func(_ string, got storage.PresenceChange) error {
				if changed := got.Old != got.New; changed && got.Rev <= rev || got.Rev < rev {
					return fmt.Errorf("revision %d after %d, change %v", got.Rev, rev, changed)
				}
				rev = got.Rev
				return nil
			}
			for i := range 500 {
				if err := w.step(t); err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
				// Sets, which take a call each, now and then.
				w.compare(t, i%5 == 4)
			}
		})
	}
}
