package storagetest

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/storage"
)

// watchPatience is how long a change may take to be told: the second that is
// promised, and some for a machine that is busy.
const watchPatience = 10 * time.Second

func directoryWatch(t *testing.T, open func(t *testing.T) DirectoryStore) {
	t.Run("kinds", func(t *testing.T) { watchKinds(t, open(t)) })
	t.Run("removals", func(t *testing.T) { watchRemovals(t, open(t)) })
	t.Run("no change", func(t *testing.T) { watchNoChange(t, open(t)) })
	t.Run("only later ones", func(t *testing.T) { watchOnlyLater(t, open(t)) })
	t.Run("end", func(t *testing.T) { watchEnd(t, open(t)) })
	t.Run("end in the callback", func(t *testing.T) { watchEndInside(t, open(t)) })
	t.Run("two watchers", func(t *testing.T) { watchTwo(t, open(t)) })
	t.Run("committed when told", func(t *testing.T) { watchCommitted(t, open(t)) })
	t.Run("order", func(t *testing.T) { watchOrder(t, open(t)) })
	t.Run("other store", func(t *testing.T) { watchOther(t, open(t)) })
}

// watched collects what a store tells. Its mark, a project that is there for that
// alone, divides what was before from what comes after.
type watched struct {
	s       DirectoryStore
	changes chan storage.Change
	mark    string
	marks   int
}

const watchMarks = "mark-"

// watch starts to watch and returns when the store is watching for sure. also
// is called first for every change, marks included.
func watch(t *testing.T, s DirectoryStore, also ...func(storage.Change)) *watched {
	t.Helper()
	w := &watched{s: s, changes: make(chan storage.Change, 10_000), mark: watchMarks + strings.ToLower(rand.Text())}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Watch(ctx, func(c storage.Change) {
			for _, f := range also {
				f(c)
			}
			w.changes <- c
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := watchWait(t, done); err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	// Changes before Watch is under way are not told, so make some until one is.
	late := time.After(watchPatience)
	for {
		w.change(t)
		select {
		case <-w.changes:
			w.told(t) // forget the other marks
			return w
		case err := <-done:
			done <- err
			t.Fatalf("Watch ended: %v", err)
		case <-late:
			t.Fatal("nothing is told")
		default:
		}
	}
}

// watchWait receives from a channel, but not forever.
func watchWait[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(watchPatience):
		t.Fatal("nothing was told in time")
	}
	return v
}

// change changes the mark.
func (w *watched) change(t *testing.T) {
	t.Helper()
	w.marks++
	p := storage.ProjectRecord{Project: storage.Project{ID: w.mark, Name: fmt.Sprint(w.marks)}}
	directoryOK(t, w.s.Import(t.Context(), []storage.Record{{Project: &p}}))
}

// until returns what is told before the mark's removal, which it commits.
func (w *watched) until(t *testing.T) (told []storage.Change) {
	t.Helper()
	w.change(t)
	directoryOK(t, w.s.RemoveProject(t.Context(), w.mark))
	for {
		c := watchWait(t, w.changes)
		if c == (storage.Change{Kind: storage.ProjectRemoved, Project: w.mark}) {
			return told
		}
		if !strings.HasPrefix(c.Project, watchMarks) {
			told = append(told, c)
		}
	}
}

// told checks that just these changes were told since the last time, in order.
func (w *watched) told(t *testing.T, want ...storage.Change) {
	t.Helper()
	directoryEqual(t, "told", w.until(t), want)
}

func (w *watched) toldInAnyOrder(t *testing.T, want ...storage.Change) {
	t.Helper()
	got := w.until(t)
	slices.SortFunc(got, watchCompare)
	slices.SortFunc(want, watchCompare)
	directoryEqual(t, "told", got, want)
}

func watchCompare(a, b storage.Change) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.User, b.User), cmp.Compare(a.Project, b.Project))
}

