package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"rollcall/storage"
)

// Presence checks everything that storage.Presence promises. open returns an
// empty store that nothing else writes to, and closes it with t.Cleanup. Times
// that differ do so by at least a millisecond.
func Presence(t *testing.T, open func(t *testing.T) storage.Presence) {
	t.Run("aggregate", func(t *testing.T) { presenceTables(t, open) })
	t.Run("projects", func(t *testing.T) { presenceCounts(t, open) })
	t.Run("many projects", func(t *testing.T) { presenceMany(t, open(t)) })
	t.Run("revision", func(t *testing.T) { presenceRevision(t, open(t)) })
	t.Run("status", func(t *testing.T) { presenceStatus(t, open(t)) })
	t.Run("online in", func(t *testing.T) { presenceOnlineIn(t, open(t)) })
	t.Run("odd ids", func(t *testing.T) { presenceOddIDs(t, open(t)) })
	t.Run("caller's slices", func(t *testing.T) { presenceCallersSlices(t, open(t)) })
	t.Run("ended context", func(t *testing.T) { presenceEndedContext(t, open(t)) })
	t.Run("random calls", func(t *testing.T) { presenceRandom(t, open) })
	t.Run("concurrent users", func(t *testing.T) { presenceConcurrentUsers(t, open(t)) })
	t.Run("concurrent connections", func(t *testing.T) { presenceConcurrentConns(t, open(t)) })
}

// presenceStep is one call about the user "ann" and what holds after it.
type presenceStep struct {
	call string // "set", "remove", "join" or "leave"

	conn     string // of set and remove
	show     storage.Show
	priority int8
	at       int // milliseconds
	projects []string

	project string // of join and leave

	old, now storage.Show // of set and remove
	in       string       // which of p1, p2 and p3 have ann in their online set
}

func presenceTables(t *testing.T, open func(t *testing.T) storage.Presence) {
	for _, tt := range presenceCases() {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			var show storage.Show
			for i, step := range tt.steps {
				what := fmt.Sprintf("step %d (%s)", i+1, step.call)
				switch step.call {
				case "set", "remove":
					got := presenceDo(t, s, step)
					if got.Old != step.old || got.New != step.now {
						t.Fatalf("%s: changed from %d to %d, want %d to %d", what, got.Old, got.New, step.old, step.now)
					}
					show = step.now
				case "join":
					presenceOK(t, s.Join(t.Context(), "ann", step.project))
				case "leave":
					presenceOK(t, s.Leave(t.Context(), "ann", step.project))
				default:
					t.Fatalf("no call %q", step.call)
				}
				presenceHolds(t, s, what, show, step.in)
			}
		})
	}
}

func presenceDo(t *testing.T, s storage.Presence, step presenceStep) storage.PresenceChange {
	t.Helper()
	if step.call == "remove" {
		got, err := s.Remove(t.Context(), "ann", step.conn)
		presenceOK(t, err)
		return got
	}
	c := storage.ConnState{
		Conn: step.conn, User: "ann", Resource: "of-" + step.conn,
		Show: step.show, Priority: step.priority, At: presenceTime(step.at),
	}
	got, err := s.Set(t.Context(), c, step.projects)
	presenceOK(t, err)
	return got
}

// presenceHolds checks ann's aggregate and which of three projects she is in.
func presenceHolds(t *testing.T, s storage.Presence, what string, show storage.Show, in string) {
	t.Helper()
	if got := presenceShow(t, s, "ann"); got != show {
		t.Fatalf("%s: Status says %d, want %d", what, got, show)
	}
	found := ""
	for _, p := range []string{"p1", "p2", "p3"} {
		for _, u := range presenceIn(t, s, p) {
			if u != (storage.OnlineUser{ID: "ann", Show: show}) {
				t.Fatalf("%s: %s holds %+v, want ann with %d", what, p, u, show)
			}
			found += " " + p
		}
	}
	if in != "" {
		in = " " + in
	}
	if found != in {
		t.Fatalf("%s: ann is in%s, want in%s", what, found, in)
	}
}

