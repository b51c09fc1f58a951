package storagetest

import (
	"context"
	"strings"
	"testing"

	"rollcall/storage"
)

func directoryImport(t *testing.T, open func(t *testing.T) DirectoryStore) {
	t.Run("new", func(t *testing.T) { importNew(t, open(t)) })
	t.Run("twice", func(t *testing.T) { importTwice(t, open(t)) })
	t.Run("update", func(t *testing.T) { importUpdate(t, open(t)) })
	t.Run("nothing", func(t *testing.T) { importNothing(t, open(t)) })
	t.Run("all or none", func(t *testing.T) { importAllOrNone(t, open) })
	t.Run("caller's slices", func(t *testing.T) { importCallersSlices(t, open(t)) })
}

// importUser is a record with the names of directoryAddUsers; a seed of 0 stands
// for nil credentials.
func importUser(id string, seed byte) storage.Record {
	u := storage.UserRecord{User: storage.User{ID: id, Name: "N. " + id}}
	if seed != 0 {
		u.Credentials = directoryKeys(seed)
	}
	return storage.Record{User: &u}
}

// importProject is a record with the names of directoryAddProject.
func importProject(id string, members ...string) storage.Record {
	p := storage.ProjectRecord{Project: storage.Project{ID: id, Name: "P. " + id}, Members: members}
	return storage.Record{Project: &p}
}

// importNew has projects before the users they name, members named twice and a
// member who was there before.
func importNew(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "dan")
	directoryOK(t, s.Import(t.Context(), []storage.Record{
		importProject("p1", "bob", "ann", "dan", "bob"),
		importProject("p2"),
		importUser("bob", 2), importUser("ann", 3),
		importProject("ann", "ann"),
	}))
	projectsHold(t, s, "p1", "ann", "bob", "dan")
	projectsHold(t, s, "p2")
	projectsOf(t, s, "ann", "ann", "p1")
	usersHave(t, s, "ann", directoryKeys(3))
	usersHave(t, s, "bob", directoryKeys(2))
	usersHave(t, s, "dan", directoryKeys(1))
}

func importTwice(t *testing.T, s DirectoryStore) {
	records := []storage.Record{
		importUser("ann", 1), importUser("bob", 2), importProject("p1", "ann", "bob"), importProject("p2", "bob"),
	}
	directoryOK(t, s.Import(t.Context(), records))
	before := directoryText(t, s)
	w := watch(t, s)
	for range 2 {
		directoryOK(t, s.Import(t.Context(), records))
	}
	if after := directoryText(t, s); after != before {
		t.Errorf("now\n%swas\n%s", after, before)
	}
	// The same by other calls: nothing changes either.
	directoryOK(t, s.Join(t.Context(), "p1", "ann"))
	directoryOK(t, s.SetCredentials(t.Context(), "ann", *directoryKeys(1)))
	w.told(t)
}

// importUpdate imports over what is there: what is named is as named, the rest
// stays, and what changed is told.
func importUpdate(t *testing.T, s DirectoryStore) {
	directoryOK(t, s.Import(t.Context(), []storage.Record{
		importUser("ann", 1), importUser("bob", 2), importUser("cat", 3), importUser("dan", 4), importUser("eve", 5),
		importProject("p1", "ann", "bob"), importProject("p2", "ann", "bob"), importProject("p3", "ann"), importProject("p4", "ann"),
	}))
	renamed, both, p3 := importUser("ann", 0), importUser("dan", 8), importProject("p3", "ann")
	renamed.User.Name, both.User.Name, p3.Project.Name = "Anna", "Danny", "Third"
	w := watch(t, s)
	directoryOK(t, s.Import(t.Context(), []storage.Record{
		renamed, importUser("bob", 9), importUser("cat", 3), both, importUser("fay", 6),
		importProject("p1", "bob", "cat", "fay"), p3, importProject("p4"),
	}))
	w.toldInAnyOrder(t,
		storage.Change{Kind: storage.UserChanged, User: "ann"},
		storage.Change{Kind: storage.UserChanged, User: "bob"},
		storage.Change{Kind: storage.UserChanged, User: "dan"},
		storage.Change{Kind: storage.MemberRemoved, User: "ann", Project: "p1"},
		storage.Change{Kind: storage.MemberAdded, User: "cat", Project: "p1"},
		storage.Change{Kind: storage.MemberAdded, User: "fay", Project: "p1"},
		storage.Change{Kind: storage.ProjectChanged, Project: "p3"},
		storage.Change{Kind: storage.MemberRemoved, User: "ann", Project: "p4"},
	)
	for id, want := range map[string]struct {
		name string
		seed byte
	}{
		"ann": {"Anna", 1}, "bob": {"N. bob", 9}, "cat": {"N. cat", 3}, "dan": {"Danny", 8}, "eve": {"N. eve", 5}, "fay": {"N. fay", 6},
	} {
		u, err := s.User(t.Context(), id)
		if err != nil || u.Name != want.name {
			t.Errorf("User %s: %v, %v, want the name %q", id, u, err, want.name)
		}
		usersHave(t, s, id, directoryKeys(want.seed))
	}
	projectsHold(t, s, "p1", "bob", "cat", "fay")
	projectsHold(t, s, "p4")
	projectsOf(t, s, "bob", "p1", "p2")
	p, err := s.Project(t.Context(), "p3")
	if err != nil || p.Name != "Third" {
		t.Errorf("Project p3: %v, %v", p, err)
	}
	of, err := s.ProjectsOf(t.Context(), "ann")
	directoryOK(t, err)
	directoryEqual(t, "ProjectsOf ann", of, []storage.Project{{ID: "p2", Name: "P. p2"}, {ID: "p3", Name: "Third"}})
}

