package storagetest

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"

	"rollcall/storage"
)

// presenceConcurrentUsers lets goroutines change users of their own in projects
// they share, while others read. Each user's state is known at every moment, so
// each goroutine checks what it just did, and the end is compared as a whole.
func presenceConcurrentUsers(t *testing.T, s storage.Presence) {
	const workers, steps = 8, 300
	walks := make([]*presenceWalk, workers)
	revs := make([][]uint64, workers) // of changes
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			if err := presenceRead(t, s, done); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range workers {
		w := newPresenceWalk(s, uint64(i), fmt.Sprintf("w%d", i), 3, 4)
		walks[i] = w
		w.check = func(user string, got storage.PresenceChange) error {
			if got.Old != got.New {
				revs[i] = append(revs[i], got.Rev)
			}
			return w.finds(t, user, got)
		}
		writers.Go(func() {
			for range steps {
				if err := w.step(t); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if t.Failed() {
		return
	}
	whole := presenceModel{member: make(map[[2]string]bool)}
	for _, w := range walks {
		w.compare(t, false)
		whole.conns = append(whole.conns, w.model.conns...)
		for k := range w.model.member {
			whole.member[k] = true
		}
	}
	for _, p := range walks[0].projects {
		if got, want := presenceIn(t, s, p), whole.onlineIn(p); !slices.Equal(got, want) {
			t.Fatalf("%s holds %v, want %v", p, got, want)
		}
	}
	all := slices.Concat(revs...)
	slices.Sort(all)
	if n := len(all); n == 0 || len(slices.Compact(all)) != n {
		t.Fatalf("the %d changes do not have a revision each", n)
	}
}

// finds checks that the sets agree with a change that this walk just made: its
// user is in and out where the model says, at a revision no older than the
// change's.
func (w *presenceWalk) finds(t *testing.T, user string, change storage.PresenceChange) error {
	p := w.pick(w.projects)
	users, rev, err := w.store.OnlineIn(t.Context(), p)
	if err != nil {
		return err
	}
	if rev < change.Rev {
		return fmt.Errorf("OnlineIn tells revision %d after a call told %d", rev, change.Rev)
	}
	i := slices.IndexFunc(users, func(u storage.OnlineUser) bool { return u.ID == user })
	if want := w.model.member[[2]string{p, user}]; (i >= 0) != want {
		return fmt.Errorf("%s is in %s: %v, want %v", user, p, i >= 0, want)
	}
	if i >= 0 && users[i].Show != change.New {
		return fmt.Errorf("%s has %d in %s, want %d", user, users[i].Show, p, change.New)
	}
	return nil
}

// presenceRead reads sets until done is closed and checks what holds of any set
// at any time.
func presenceRead(t *testing.T, s storage.Presence, done <-chan struct{}) error {
	var last uint64
	for i := 0; ; i++ {
		select {
		case <-done:
			return nil
		default:
		}
		users, rev, err := s.OnlineIn(t.Context(), fmt.Sprintf("p%d", i%4))
		if err != nil {
			return err
		}
		if rev < last {
			return fmt.Errorf("revision %d after %d", rev, last)
		}
		last = rev
		for k, u := range users {
			if u.Show < storage.Online || u.Show > storage.Leave {
				return fmt.Errorf("%s is in the online set with %d", u.ID, u.Show)
			}
			if k > 0 && users[k-1].ID >= u.ID {
				return fmt.Errorf("%s comes after %s", u.ID, users[k-1].ID)
			}
		}
	}
}

// presenceConcurrentConns lets goroutines be the connections of one user. In the
// order of their revisions, the changes have to make a chain: each begins where
// the one before ended.
func presenceConcurrentConns(t *testing.T, s storage.Presence) {
	const workers, rounds = 8, 100
	var mu sync.Mutex
	var changes []storage.PresenceChange
	var group sync.WaitGroup
	for i := range workers {
		conn := fmt.Sprintf("c%d", i)
		group.Go(func() {
			for k := range rounds {
				got, err := presenceConnStep(t, s, conn, i, k)
				if err != nil {
					t.Error(err)
					return
				}
				if got.Old != got.New {
					mu.Lock()
					changes = append(changes, got)
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	slices.SortFunc(changes, func(a, b storage.PresenceChange) int { return cmp.Compare(a.Rev, b.Rev) })
	last := storage.PresenceChange{New: storage.Offline}
	for _, c := range changes {
		if c.Rev <= last.Rev && last.Rev > 0 || c.Old != last.New {
			t.Fatalf("change %+v follows %+v", c, last)
		}
		last = c
	}
	if len(changes) == 0 {
		t.Fatal("nothing changed")
	}
	// Each goroutine ended with a removal.
	presenceHolds(t, s, "at the end", storage.Offline, "")
}

func presenceConnStep(t *testing.T, s storage.Presence, conn string, worker, round int) (storage.PresenceChange, error) {
	if round%4 == 3 {
		return s.Remove(t.Context(), "ann", conn)
	}
	if round%4 == 2 {
		p := fmt.Sprintf("p%d", 1+worker%3)
		if err := s.Join(t.Context(), "ann", p); err != nil {
			return storage.PresenceChange{}, err
		}
	}
	c := storage.ConnState{
		Conn: conn, User: "ann", Resource: "r", Show: storage.Show(1 + (worker+round)%3),
		Priority: int8(worker % 3), At: presenceTime(round),
	}
	return s.Set(t.Context(), c, []string{"p1", "p2"})
}