// presenceCounts brings users of zero, one and many projects online and takes
// them off again.
func presenceCounts(t *testing.T, open func(t *testing.T) storage.Presence) {
	for _, n := range []int{0, 1, 200} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := open(t)
			projects := make([]string, n)
			for i := range projects {
				projects[i] = fmt.Sprintf("p%d", i)
			}
			presenceSet(t, s, "ann", "a1", storage.Busy, projects...)
			presenceSet(t, s, "bob", "b1", storage.Online, projects...)
			want := []storage.OnlineUser{{ID: "ann", Show: storage.Busy}, {ID: "bob", Show: storage.Online}}
			for _, p := range projects {
				if got := presenceIn(t, s, p); !slices.Equal(got, want) {
					t.Fatalf("%s holds %v, want %v", p, got, want)
				}
			}
			if got := presenceRemove(t, s, "ann", "a1"); got.Old != storage.Busy || got.New != storage.Offline {
				t.Fatalf("removal changed %d to %d", got.Old, got.New)
			}
			for _, p := range projects {
				if got := presenceIn(t, s, p); !slices.Equal(got, want[1:]) {
					t.Fatalf("after ann left, %s holds %v, want %v", p, got, want[1:])
				}
			}
			presenceRemove(t, s, "bob", "b1")
			for _, p := range projects {
				if got := presenceIn(t, s, p); len(got) != 0 {
					t.Fatalf("after all left, %s holds %v", p, got)
				}
			}
		})
	}
}

// presenceRevision checks that the revision grows with every change of an
// aggregate, stays with calls of Set and Remove that change none, and never
// shrinks.
func presenceRevision(t *testing.T, s storage.Presence) {
	_, last, err := s.OnlineIn(t.Context(), "p1")
	presenceOK(t, err)
	set := func(conn string, show storage.Show) func() storage.PresenceChange {
		return func() storage.PresenceChange { return presenceSet(t, s, "ann", conn, show, "p1") }
	}
	remove := func(user, conn string) func() storage.PresenceChange {
		return func() storage.PresenceChange { return presenceRemove(t, s, user, conn) }
	}
	for i, step := range []struct {
		call  func() storage.PresenceChange
		grows bool
	}{
		{set("a1", storage.Offline), false},
		{set("a1", storage.Online), true},
		{set("a1", storage.Online), false},
		{set("a1", storage.Leave), true},
		{set("a2", storage.Leave), false},
		{set("a2", storage.Offline), false},
		{remove("ann", "a2"), false},
		{remove("ann", "none"), false},
		{remove("none", "a1"), false},
		{remove("ann", "a1"), true},
		{remove("ann", "a1"), false},
		{set("a3", storage.Busy), true},
		{set("a3", storage.Offline), true},
	} {
		got := step.call()
		if step.grows && got.Rev <= last || !step.grows && got.Rev != last {
			t.Fatalf("step %d: revision %d after %d, want growth %v", i+1, got.Rev, last, step.grows)
		}
		if (got.Old != got.New) != step.grows {
			t.Fatalf("step %d: changed %d to %d, want a change %v", i+1, got.Old, got.New, step.grows)
		}
		_, rev, err := s.OnlineIn(t.Context(), "p1")
		presenceOK(t, err)
		if rev != got.Rev {
			t.Fatalf("step %d: OnlineIn tells revision %d, the call told %d", i+1, rev, got.Rev)
		}
		last = rev
	}
	presenceOK(t, s.Join(t.Context(), "ann", "p2"))
	presenceOK(t, s.Leave(t.Context(), "ann", "p2"))
	if _, rev, err := s.OnlineIn(t.Context(), "p2"); err != nil || rev < last {
		t.Fatalf("revision %d after %d, error %v", rev, last, err)
	}
}

func presenceStatus(t *testing.T, s storage.Presence) {
	presenceSet(t, s, "ann", "a1", storage.Leave)
	presenceSet(t, s, "bob", "b1", storage.Online, "p1")
	presenceSet(t, s, "cyd", "c1", storage.Busy, "p1", "p2")
	presenceSet(t, s, "dee", "d1", storage.Offline, "p1")
	for _, tt := range []struct {
		users []string
		want  []storage.Show
	}{
		{nil, nil},
		{[]string{"none"}, []storage.Show{0}},
		{[]string{"ann", "bob", "cyd", "dee"}, []storage.Show{3, 1, 2, 0}},
		{[]string{"dee", "cyd", "none", "ann", "bob", "cyd"}, []storage.Show{0, 2, 0, 3, 1, 2}},
	} {
		got, err := s.Status(t.Context(), tt.users)
		presenceOK(t, err)
		if !slices.Equal(got, tt.want) {
			t.Errorf("Status(%q) = %v, want %v", tt.users, got, tt.want)
		}
	}
}