func importNothing(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann")
	before := directoryText(t, s)
	directoryOK(t, s.Import(t.Context(), nil))
	if after := directoryText(t, s); after != before {
		t.Errorf("now\n%swas\n%s", after, before)
	}
}

// importAllOrNone puts one bad record behind good ones that would change
// something of every kind.
func importAllOrNone(t *testing.T, open func(t *testing.T) DirectoryStore) {
	twice := func(r storage.Record, name string) storage.Record {
		if r.User != nil {
			r.User.Name = name
		} else {
			r.Project.Name = name
		}
		return r
	}
	tests := map[string][]storage.Record{
		"unknown member":         {importProject("p3", "ann", "nobody")},
		"member of no canon":     {importProject("p3", "Ann")},
		"new, no credentials":    {importUser("eve", 0)},
		"empty credentials":      {{User: &storage.UserRecord{User: storage.User{ID: "eve"}, Credentials: &storage.Credentials{}}}},
		"neither":                {{}},
		"both":                   {{User: importUser("eve", 1).User, Project: importProject("p3").Project}},
		"user id":                {importUser("Eve", 1)},
		"project id":             {importProject("P3")},
		"long id":                {importProject(strings.Repeat("p", 1024))},
		"contradicting users":    {importUser("eve", 1), twice(importUser("eve", 1), "Eva")},
		"contradicting projects": {importProject("p3"), twice(importProject("p3"), "Third")},
	}
	for name, bad := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			directoryAddUsers(t, s, "ann", "bob")
			directoryAddProject(t, s, "p1", "ann")
			before := directoryText(t, s)
			w := watch(t, s)
			good := []storage.Record{
				importUser("cat", 1), twice(importUser("ann", 7), "Anna"), twice(importProject("p1", "bob", "cat"), "First"), importProject("p2"),
			}
			directoryIs(t, "Import", s.Import(t.Context(), append(good, bad...)), storage.ErrInvalid)
			if after := directoryText(t, s); after != before {
				t.Errorf("now\n%swas\n%s", after, before)
			}
			w.told(t)
		})
	}
}

// importCallersSlices ends the context of imports before, while and after they
// are written and then overwrites the records. The race detector sees whether
// they are still in use; what is there is all of an import, as it was passed.
func importCallersSlices(t *testing.T, s DirectoryStore) {
	for i := range 30 {
		records := []storage.Record{importUser("ann", 1), importUser("bob", 2), importProject("p1", "ann", "bob")}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Import(ctx, records) }()
		for range i % 3 { // a read takes about as long as a step of the write
			_, err := s.Projects(t.Context())
			directoryOK(t, err)
		}
		cancel()
		if err := <-done; err != nil {
			directoryIs(t, "Import", err, context.Canceled)
		}
		for _, r := range records {
			if r.User != nil {
				clear(r.User.Credentials.SCRAM)
			} else {
				clear(r.Project.Members)
			}
		}
		users, err := s.Users(t.Context())
		directoryOK(t, err)
		if len(users) == 0 {
			continue
		}
		usersHave(t, s, "ann", directoryKeys(1))
		usersHave(t, s, "bob", directoryKeys(2))
		projectsHold(t, s, "p1", "ann", "bob")
		for _, id := range []string{"ann", "bob"} {
			directoryOK(t, s.RemoveUser(t.Context(), id))
		}
	}
}
