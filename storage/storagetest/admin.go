package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"rollcall/storage"
)

// DirectoryStore is a store of users, projects and memberships that can be
// changed.
type DirectoryStore interface {
	storage.Users
	storage.Projects
	storage.Admin
	storage.Watcher
}

// Reopener is what a DirectoryStore may have besides: a second store on the same
// data, as another process would open it, closed with t.Cleanup.
type Reopener interface {
	Reopen(t *testing.T) DirectoryStore
}

// Directory checks everything that storage.Users, storage.Projects,
// storage.Admin and storage.Watcher promise. open returns an empty store that
// nothing else writes to, and closes it with t.Cleanup.
func Directory(t *testing.T, open func(t *testing.T) DirectoryStore) {
	t.Run("users", func(t *testing.T) { directoryUsers(t, open) })
	t.Run("projects", func(t *testing.T) { directoryProjects(t, open) })
	t.Run("import", func(t *testing.T) { directoryImport(t, open) })
	t.Run("watch", func(t *testing.T) { directoryWatch(t, open) })
	t.Run("ended context", func(t *testing.T) { directoryEndedContext(t, open(t)) })
	t.Run("same id at once", func(t *testing.T) { directorySameID(t, open(t)) })
	t.Run("good and bad at once", func(t *testing.T) { directoryGoodAndBad(t, open(t)) })
}

