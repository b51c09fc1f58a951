package storagetest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"rollcall/storage"
)

func directoryUsers(t *testing.T, open func(t *testing.T) DirectoryStore) {
	t.Run("unknown", func(t *testing.T) { usersUnknown(t, open(t)) })
	t.Run("add", func(t *testing.T) { usersAdd(t, open(t)) })
	t.Run("exists", func(t *testing.T) { usersExists(t, open(t)) })
	t.Run("ids", func(t *testing.T) { usersIDs(t, open(t)) })
	t.Run("credentials", func(t *testing.T) { usersCredentials(t, open(t)) })
	t.Run("caller's slices", func(t *testing.T) { usersCallersSlices(t, open(t)) })
	t.Run("mechanisms", func(t *testing.T) { usersMechanisms(t, open(t)) })
	t.Run("remove", func(t *testing.T) { usersRemove(t, open(t)) })
}

// directoryBadIDs are no canonical local parts (RFC 7622 section 3.3).
func directoryBadIDs() []string {
	return []string{
		"", "Ann", "a b", " ann", "a@b", "a/b", "a:b", "<ann>", "a&b", `"ann"`, "o'hara", "ann\x00", "\x00", "\xff", "ann\n",
		"\uff41nn",                // full-width a, which maps to a
		"e\u0301t",                // not in normal form C
		"henry\u2163",             // forbidden by PRECIS
		strings.Repeat("a", 1024), // one byte too many
	}
}

// directoryGoodIDs are some that are, in the order of their bytes.
func directoryGoodIDs() []string {
	return []string{
		"%20", "-", "0", "a", "a-b", "a.b", `a\20b`, "a_b", strings.Repeat("a", 1023), "ab", "b", "fußball", "z", "ét", "日本", "\U00020000",
	}
}

func usersUnknown(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann")
	for _, id := range append(directoryBadIDs(), "bob", "an", "ann2", "ann%", "a_n") {
		_, err := s.User(t.Context(), id)
		directoryIs(t, "User", err, storage.ErrNotFound)
		c, err := s.Credentials(t.Context(), id)
		directoryIs(t, "Credentials", err, storage.ErrNotFound)
		if len(c.SCRAM) > 0 || c.Plain != "" {
			t.Errorf("Credentials of %q: %v", id, c)
		}
		directoryIs(t, "SetCredentials", s.SetCredentials(t.Context(), id, *directoryKeys(2)), storage.ErrNotFound)
		directoryIs(t, "RemoveUser", s.RemoveUser(t.Context(), id), storage.ErrNotFound)
	}
}

