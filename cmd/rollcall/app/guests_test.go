package app

import (
	"errors"
	"slices"
	"testing"
	"time"

	"rollcall/conf"
	"rollcall/storage"
)

// TestGuestsOwnNothing: what modules want to keep for anonymous users does not fit.
func TestGuestsOwnNothing(t *testing.T) {
	const guest = "anonymous-abcdefghijklmnopqrstuvwxyz"
	c := conf.Default()
	c.DataDir = t.TempDir()
	store, err := OpenStore(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &stores{spool: store, rosters: store, documents: store}
	s.keepNoGuests()
	ctx := t.Context()
	kept := func(user, id string) storage.Kept {
		return storage.Kept{User: user, ID: id, At: time.Unix(1e9, 0), Data: []byte("<message/>")}
	}
	refused, err := s.spool.Keep(ctx, storage.KeepLimit{}, kept(guest, "1"), kept("alice", "2"), kept(guest, "3"))
	if err != nil || !slices.Equal(refused, []string{"1", "3"}) {
		t.Errorf("Keep refused %v, %v", refused, err)
	}
	if refused, err = s.spool.Keep(ctx, storage.KeepLimit{}, kept(guest, "4")); err != nil || !slices.Equal(refused, []string{"4"}) {
		t.Errorf("Keep refused %v, %v", refused, err)
	}
	add := func(i storage.RosterItem) (storage.RosterItem, bool) { i.Name = "x"; return i, true }
	drop := func(i storage.RosterItem) (storage.RosterItem, bool) { return i, false }
	for _, tt := range []struct {
		user, contact string
		f             func(storage.RosterItem) (storage.RosterItem, bool)
		want          error
	}{
		{"alice", "bob@localhost", add, nil},
		{guest, "bob@localhost", add, storage.ErrFull},
		{"alice", guest + "@localhost", add, storage.ErrFull},
		{"alice", guest + "@localhost", drop, nil},
	} {
		if _, err := s.rosters.ChangeRosterItem(ctx, tt.user, tt.contact, 0, tt.f); !errors.Is(err, tt.want) {
			t.Errorf("%s adds %s: %v", tt.user, tt.contact, err)
		}
	}
	for _, tt := range []struct {
		user, data string
		want       error
	}{{"alice", "x", nil}, {guest, "x", storage.ErrFull}, {guest + "@other.example", "x", storage.ErrFull}, {guest, "", nil}} {
		if err := s.documents.PutDocument(ctx, tt.user, "key", []byte(tt.data), storage.DocumentLimit{}); !errors.Is(err, tt.want) {
			t.Errorf("%s puts %q: %v", tt.user, tt.data, err)
		}
	}
	for _, user := range []string{"alice", guest} {
		items, err := s.rosters.Roster(ctx, user)
		if err != nil || (len(items) == 1) != (user == "alice") {
			t.Errorf("%s has the items %v, %v", user, items, err)
		}
	}
}