func watchKinds(t *testing.T, s DirectoryStore) {
	w := watch(t, s)
	directoryAddUsers(t, s, "ann")
	directoryAddProject(t, s, "p1")
	w.told(t)
	directoryOK(t, s.Join(t.Context(), "p1", "ann"))
	w.told(t, storage.Change{Kind: storage.MemberAdded, User: "ann", Project: "p1"})
	directoryOK(t, s.SetCredentials(t.Context(), "ann", *directoryKeys(2)))
	w.told(t, storage.Change{Kind: storage.UserChanged, User: "ann"})
	directoryOK(t, s.Leave(t.Context(), "p1", "ann"))
	w.told(t, storage.Change{Kind: storage.MemberRemoved, User: "ann", Project: "p1"})
	directoryOK(t, s.RemoveUser(t.Context(), "ann"))
	w.told(t, storage.Change{Kind: storage.UserRemoved, User: "ann"})
	directoryOK(t, s.RemoveProject(t.Context(), "p1"))
	w.told(t, storage.Change{Kind: storage.ProjectRemoved, Project: "p1"})
}

// watchRemovals wants the ends of memberships before what ended them.
func watchRemovals(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann", "bob", "cat")
	directoryAddProject(t, s, "p1", "ann", "bob", "cat")
	directoryAddProject(t, s, "p2", "ann")
	w := watch(t, s)
	check := func(last storage.Change, before ...storage.Change) {
		t.Helper()
		got := w.until(t)
		if len(got) == 0 || got[len(got)-1] != last {
			t.Fatalf("told %v, want %v last", got, last)
		}
		got = got[:len(got)-1]
		slices.SortFunc(got, watchCompare)
		directoryEqual(t, "told before", got, before)
	}
	directoryOK(t, s.RemoveUser(t.Context(), "ann"))
	check(storage.Change{Kind: storage.UserRemoved, User: "ann"},
		storage.Change{Kind: storage.MemberRemoved, User: "ann", Project: "p1"},
		storage.Change{Kind: storage.MemberRemoved, User: "ann", Project: "p2"})
	directoryOK(t, s.RemoveProject(t.Context(), "p1"))
	check(storage.Change{Kind: storage.ProjectRemoved, Project: "p1"},
		storage.Change{Kind: storage.MemberRemoved, User: "bob", Project: "p1"},
		storage.Change{Kind: storage.MemberRemoved, User: "cat", Project: "p1"})
}

// watchNoChange makes calls that change nothing.
func watchNoChange(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann")
	directoryAddProject(t, s, "p1", "ann")
	w := watch(t, s)
	directoryOK(t, s.Join(t.Context(), "p1", "ann"))
	directoryIs(t, "Join", s.Join(t.Context(), "p1", "bob"), storage.ErrNotFound)
	directoryIs(t, "Leave", s.Leave(t.Context(), "p1", "bob"), storage.ErrNotFound)
	directoryIs(t, "RemoveUser", s.RemoveUser(t.Context(), "bob"), storage.ErrNotFound)
	directoryIs(t, "RemoveProject", s.RemoveProject(t.Context(), "p2"), storage.ErrNotFound)
	directoryIs(t, "AddProject", s.AddProject(t.Context(), storage.Project{ID: "p1", Name: "new"}), storage.ErrExists)
	directoryIs(t, "SetCredentials", s.SetCredentials(t.Context(), "bob", *directoryKeys(2)), storage.ErrNotFound)
	w.told(t)
}

// watchOnlyLater watches after a change, and after that watcher has ended again.
func watchOnlyLater(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann")
	directoryAddProject(t, s, "p1", "ann")
	for range 3 {
		t.Run("", func(t *testing.T) {
			w := watch(t, s)
			directoryOK(t, s.Leave(t.Context(), "p1", "ann"))
			w.told(t, storage.Change{Kind: storage.MemberRemoved, User: "ann", Project: "p1"})
		})
		directoryOK(t, s.Join(t.Context(), "p1", "ann"))
	}
}

