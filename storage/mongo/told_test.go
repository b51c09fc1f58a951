package mongo

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"rollcall/storage"
)

// TestToldSteps takes one step after another, each with all that it changes.
func TestToldSteps(t *testing.T) {
	td := newTold()
	user := func(key, local string, about uint64, there bool) func(*outcome) {
		return func(o *outcome) { td.user(userState{key: key, local: local, about: about, there: there}, 1, o) }
	}
	project := func(key string, name uint64, members ...string) func(*outcome) {
		return func(o *outcome) { td.project(projectState{key: key, name: name, members: members}, 1, o) }
	}
	added, removed := storage.MemberAdded, storage.MemberRemoved
	steps := []struct {
		what           string
		do             func(*outcome)
		want           []storage.Change
		strangers      []string
		users, dropped []string // whose cache entries go
	}{
		{"a user", user("1", "ann", 1, true), nil, nil, []string{"ann"}, nil},
		{"a project", project("p", 1, "2", "1", "1"), []storage.Change{{Kind: added, User: "ann", Project: "p"}}, []string{"2"}, []string{"ann"}, []string{"p", "p"}},
		{"again", project("p", 1, "1", "2"), nil, nil, nil, nil},
		{"the stranger", user("2", "bob", 1, true), []storage.Change{{Kind: added, User: "bob", Project: "p"}}, nil, []string{"bob", "bob"}, []string{"p"}},
		{"a password", user("2", "bob", 2, true), []storage.Change{{Kind: storage.UserChanged, User: "bob"}}, nil, nil, []string{"p"}},
		{"blocked", user("2", "bob", 2, false), []storage.Change{{Kind: removed, User: "bob", Project: "p"}, {Kind: storage.UserRemoved, User: "bob"}}, nil, []string{"bob", "bob"}, []string{"p"}},
		{"blocked, a password", user("2", "bob", 3, false), nil, nil, nil, nil},
		{"free", user("2", "bob", 3, true), []storage.Change{{Kind: added, User: "bob", Project: "p"}}, nil, []string{"bob", "bob"}, []string{"p"}},
		{"renamed", project("p", 2, "1", "2"), []storage.Change{{Kind: storage.ProjectChanged, Project: "p"}}, nil, []string{"ann", "bob"}, []string{"p"}},
		{"another login", user("1", "anna", 1, true), []storage.Change{
			{Kind: removed, User: "ann", Project: "p"}, {Kind: storage.UserRemoved, User: "ann"}, {Kind: added, User: "anna", Project: "p"},
		}, nil, []string{"ann", "ann", "anna", "anna"}, []string{"p", "p"}},
		{"gone", func(o *outcome) { td.userGone("1", o) }, []storage.Change{{Kind: removed, User: "anna", Project: "p"}, {Kind: storage.UserRemoved, User: "anna"}}, nil, []string{"anna", "anna"}, []string{"p"}},
		{"gone again", func(o *outcome) { td.userGone("1", o) }, nil, nil, nil, nil},
		{"never there", func(o *outcome) { td.userGone("9", o); td.projectGone("9", o) }, nil, nil, nil, nil},
		{"project gone", func(o *outcome) { td.projectGone("p", o) }, []storage.Change{{Kind: removed, User: "bob", Project: "p"}, {Kind: storage.ProjectRemoved, Project: "p"}}, nil, []string{"bob"}, []string{"p", "p"}},
	}
	for _, s := range steps {
		var o outcome
		s.do(&o)
		if !slices.Equal(o.changes, s.want) {
			t.Errorf("%s: told %v, want %v", s.what, o.changes, s.want)
		}
		if !slices.Equal(o.strangers, s.strangers) || !slices.Equal(o.users, s.users) || !slices.Equal(o.projects, s.dropped) {
			t.Errorf("%s: strangers %q, dropped users %q and projects %q; want %q, %q, %q", s.what, o.strangers, o.users, o.projects, s.strangers, s.users, s.dropped)
		}
	}
	if len(td.projects) != 0 || len(td.users) != 1 {
		t.Errorf("%d users and %d projects are left, want bob alone", len(td.users), len(td.projects))
	}
}

// toldModel is what somebody who believes all that is told takes for the truth.
type toldModel map[[2]string]bool // {project, user}

