package storagetest

import (
	"fmt"
	"slices"
	"testing"

	"rollcall/storage"
)

// presenceMany takes a user of two hundred projects through everything that changes
// sets: two connections, invisibility, memberships that change meanwhile, and
// disconnecting twice.
func presenceMany(t *testing.T, s storage.Presence) {
	projects := make([]string, 200)
	for i := range projects {
		projects[i] = fmt.Sprintf("m%03d", i)
	}
	in := make(map[string]bool)
	check := func(what string, show storage.Show) {
		t.Helper()
		for _, p := range append([]string{"new"}, projects...) {
			var want []storage.OnlineUser
			if in[p] && show != storage.Offline {
				want = []storage.OnlineUser{{ID: "ann", Show: show}}
			}
			if got := presenceIn(t, s, p); !slices.Equal(got, want) {
				t.Fatalf("%s: %s holds %v, want %v", what, p, got, want)
			}
		}
	}
	name := func(list []string) {
		clear(in)
		for _, p := range list {
			in[p] = true
		}
	}
	name(projects)
	presenceSet(t, s, "ann", "a1", storage.Online, projects...)
	presenceSet(t, s, "ann", "a2", storage.Busy, projects[:10]...)
	check("with two connections", storage.Busy)
	for i := 0; i < len(projects); i += 2 {
		presenceOK(t, s.Leave(t.Context(), "ann", projects[i]))
		delete(in, projects[i])
	}
	presenceOK(t, s.Join(t.Context(), "ann", "new"))
	in["new"] = true
	check("after half of the memberships ended", storage.Busy)
	presenceRemove(t, s, "ann", "a2")
	check("with one connection", storage.Online)
	presenceSet(t, s, "ann", "a1", storage.Offline, projects...)
	check("invisible", storage.Offline)
	presenceOK(t, s.Leave(t.Context(), "ann", projects[1]))
	name(projects[50:])
	presenceSet(t, s, "ann", "a1", storage.Leave, projects[50:]...)
	check("visible again", storage.Leave)
	for _, p := range projects[50:] {
		presenceOK(t, s.Leave(t.Context(), "ann", p))
	}
	clear(in)
	check("in no project", storage.Leave)
	first := presenceRemove(t, s, "ann", "a1")
	for range 3 {
		again := presenceRemove(t, s, "ann", "a1")
		if want := (storage.PresenceChange{New: storage.Offline, Rev: first.Rev}); again.Old != want.Old || again.New != want.New || again.Rev != want.Rev {
			t.Fatalf("disconnected again: %+v after %+v", again, first)
		}
	}
	check("gone", storage.Offline)
}