// directoryOK fails the test at once when err is one.
func directoryOK(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// directoryIs fails the test when err does not wrap want.
func directoryIs(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// directoryKeys are well-formed credentials; another seed makes others.
func directoryKeys(seed byte) *storage.Credentials {
	var c storage.Credentials
	for mechanism, size := range map[string]int{"SCRAM-SHA-1": 20, "SCRAM-SHA-256": 32, "SCRAM-SHA-512": 64} {
		c.SCRAM = append(c.SCRAM, storage.SCRAMKeys{
			Mechanism:  mechanism,
			Salt:       bytes.Repeat([]byte{seed, 0}, 8),
			Iterations: 4096 + int(seed),
			StoredKey:  bytes.Repeat([]byte{seed}, size),
			ServerKey:  bytes.Repeat([]byte{seed + 1}, size),
		})
	}
	return &c
}

func directoryAddUsers(t *testing.T, s storage.Admin, ids ...string) {
	t.Helper()
	for _, id := range ids {
		u := storage.UserRecord{User: storage.User{ID: id, Name: "N. " + id}, Credentials: directoryKeys(1)}
		directoryOK(t, s.AddUser(t.Context(), u))
	}
}

// directoryAddProject adds a project with members.
func directoryAddProject(t *testing.T, s storage.Admin, id string, members ...string) {
	t.Helper()
	directoryOK(t, s.AddProject(t.Context(), storage.Project{ID: id, Name: "P. " + id}))
	for _, u := range members {
		directoryOK(t, s.Join(t.Context(), id, u))
	}
}

// directoryText is all that a store holds, as text that can be compared.
func directoryText(t *testing.T, s DirectoryStore) string {
	t.Helper()
	var b strings.Builder
	users, err := s.Users(t.Context())
	directoryOK(t, err)
	for _, u := range users {
		c, err := s.Credentials(t.Context(), u.ID)
		directoryOK(t, err)
		slices.SortFunc(c.SCRAM, func(x, y storage.SCRAMKeys) int { return strings.Compare(x.Mechanism, y.Mechanism) })
		fmt.Fprintf(&b, "user %q %q %+v\n", u.ID, u.Name, c)
	}
	projects, err := s.Projects(t.Context())
	directoryOK(t, err)
	for _, p := range projects {
		members, err := s.Members(t.Context(), p.ID)
		directoryOK(t, err)
		fmt.Fprintf(&b, "project %q %q %q\n", p.ID, p.Name, members)
	}
	return b.String()
}

func directoryEqual[T any](t *testing.T, what string, got, want []T) {
	t.Helper()
	if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// directoryEndedContext calls everything with a context that has ended: that is
// the answer, and nothing changes.
func directoryEndedContext(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann", "bob")
	directoryAddProject(t, s, "p1", "ann")
	before := directoryText(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	second := func(_ any, err error) error { return err }
	ann := storage.UserRecord{User: storage.User{ID: "cat"}, Credentials: directoryKeys(2)}
	for what, err := range map[string]error{
		"User":           second(s.User(ctx, "ann")),
		"Credentials":    second(s.Credentials(ctx, "ann")),
		"Project":        second(s.Project(ctx, "p1")),
		"ProjectsOf":     second(s.ProjectsOf(ctx, "ann")),
		"Members":        second(s.Members(ctx, "p1")),
		"Users":          second(s.Users(ctx)),
		"Projects":       second(s.Projects(ctx)),
		"AddUser":        s.AddUser(ctx, ann),
		"SetCredentials": s.SetCredentials(ctx, "ann", *directoryKeys(2)),
		"RemoveUser":     s.RemoveUser(ctx, "ann"),
		"AddProject":     s.AddProject(ctx, storage.Project{ID: "p2"}),
		"RemoveProject":  s.RemoveProject(ctx, "p1"),
		"Join":           s.Join(ctx, "p1", "bob"),
		"Leave":          s.Leave(ctx, "p1", "ann"),
		"Import":         s.Import(ctx, []storage.Record{{User: &ann}}),
	} {
		directoryIs(t, what, err, context.Canceled)
	}
	if err := s.Watch(ctx, func(c storage.Change) { t.Errorf("told %+v", c) }); err != nil {
		t.Errorf("Watch: %v, want nil", err)
	}
	if after := directoryText(t, s); after != before {
		t.Errorf("now\n%swas\n%s", after, before)
	}
}

// directorySameID adds one user and one project from many goroutines: one wins.
func directorySameID(t *testing.T, s DirectoryStore) {
	const n = 16
	users, projects := make([]error, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			u := storage.UserRecord{User: storage.User{ID: "ann", Name: fmt.Sprint(i)}, Credentials: directoryKeys(byte(i))}
			users[i] = s.AddUser(t.Context(), u)
		})
		wg.Go(func() { projects[i] = s.AddProject(t.Context(), storage.Project{ID: "p1", Name: fmt.Sprint(i)}) })
	}
	wg.Wait()
	winner := func(what string, errs []error) string {
		won := -1
		for i, err := range errs {
			if err != nil {
				directoryIs(t, what, err, storage.ErrExists)
			} else if won >= 0 {
				t.Errorf("%s: both %d and %d succeeded", what, won, i)
			} else {
				won = i
			}
		}
		return fmt.Sprint(won)
	}
	wonUser, wonProject := winner("AddUser", users), winner("AddProject", projects)
	u, err := s.User(t.Context(), "ann")
	directoryOK(t, err)
	p, err := s.Project(t.Context(), "p1")
	directoryOK(t, err)
	if u.Name != wonUser || p.Name != wonProject {
		t.Errorf("user of call %s and project of call %s are there; calls %s and %s succeeded", u.Name, p.Name, wonUser, wonProject)
	}
}

// directoryGoodAndBad runs many writes at once, half of which fail: that undoes
// none of the others, and each is in effect once it has returned.
func directoryGoodAndBad(t *testing.T, s DirectoryStore) {
	const n = 50
	directoryAddProject(t, s, "p1")
	var wg sync.WaitGroup
	var want []storage.User
	for i := range n {
		id := fmt.Sprintf("u%02d", i)
		want = append(want, storage.User{ID: id})
		wg.Go(func() {
			err := s.AddUser(t.Context(), storage.UserRecord{User: storage.User{ID: id}, Credentials: directoryKeys(1)})
			if err == nil {
				err = s.Join(t.Context(), "p1", id)
			}
			if err != nil {
				t.Errorf("%s: %v", id, err)
				return
			}
			in, err := s.ProjectsOf(t.Context(), id)
			if err != nil || len(in) != 1 {
				t.Errorf("%s is in %v right after joining (%v)", id, in, err)
			}
		})
		wg.Go(func() { directoryIs(t, "Join", s.Join(t.Context(), "p1", "x"+id), storage.ErrNotFound) })
		wg.Go(func() {
			directoryIs(t, "AddProject", s.AddProject(t.Context(), storage.Project{ID: "p1"}), storage.ErrExists)
		})
		wg.Go(func() {
			half := []storage.Record{
				{User: &storage.UserRecord{User: storage.User{ID: "y" + id}, Credentials: directoryKeys(1)}},
				{Project: &storage.ProjectRecord{Project: storage.Project{ID: "p2"}, Members: []string{"nobody"}}},
			}
			directoryIs(t, "Import", s.Import(t.Context(), half), storage.ErrInvalid)
		})
	}
	wg.Wait()
	got, err := s.Users(t.Context())
	directoryOK(t, err)
	directoryEqual(t, "Users", got, want)
	got, err = s.Members(t.Context(), "p1")
	directoryOK(t, err)
	directoryEqual(t, "Members", got, want)
	projects, err := s.Projects(t.Context())
	directoryOK(t, err)
	directoryEqual(t, "Projects", projects, []storage.Project{{ID: "p1", Name: "P. p1"}})
}