// presenceOnlineIn brings users online in no order and checks that the set has
// one: bytes of the id.
func presenceOnlineIn(t *testing.T, s storage.Presence) {
	if got := presenceIn(t, s, "p1"); len(got) != 0 {
		t.Fatalf("a project nobody is in holds %v", got)
	}
	ids := []string{"m", "b", "a.b", "é", "10", "z", "9", "a", "ab", "ä"}
	want := make([]storage.OnlineUser, len(ids))
	for i, id := range ids {
		want[i] = storage.OnlineUser{ID: id, Show: storage.Show(1 + i%3)}
		presenceSet(t, s, id, "c-"+id, want[i].Show, "p1")
	}
	presenceSet(t, s, "hidden", "h1", storage.Offline, "p1")
	presenceSet(t, s, "elsewhere", "e1", storage.Online, "p2")
	slices.SortFunc(want, presenceByID)
	if got := presenceIn(t, s, "p1"); !slices.Equal(got, want) {
		t.Errorf("OnlineIn = %v, want %v", got, want)
	}
}

// presenceOddIDs checks that ids which look alike once joined are kept apart.
func presenceOddIDs(t *testing.T, s storage.Presence) {
	presenceSet(t, s, "a|b", "c", storage.Online, "p|1")
	presenceSet(t, s, "a", "b|c", storage.Busy, "p")
	presenceSet(t, s, "a:b", "c d", storage.Leave, "p:1", "1")
	for project, want := range map[string][]storage.OnlineUser{
		"p|1": {{ID: "a|b", Show: storage.Online}},
		"p":   {{ID: "a", Show: storage.Busy}},
		"p:1": {{ID: "a:b", Show: storage.Leave}},
		"1":   {{ID: "a:b", Show: storage.Leave}},
		"":    nil,
	} {
		if got := presenceIn(t, s, project); !slices.Equal(got, want) {
			t.Errorf("%q holds %v, want %v", project, got, want)
		}
	}
	if got := presenceRemove(t, s, "a", "c"); got.New != storage.Busy {
		t.Errorf("another user's connection: aggregate %d, want %d", got.New, storage.Busy)
	}
	if got := presenceRemove(t, s, "a|b", "c"); got.New != storage.Offline {
		t.Errorf("aggregate %d after the only connection went", got.New)
	}
}

// presenceCallersSlices checks that neither side sees the other's later writes.
func presenceCallersSlices(t *testing.T, s storage.Presence) {
	projects := []string{"p1", "p2"}
	presenceSet(t, s, "ann", "a1", storage.Online, projects...)
	projects[0], projects[1] = "p3", "p3"
	in := presenceIn(t, s, "p1")
	if len(in) != 1 {
		t.Fatalf("p1 holds %v, want ann", in)
	}
	in[0] = storage.OnlineUser{ID: "eve", Show: storage.Busy}
	if in := presenceIn(t, s, "p1"); !slices.Equal(in, []storage.OnlineUser{{ID: "ann", Show: storage.Online}}) {
		t.Errorf("p1 holds %v, want ann", in)
	}
	presenceRemove(t, s, "ann", "a1")
	presenceHolds(t, s, "after removal", storage.Offline, "")
}

func presenceEndedContext(t *testing.T, s storage.Presence) {
	presenceSet(t, s, "ann", "a1", storage.Online, "p1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	late, done := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer done()
	for _, c := range []struct {
		ctx  context.Context
		want error
	}{{ctx, context.Canceled}, {late, context.DeadlineExceeded}} {
		for name, call := range map[string]func() error{
			"Set": func() error {
				_, err := s.Set(c.ctx, storage.ConnState{Conn: "a1", User: "ann", Show: storage.Busy}, nil)
				return err
			},
			"Remove":   func() error { _, err := s.Remove(c.ctx, "ann", "a1"); return err },
			"Join":     func() error { return s.Join(c.ctx, "ann", "p2") },
			"Leave":    func() error { return s.Leave(c.ctx, "ann", "p1") },
			"Status":   func() error { _, err := s.Status(c.ctx, []string{"ann"}); return err },
			"OnlineIn": func() error { _, _, err := s.OnlineIn(c.ctx, "p1"); return err },
		} {
			if err := call(); !errors.Is(err, c.want) {
				t.Errorf("%s with an ended context: %v, want %v", name, err, c.want)
			}
		}
	}
	presenceHolds(t, s, "after calls that had to fail", storage.Online, "p1")
}
