package sqlite_test

import (
	"fmt"
	"testing"

	"rollcall/storage"
	"rollcall/storage/sqlite"
	"rollcall/storage/storagetest"
)

// openTwo opens a file twice, as two processes would, and returns what gives the stores
// with nothing in them: to empty them is faster than to open others.
func openTwo(t *testing.T) func(t *testing.T) (s, other *sqlite.Store) {
	o := sqlite.Options{Path: newFile(t)}
	s, other, file := open(t, o), open(t, o), raw(t, o.Path)
	return func(t *testing.T) (*sqlite.Store, *sqlite.Store) {
		_, err := file.Exec("DELETE FROM kept; DELETE FROM roster; DELETE FROM documents")
		ok(t, err)
		return s, other
	}
}

func TestSpool(t *testing.T) {
	open := openTwo(t)
	storagetest.Spool(t, func(t *testing.T) (s, other storage.Spool) { return open(t) })
}

func TestRosters(t *testing.T) {
	open := openTwo(t)
	storagetest.Rosters(t, func(t *testing.T) (s, other storage.Rosters) { return open(t) })
}

func TestDocuments(t *testing.T) {
	open := openTwo(t)
	storagetest.Documents(t, func(t *testing.T) (s, other storage.Documents) { return open(t) })
}

// owns gives a user something of each kind.
func owns(t *testing.T, s *sqlite.Store, user string) {
	t.Helper()
	_, err := s.Keep(t.Context(), storage.KeepLimit{}, storage.Kept{User: user, ID: "1", Data: []byte("x")}, storage.Kept{User: user, ID: "2", Data: []byte("x")})
	ok(t, err)
	_, err = s.ChangeRosterItem(t.Context(), user, "bob@x", 0, func(i storage.RosterItem) (storage.RosterItem, bool) { return i, true })
	ok(t, err)
	ok(t, s.PutDocument(t.Context(), user, "vcard", []byte("x"), storage.DocumentLimit{}))
}

// owned says how much a user has of each kind, and what is counted.
func owned(t *testing.T, s *sqlite.Store, user string) string {
	t.Helper()
	list, err := s.Waiting(t.Context(), user, "", 10)
	ok(t, err)
	n, bytes, err := s.CountWaiting(t.Context(), user)
	ok(t, err)
	items, err := s.Roster(t.Context(), user)
	ok(t, err)
	_, err = s.Document(t.Context(), user, "vcard")
	return fmt.Sprintf("%d %d/%d %d %t", len(list), n, bytes, len(items), err == nil)
}

// TestUserLeavesNothing removes users: what was theirs is gone, and what came late does
// not reach another user of that id.
func TestUserLeavesNothing(t *testing.T) {
	s := open(t, sqlite.Options{Path: newFile(t)})
	const all, nothing = "2 2/2 1 true", "0 0/0 0 false"
	for _, user := range []string{"ann", "bob"} {
		addUser(t, s, user)
		owns(t, s, user)
	}
	ok(t, s.SetCredentials(t.Context(), "ann", *keys(7)))
	if got := owned(t, s, "ann"); got != all {
		t.Errorf("with another password: %s", got)
	}
	ok(t, s.RemoveUser(t.Context(), "ann"))
	if got := owned(t, s, "ann"); got != nothing {
		t.Errorf("removed: %s", got)
	}
	owns(t, s, "ann")
	addUser(t, s, "ann")
	if got := owned(t, s, "ann"); got != nothing {
		t.Errorf("added again: %s", got)
	}
	if got := owned(t, s, "bob"); got != all {
		t.Errorf("somebody else: %s", got)
	}
}

// What others keep of a removed user is a name, and nothing that the next one of that id
// could use.
func TestContactsOfRemovedUser(t *testing.T) {
	s := open(t, sqlite.Options{Path: newFile(t)})
	addUser(t, s, "ann")
	for _, user := range []string{"ann", "ann@other.example", "annA", "an"} {
		_, err := s.ChangeRosterItem(t.Context(), user, "bob@x", 0, func(i storage.RosterItem) (storage.RosterItem, bool) {
			i.Subscription = storage.SubscriptionBoth
			return i, true
		})
		ok(t, err)
	}
	for _, contact := range []string{"ann@x", "ann@y", "annA@x", "an@x", "ann"} {
		_, err := s.ChangeRosterItem(t.Context(), "bob", contact, 0, func(i storage.RosterItem) (storage.RosterItem, bool) {
			i.Name, i.Subscription, i.Ask, i.Approved, i.Request = "N", storage.SubscriptionFrom, true, true, []byte("x")
			return i, true
		})
		ok(t, err)
	}
	_, err := s.ChangeRosterItem(t.Context(), "carol", "ann@x", 0, func(i storage.RosterItem) (storage.RosterItem, bool) {
		i.Hidden, i.Request = true, []byte("x")
		return i, true
	})
	ok(t, err)
	ok(t, s.RemoveUser(t.Context(), "ann"))
	got := ""
	for _, user := range []string{"an", "ann", "ann@other.example", "annA", "bob", "carol"} {
		items, err := s.Roster(t.Context(), user)
		ok(t, err)
		for _, i := range items {
			got += fmt.Sprintf("%s: %s %s %d %t %t %d\n", user, i.Contact, i.Name, i.Subscription, i.Ask, i.Approved, len(i.Request))
		}
	}
	const want = `an: bob@x  3 false false 0
annA: bob@x  3 false false 0
bob: an@x N 2 true true 1
bob: ann N 2 true true 1
bob: ann@x N 0 false false 0
bob: ann@y N 0 false false 0
bob: annA@x N 2 true true 1
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