// watchEnd wants nil at the end, and soon.
func watchEnd(t *testing.T, s DirectoryStore) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Watch(ctx, func(storage.Change) {}) }()
	cancel()
	if err := watchWait(t, done); err != nil {
		t.Errorf("Watch: %v, want nil", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Watch(ctx, func(storage.Change) {}); err != nil {
		t.Errorf("Watch: %v, want nil", err)
	}
}

// watchEndInside ends ctx in the callback: it is not called again.
func watchEndInside(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann", "bob", "cat")
	directoryAddProject(t, s, "p1", "ann", "bob", "cat")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	done := make(chan error, 1)
	go func() {
		done <- s.Watch(ctx, func(storage.Change) {
			calls++
			cancel()
		})
	}()
	late := time.After(watchPatience)
	for i := 0; ; i++ {
		// Each import tells several changes at once.
		members := [][]string{{}, {"ann", "bob", "cat"}}[i%2]
		directoryOK(t, s.Import(t.Context(), []storage.Record{importProject("p1", members...)}))
		select {
		case err := <-done:
			if err != nil || calls != 1 {
				t.Errorf("Watch: %v after %d calls, want nil after 1", err, calls)
			}
			return
		case <-late:
			t.Fatal("nothing was told")
		default:
		}
	}
}

func watchTwo(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann")
	directoryAddProject(t, s, "p1")
	one, two := watch(t, s), watch(t, s)
	want := []storage.Change{
		{Kind: storage.MemberAdded, User: "ann", Project: "p1"},
		{Kind: storage.MemberRemoved, User: "ann", Project: "p1"},
	}
	directoryOK(t, s.Join(t.Context(), "p1", "ann"))
	directoryOK(t, s.Leave(t.Context(), "p1", "ann"))
	one.told(t, want...)
	two.told(t, want...)
}

// watchCommitted reads in the callback: what is told is there already, and the
// callback may use the store.
func watchCommitted(t *testing.T, s DirectoryStore) {
	directoryAddUsers(t, s, "ann")
	directoryAddProject(t, s, "p1")
	seen := make(chan int, 1)
	watch(t, s, func(c storage.Change) {
		if c.User != "ann" {
			return
		}
		in, err := s.ProjectsOf(context.Background(), "ann")
		if err != nil {
			t.Error(err)
		}
		seen <- len(in)
	})
	for range 20 {
		directoryOK(t, s.Join(t.Context(), "p1", "ann"))
		if n := watchWait(t, seen); n != 1 {
			t.Fatalf("told of a member who is in %d projects", n)
		}
		directoryOK(t, s.Leave(t.Context(), "p1", "ann"))
		if n := watchWait(t, seen); n != 0 {
			t.Fatalf("told that a member left who is in %d projects", n)
		}
	}
}

// watchOrder changes one membership from several goroutines. Additions and
// removals of a member take turns, whatever the order of the calls was.
func watchOrder(t *testing.T, s DirectoryStore) {
	ids := []string{"ann", "bob", "cat", "dan"}
	directoryAddUsers(t, s, ids...)
	directoryAddProject(t, s, "p1")
	w := watch(t, s)
	var wg sync.WaitGroup
	for _, id := range ids {
		for range 2 {
			wg.Go(func() {
				for range 25 {
					if err := s.Join(t.Context(), "p1", id); err != nil {
						t.Error(err)
					}
					if err := s.Leave(t.Context(), "p1", id); err != nil {
						directoryIs(t, "Leave", err, storage.ErrNotFound)
					}
				}
			})
		}
	}
	wg.Wait()
	in := make(map[string]bool)
	for _, c := range w.until(t) {
		if in[c.User] == (c.Kind == storage.MemberAdded) {
			t.Fatalf("told %v when that was so already", c)
		}
		in[c.User] = c.Kind == storage.MemberAdded
	}
	for _, id := range ids {
		if in[id] {
			t.Errorf("%s was told to be a member at last", id)
		}
	}
	projectsHold(t, s, "p1")
}

// watchOther changes through a second store on the same data.
func watchOther(t *testing.T, s DirectoryStore) {
	r, ok := s.(Reopener)
	if !ok {
		t.Log("this back end has no second store on the same data")
		return
	}
	other := r.Reopen(t)
	directoryAddUsers(t, other, "ann")
	directoryAddProject(t, s, "p1")
	w, v := watch(t, s), watch(t, other)
	for range 3 {
		start := time.Now()
		directoryOK(t, other.Join(t.Context(), "p1", "ann"))
		want := storage.Change{Kind: storage.MemberAdded, User: "ann", Project: "p1"}
		for got := watchWait(t, w.changes); got != want; got = watchWait(t, w.changes) {
			if !strings.HasPrefix(got.Project, watchMarks) {
				t.Fatalf("told %v, want %v", got, want)
			}
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("told after %v, want a second at most", took)
		}
		projectsHold(t, s, "p1", "ann")
		directoryOK(t, s.Leave(t.Context(), "p1", "ann"))
		left := storage.Change{Kind: storage.MemberRemoved, User: "ann", Project: "p1"}
		w.told(t, left)
		v.told(t, want, left)
	}
}