func (m toldModel) believe(c storage.Change) error {
	at := [2]string{c.Project, c.User}
	switch c.Kind {
	case storage.MemberAdded, storage.MemberRemoved:
		if m[at] == (c.Kind == storage.MemberAdded) {
			return fmt.Errorf("told %v, which was so already", c)
		}
		if delete(m, at); c.Kind == storage.MemberAdded {
			m[at] = true
		}
	case storage.UserRemoved, storage.ProjectRemoved:
		for at := range m {
			if c.Kind == storage.UserRemoved && at[1] == c.User || c.Kind == storage.ProjectRemoved && at[0] == c.Project {
				return fmt.Errorf("told %v while %v is a member", c, at)
			}
		}
	}
	return nil
}

// TestToldRandom changes random documents, says so or not, compares everything now and
// then, and wants the changes to add up to the truth, none told twice.
func TestToldRandom(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 7))
		td := newTold()
		users, projects := make(map[string]userState), make(map[string]projectState)
		model := make(toldModel)
		sweep := uint32(0)
		tell := func(o *outcome) {
			t.Helper()
			for _, c := range o.changes {
				if err := model.believe(c); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			o.changes = nil
		}
		look := func(user, project string) {
			var o outcome
			if s, ok := users[user]; ok {
				td.user(s, sweep, &o)
			} else {
				td.userGone(user, &o)
			}
			if s, ok := projects[project]; ok {
				s.members = slices.Clone(s.members)
				td.project(s, sweep, &o)
			} else {
				td.projectGone(project, &o)
			}
			tell(&o)
		}
		for i := range 500 {
			user, project := fmt.Sprint("u", random.IntN(6)), fmt.Sprint("p", random.IntN(4))
			switch random.IntN(6) {
			case 0:
				users[user] = userState{key: user, local: fmt.Sprint("l", user, random.IntN(2)), about: random.Uint64N(2), there: random.IntN(4) > 0}
			case 1:
				delete(users, user)
			case 2, 3:
				s := projectState{key: project, name: random.Uint64N(2)}
				for range random.IntN(6) {
					s.members = append(s.members, fmt.Sprint("u", random.IntN(7)))
				}
				projects[project] = s
			case 4:
				delete(projects, project)
			case 5:
				look(user, project)
			}
			if i%50 != 49 {
				continue
			}
			sweep++
			for _, key := range slices.Sorted(maps.Keys(users)) {
				look(key, "")
			}
			for _, key := range slices.Sorted(maps.Keys(projects)) {
				look("", key)
			}
			gone, goneProjects := td.unseen(sweep)
			for _, key := range gone {
				look(key, "")
			}
			for _, key := range goneProjects {
				look("", key)
			}
			want := make(toldModel)
			for _, p := range projects {
				for _, key := range p.members {
					if u, ok := users[key]; ok && u.there {
						want[[2]string{p.key, u.local}] = true
					}
				}
			}
			if !maps.Equal(model, want) {
				t.Fatalf("seed %d: told %v, true is %v", seed, model, want)
			}
			for key, u := range td.users {
				if _, there := users[key]; !there && len(u.projects) == 0 {
					t.Fatalf("seed %d: %s is kept for nothing", seed, key)
				}
			}
		}
	}
}

// TestToldMemory holds 20,000 users with 24-digit ids in 2,000 projects of 50.
func TestToldMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const users, projects, members = 20_000, 2_000, 50
	td := newTold()
	var o outcome
	for i := range users {
		key := fmt.Sprintf("5f0102030405060708%06d", i)
		td.user(userState{key: key, local: key, there: true}, 1, &o)
	}
	for i := range projects {
		s := projectState{key: fmt.Sprintf("6f0102030405060708%06d", i)}
		for k := range members {
			s.members = append(s.members, fmt.Sprintf("5f0102030405060708%06d", (i*members+k*7)%users))
		}
		td.project(s, 1, &o)
	}
	o = outcome{}
	perUser := float64(heap()-before) / users
	t.Logf("%.0f bytes for each of %d users with %d memberships", perUser, users, projects*members)
	if perUser > 400 {
		t.Errorf("%.0f bytes for each user with %d memberships", perUser, projects*members/users)
	}
	runtime.KeepAlive(td)
	runtime.KeepAlive(o)
}