// usersAdd adds users in no order; they are listed ordered by id, with names of
// every kind.
func usersAdd(t *testing.T, s DirectoryStore) {
	none, err := s.Users(t.Context())
	directoryOK(t, err)
	directoryEqual(t, "Users", none, nil)

	names := []string{"", "Ann", "  two  spaces ", `quotes ' " and \`, "日本 🎉", strings.Repeat("n", storage.MaxName), "'); DROP TABLE users; --"}
	tooLong := strings.Repeat("n", storage.MaxName+1)
	err = s.AddUser(t.Context(), storage.UserRecord{User: storage.User{ID: "long", Name: tooLong}, Credentials: directoryKeys(1)})
	if !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("a user with a name of %d bytes: %v", len(tooLong), err)
	}
	if err := s.AddProject(t.Context(), storage.Project{ID: "long", Name: tooLong}); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("a project with a name of %d bytes: %v", len(tooLong), err)
	}
	var want []storage.User
	for i, id := range directoryGoodIDs() {
		want = append(want, storage.User{ID: id, Name: names[i%len(names)]})
	}
	for i := range want {
		u := want[(i*7)%len(want)]
		directoryOK(t, s.AddUser(t.Context(), storage.UserRecord{User: u, Credentials: directoryKeys(1)}))
		got, err := s.User(t.Context(), u.ID)
		if err != nil || got != u {
			t.Errorf("User %q: %v, %v, want %v", u.ID, got, err, u)
		}
	}
	got, err := s.Users(t.Context())
	directoryOK(t, err)
	directoryEqual(t, "Users", got, want)
}

func usersExists(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann")
	before := directoryText(t, s)
	again := storage.UserRecord{User: storage.User{ID: "ann", Name: "another"}, Credentials: directoryKeys(2)}
	directoryIs(t, "AddUser", s.AddUser(t.Context(), again), storage.ErrExists)
	if after := directoryText(t, s); after != before {
		t.Errorf("now\n%swas\n%s", after, before)
	}
	// Users and projects do not share ids.
	directoryOK(t, s.AddProject(t.Context(), storage.Project{ID: "ann"}))
}

func usersIDs(t *testing.T, s DirectoryStore) {
	for _, id := range directoryBadIDs() {
		u := storage.UserRecord{User: storage.User{ID: id}, Credentials: directoryKeys(1)}
		if err := s.AddUser(t.Context(), u); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("AddUser %q: %v, want ErrInvalid", id, err)
		}
	}
	all, err := s.Users(t.Context())
	directoryOK(t, err)
	directoryEqual(t, "Users", all, nil)
}

func usersCredentials(t *testing.T, s DirectoryStore) {
	ann := storage.User{ID: "ann"}
	for what, c := range map[string]*storage.Credentials{"nil": nil, "empty": {}} {
		directoryIs(t, what, s.AddUser(t.Context(), storage.UserRecord{User: ann, Credentials: c}), storage.ErrInvalid)
	}
	_, err := s.User(t.Context(), "ann")
	directoryIs(t, "User", err, storage.ErrNotFound)

	directoryOK(t, s.AddUser(t.Context(), storage.UserRecord{User: ann, Credentials: directoryKeys(1)}))
	directoryAddUsers(t, s, "bob")
	usersHave(t, s, "ann", directoryKeys(1))
	directoryIs(t, "SetCredentials", s.SetCredentials(t.Context(), "ann", storage.Credentials{}), storage.ErrInvalid)
	usersHave(t, s, "ann", directoryKeys(1))
	directoryOK(t, s.SetCredentials(t.Context(), "ann", *directoryKeys(9)))
	usersHave(t, s, "ann", directoryKeys(9))
	usersHave(t, s, "bob", directoryKeys(1))
}

// usersHave checks a user's credentials.
func usersHave(t *testing.T, s DirectoryStore, id string, want *storage.Credentials) {
	t.Helper()
	got, err := s.Credentials(t.Context(), id)
	directoryOK(t, err)
	byMechanism := func(x, y storage.SCRAMKeys) int { return strings.Compare(x.Mechanism, y.Mechanism) }
	slices.SortFunc(got.SCRAM, byMechanism)
	slices.SortFunc(want.SCRAM, byMechanism)
	directoryEqual(t, "Credentials of "+id, got.SCRAM, want.SCRAM)
	if got.Plain != want.Plain {
		t.Errorf("Credentials of %s: password %q, want %q", id, got.Plain, want.Plain)
	}
}

// usersCallersSlices overwrites what was passed in and what came out.
func usersCallersSlices(t *testing.T, s DirectoryStore) {
	in := directoryKeys(1)
	directoryOK(t, s.AddUser(t.Context(), storage.UserRecord{User: storage.User{ID: "ann"}, Credentials: in}))
	for _, k := range in.SCRAM {
		clear(k.Salt)
		clear(k.StoredKey)
	}
	usersHave(t, s, "ann", directoryKeys(1))
	out, err := s.Credentials(t.Context(), "ann")
	directoryOK(t, err)
	for _, k := range out.SCRAM {
		clear(k.Salt)
		clear(k.ServerKey)
	}
	usersHave(t, s, "ann", directoryKeys(1))
}

// usersMechanisms wants of every mechanism that all users' credentials serve it.
func usersMechanisms(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann", "bob")
	listed := s.Mechanisms()
	for i, m := range listed {
		if slices.Contains(listed[:i], m) || !slices.Contains([]string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"}, m) {
			t.Errorf("%q is unknown or twice in %q", m, listed)
		}
		for _, id := range []string{"ann", "bob"} {
			c, err := s.Credentials(t.Context(), id)
			directoryOK(t, err)
			if !slices.ContainsFunc(c.SCRAM, func(k storage.SCRAMKeys) bool { return k.Mechanism == m }) {
				t.Errorf("%s has no keys for %s", id, m)
			}
		}
		// Nobody may be added whose keys are missing.
		lacking := directoryKeys(1)
		lacking.SCRAM = slices.DeleteFunc(lacking.SCRAM, func(k storage.SCRAMKeys) bool { return k.Mechanism == m })
		err := s.AddUser(t.Context(), storage.UserRecord{User: storage.User{ID: "cat"}, Credentials: lacking})
		directoryIs(t, "AddUser without "+m, err, storage.ErrInvalid)
		directoryIs(t, "SetCredentials without "+m, s.SetCredentials(t.Context(), "ann", *lacking), storage.ErrInvalid)
	}
}

func usersRemove(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann", "bob")
	directoryAddProject(t, s, "p1", "ann", "bob")
	directoryAddProject(t, s, "p2", "ann")
	directoryOK(t, s.RemoveUser(t.Context(), "ann"))
	_, err := s.User(t.Context(), "ann")
	directoryIs(t, "User", err, storage.ErrNotFound)
	_, err = s.Credentials(t.Context(), "ann")
	directoryIs(t, "Credentials", err, storage.ErrNotFound)
	directoryIs(t, "RemoveUser again", s.RemoveUser(t.Context(), "ann"), storage.ErrNotFound)
	projectsHold(t, s, "p1", "bob")
	projectsHold(t, s, "p2")

	// Nothing is left for another user of that id.
	u := storage.UserRecord{User: storage.User{ID: "ann"}, Credentials: directoryKeys(5)}
	directoryOK(t, s.AddUser(t.Context(), u))
	usersHave(t, s, "ann", directoryKeys(5))
	of, err := s.ProjectsOf(t.Context(), "ann")
	directoryOK(t, err)
	directoryEqual(t, "ProjectsOf", of, nil)
}
