package storagetest

import (
	"errors"
	"testing"

	"rollcall/storage"
)

func directoryProjects(t *testing.T, open func(t *testing.T) DirectoryStore) {
	t.Run("unknown", func(t *testing.T) { projectsUnknown(t, open(t)) })
	t.Run("add", func(t *testing.T) { projectsAdd(t, open(t)) })
	t.Run("exists", func(t *testing.T) { projectsExists(t, open(t)) })
	t.Run("ids", func(t *testing.T) { projectsIDs(t, open(t)) })
	t.Run("join and leave", func(t *testing.T) { projectsJoinLeave(t, open(t)) })
	t.Run("order", func(t *testing.T) { projectsOrder(t, open(t)) })
	t.Run("remove", func(t *testing.T) { projectsRemove(t, open(t)) })
}

// projectsHold checks who the members of a project are, with the names of
// directoryAddUsers.
func projectsHold(t *testing.T, s storage.Projects, projectID string, userIDs ...string) {
	t.Helper()
	got, err := s.Members(t.Context(), projectID)
	directoryOK(t, err)
	var want []storage.User
	for _, id := range userIDs {
		want = append(want, storage.User{ID: id, Name: "N. " + id})
	}
	directoryEqual(t, "Members of "+projectID, got, want)
}

// projectsOf checks a user's projects, with the names of directoryAddProject.
func projectsOf(t *testing.T, s storage.Projects, userID string, projectIDs ...string) {
	t.Helper()
	got, err := s.ProjectsOf(t.Context(), userID)
	directoryOK(t, err)
	var want []storage.Project
	for _, id := range projectIDs {
		want = append(want, storage.Project{ID: id, Name: "P. " + id})
	}
	directoryEqual(t, "ProjectsOf "+userID, got, want)
}

func projectsUnknown(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann")
	directoryAddProject(t, s, "p1", "ann")
	for _, id := range append(directoryBadIDs(), "p2", "p", "p11", "p%", "p_", "ann") {
		_, err := s.Project(t.Context(), id)
		directoryIs(t, "Project", err, storage.ErrNotFound)
		_, err = s.Members(t.Context(), id)
		directoryIs(t, "Members", err, storage.ErrNotFound)
		directoryIs(t, "RemoveProject", s.RemoveProject(t.Context(), id), storage.ErrNotFound)
		directoryIs(t, "Join", s.Join(t.Context(), id, "ann"), storage.ErrNotFound)
		directoryIs(t, "Leave", s.Leave(t.Context(), id, "ann"), storage.ErrNotFound)
	}
	for _, id := range append(directoryBadIDs(), "bob", "p1") {
		projectsOf(t, s, id)
		directoryIs(t, "Join", s.Join(t.Context(), "p1", id), storage.ErrNotFound)
		directoryIs(t, "Leave", s.Leave(t.Context(), "p1", id), storage.ErrNotFound)
	}
	directoryIs(t, "Join", s.Join(t.Context(), "p2", "bob"), storage.ErrNotFound)
	projectsHold(t, s, "p1", "ann")
}

func projectsAdd(t *testing.T, s DirectoryStore) {
	none, err := s.Projects(t.Context())
	directoryOK(t, err)
	directoryEqual(t, "Projects", none, nil)

	var want []storage.Project
	for i, id := range directoryGoodIDs() {
		want = append(want, storage.Project{ID: id, Name: []string{"", "One", "日本 ' \""}[i%3]})
	}
	for i := range want {
		p := want[(i*7)%len(want)]
		directoryOK(t, s.AddProject(t.Context(), p))
		got, err := s.Project(t.Context(), p.ID)
		if err != nil || got != p {
			t.Errorf("Project %q: %v, %v, want %v", p.ID, got, err, p)
		}
		projectsHold(t, s, p.ID)
	}
	got, err := s.Projects(t.Context())
	directoryOK(t, err)
	directoryEqual(t, "Projects", got, want)
}

func projectsExists(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann")
	directoryAddProject(t, s, "p1", "ann")
	before := directoryText(t, s)
	directoryIs(t, "AddProject", s.AddProject(t.Context(), storage.Project{ID: "p1", Name: "other"}), storage.ErrExists)
	if after := directoryText(t, s); after != before {
		t.Errorf("now\n%swas\n%s", after, before)
	}
}

func projectsIDs(t *testing.T, s DirectoryStore) {
	for _, id := range directoryBadIDs() {
		if err := s.AddProject(t.Context(), storage.Project{ID: id}); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("AddProject %q: %v, want ErrInvalid", id, err)
		}
	}
	all, err := s.Projects(t.Context())
	directoryOK(t, err)
	directoryEqual(t, "Projects", all, nil)
}

func projectsJoinLeave(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann", "bob")
	directoryAddProject(t, s, "p1")
	directoryAddProject(t, s, "p2")
	for range 2 { // the second time changes nothing
		directoryOK(t, s.Join(t.Context(), "p1", "ann"))
		projectsHold(t, s, "p1", "ann")
		projectsHold(t, s, "p2")
		projectsOf(t, s, "ann", "p1")
		projectsOf(t, s, "bob")
	}
	directoryIs(t, "Leave by no member", s.Leave(t.Context(), "p1", "bob"), storage.ErrNotFound)
	directoryIs(t, "Leave another project", s.Leave(t.Context(), "p2", "ann"), storage.ErrNotFound)
	directoryOK(t, s.Join(t.Context(), "p1", "bob"))
	directoryOK(t, s.Join(t.Context(), "p2", "ann"))
	directoryOK(t, s.Leave(t.Context(), "p1", "ann"))
	directoryIs(t, "Leave twice", s.Leave(t.Context(), "p1", "ann"), storage.ErrNotFound)
	projectsHold(t, s, "p1", "bob")
	projectsHold(t, s, "p2", "ann")
	projectsOf(t, s, "ann", "p2")
	directoryOK(t, s.Join(t.Context(), "p1", "ann"))
	projectsHold(t, s, "p1", "ann", "bob")
}

// projectsOrder joins in no order; both lists are ordered by id.
func projectsOrder(t *testing.T, s DirectoryStore) {
	ids := directoryGoodIDs()
	for i := range ids {
		id := ids[(i*5)%len(ids)]
		directoryAddUsers(t, s, id)
		directoryAddProject(t, s, id)
	}
	for i := range ids {
		id := ids[(i*11)%len(ids)]
		directoryOK(t, s.Join(t.Context(), "z", id))
		if id != "z" {
			directoryOK(t, s.Join(t.Context(), id, "z"))
		}
	}
	projectsHold(t, s, "z", ids...)
	projectsOf(t, s, "z", ids...)
	projectsOf(t, s, "ab", "z")
}

func projectsRemove(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann", "bob")
	directoryAddProject(t, s, "p1", "ann", "bob")
	directoryAddProject(t, s, "p2", "ann")
	directoryOK(t, s.RemoveProject(t.Context(), "p1"))
	_, err := s.Project(t.Context(), "p1")
	directoryIs(t, "Project", err, storage.ErrNotFound)
	directoryIs(t, "RemoveProject again", s.RemoveProject(t.Context(), "p1"), storage.ErrNotFound)
	projectsOf(t, s, "ann", "p2")
	projectsOf(t, s, "bob")
	usersHave(t, s, "bob", directoryKeys(1))

	// Nothing is left for another project of that id.
	directoryAddProject(t, s, "p1")
	projectsHold(t, s, "p1")
	projectsHold(t, s, "p2", "ann")
}
