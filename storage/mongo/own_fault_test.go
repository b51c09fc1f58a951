package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/internal/mongofake"
	"rollcall/storage"
	"rollcall/storage/mongo"
)

// writes are the commands that change something.
func writes() []string { return []string{"insert", "update", "delete"} }

// ownOn opens a store on a fake with a user u0.
func ownOn(t *testing.T, f *mongofake.Fake, timeout time.Duration) *mongo.Store {
	t.Helper()
	f.AllowWrites("rollcall_")
	c := crowd(f, 1, 1)
	c.Watch.Mode, c.Timeout, c.ServerSelection = mongo.WatchNone, timeout, timeout
	return open(t, c)
}

func message(n int) storage.Kept {
	return storage.Kept{User: "u0", ID: fmt.Sprintf("%04d", n), At: time.UnixMilli(int64(n)).UTC(), Data: []byte("<message/>")}
}

// keepOne keeps a message without a limit.
func keepOne(ctx context.Context, s *mongo.Store, n int) error {
	refused, err := s.Keep(ctx, storage.KeepLimit{}, message(n))
	if err == nil && len(refused) > 0 {
		err = errors.New("refused")
	}
	return err
}

// isWaiting checks that just these messages wait.
func isWaiting(t *testing.T, s *mongo.Store, numbers ...int) {
	t.Helper()
	list, err := s.Waiting(t.Context(), "u0", "", 100)
	ok(t, err)
	count, _, err := s.CountWaiting(t.Context(), "u0")
	ok(t, err)
	for i, k := range list {
		if i >= len(numbers) || k.ID != message(numbers[i]).ID {
			t.Fatalf("waiting %v, want %v", list, numbers)
		}
	}
	if len(list) != len(numbers) || count != len(numbers) {
		t.Errorf("%d are waiting and %d are counted, want %v", len(list), count, numbers)
	}
}

// ownCalls are all changes there are.
func ownCalls(s *mongo.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Keep":       func(ctx context.Context) error { return keepOne(ctx, s, 9) },
		"Discard":    func(ctx context.Context) error { return s.Discard(ctx, "u0", message(1).ID) },
		"DiscardAll": func(ctx context.Context) error { return s.DiscardAll(ctx, "u0") },
		"ChangeRosterItem": func(ctx context.Context) error {
			_, err := s.ChangeRosterItem(ctx, "u0", "a@x", 0, func(i storage.RosterItem) (storage.RosterItem, bool) {
				i.Name += "x"
				return i, true
			})
			return err
		},
		"RemoveRoster": func(ctx context.Context) error { return s.RemoveRoster(ctx, "u0") },
		"PutDocument": func(ctx context.Context) error {
			return s.PutDocument(ctx, "u0", "k", []byte("x"), storage.DocumentLimit{})
		},
		"RemoveDocuments": func(ctx context.Context) error { return s.RemoveDocuments(ctx, "u0") },
	}
}

func ownReads(s *mongo.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Waiting":      func(ctx context.Context) error { _, err := s.Waiting(ctx, "u0", "", 1); return err },
		"CountWaiting": func(ctx context.Context) error { _, _, err := s.CountWaiting(ctx, "u0"); return err },
		"Roster":       func(ctx context.Context) error { _, err := s.Roster(ctx, "u0"); return err },
		"Document":     func(ctx context.Context) error { _, err := s.Document(ctx, "u0", "other"); return err },
		"EachDocument": func(ctx context.Context) error { return s.EachDocument(ctx, "k", func(string, []byte) {}) },
	}
}

// unavailable calls everything often and at once: each says in time that it may be tried
// again.
func unavailable(t *testing.T, timeout time.Duration, calls map[string]func(context.Context) error) {
	t.Helper()
	var wg sync.WaitGroup
	for what, call := range calls {
		for range 20 {
			wg.Go(func() {
				start := time.Now()
				err := call(t.Context())
				// Some for a machine that is busy.
				if took := time.Since(start); !errors.Is(err, storage.ErrUnavailable) || took > timeout+2*time.Second {
					t.Errorf("%s: %v after %v", what, err, took)
				}
			})
		}
	}
	wg.Wait()
}

// TestOwnOutage takes MongoDB away and gives it back.
func TestOwnOutage(t *testing.T) {
	for name, fault := range map[string]mongofake.Fault{
		"stalled": {Stall: true},
		"cut":     {Cut: true},
		"slow":    {Delay: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := mongofake.New(t)
			const timeout = 500 * time.Millisecond
			s := ownOn(t, f, timeout)
			ok(t, keepOne(t.Context(), s, 1))
			f.Inject(fault)
			unavailable(t, timeout, ownCalls(s))
			unavailable(t, timeout, ownReads(s))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := keepOne(ctx, s, 2); !errors.Is(err, context.Canceled) {
				t.Errorf("with an ended context: %v", err)
			}
			f.Inject(mongofake.Fault{})
			eventually(t, "messages are kept again", func() bool { return keepOne(t.Context(), s, 5) == nil })
		})
	}
}

// TestNoMajority lets MongoDB answer questions and carry out no change, as it does when
// too many of its members are gone: logins and all that is read go on.
func TestNoMajority(t *testing.T) {
	f := mongofake.New(t)
	const timeout = 500 * time.Millisecond
	s := ownOn(t, f, timeout)
	ok(t, keepOne(t.Context(), s, 1))
	f.Inject(mongofake.Fault{Commands: writes(), Stall: true})
	for range 3 {
		unavailable(t, timeout, ownCalls(s))
		if u, err := s.User(t.Context(), "u0"); err != nil || u.Name == "" {
			t.Errorf("a login: %v, %v", u, err)
		}
		isWaiting(t, s, 1)
	}
	f.Inject(mongofake.Fault{})
	eventually(t, "messages are kept again", func() bool { return keepOne(t.Context(), s, 2) == nil })
}

// TestReadOnly has an account that may not write: nothing can be kept, and all else works.
func TestReadOnly(t *testing.T) {
	f := mongofake.New(t)
	s := open(t, crowd(f, 1, 1))
	for range 5 {
		for what, call := range ownCalls(s) {
			// What there is nothing of is not written.
			if err := call(t.Context()); !errors.Is(err, storage.ErrUnavailable) && (err != nil || what != "Discard" && what != "DiscardAll") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := s.User(t.Context(), "u0"); err != nil {
			t.Errorf("a login: %v", err)
		}
		isWaiting(t, s)
	}
}

// TestLostAnswers carries out changes whose answers are lost. A driver repeats them where
// there is a replica set; elsewhere the caller does. Either way they happen once.
func TestLostAnswers(t *testing.T) {
	for name, replica := range map[string]bool{"replica set": true, "standalone": false} {
		t.Run(name, func(t *testing.T) {
			f := mongofake.NewStandalone(t)
			if replica {
				f = mongofake.New(t)
			}
			s := ownOn(t, f, 5*time.Second)
			all := []int{0}
			ok(t, keepOne(t.Context(), s, 0))
			for n, command := range []string{"insert", "update", "insert", "update"} {
				f.Inject(mongofake.Fault{Commands: []string{command}, Cut: true, Times: 1})
				err := keepOne(t.Context(), s, n+1)
				if replica && err != nil || !replica && !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("%s: %v", command, err)
				}
				ok(t, keepOne(t.Context(), s, n+1))
				all = append(all, n+1)
				isWaiting(t, s, all...)
			}
			f.Inject(mongofake.Fault{Commands: []string{"update"}, Cut: true, Times: 1})
			if err := s.Discard(t.Context(), "u0", message(1).ID); replica && err != nil || !replica && err == nil {
				t.Errorf("Discard: %v", err)
			}
			ok(t, s.Discard(t.Context(), "u0", message(1).ID))
			isWaiting(t, s, 0, 2, 3, 4)
			ok(t, s.DiscardAll(t.Context(), "u0"))
			isWaiting(t, s)
		})
	}
}

// TestElection loses the primary in the middle of changes.
func TestElection(t *testing.T) {
	f := mongofake.New(t)
	s := ownOn(t, f, 5*time.Second)
	for n, command := range writes()[:2] {
		fault := mongofake.NotPrimary()
		fault.Commands, fault.Times, fault.Labels = []string{command}, 1, []string{"RetryableWriteError"}
		ok(t, keepOne(t.Context(), s, 2*n))
		f.Inject(fault)
		ok(t, keepOne(t.Context(), s, 2*n+1))
	}
	isWaiting(t, s, 0, 1, 2, 3)
}

// TestStanzas counts the stanzas that are there: as many as wait, and in the end none, also
// of those whose sender died before the queue named them.
func TestStanzas(t *testing.T) {
	f := mongofake.New(t)
	s := ownOn(t, f, 10*time.Second)
	stanzas := f.Collection("rollcall_messages")
	there := func(want int) {
		t.Helper()
		if n := stanzas.Documents(); n != want {
			t.Errorf("%d stanzas, want %d", n, want)
		}
	}
	limit := storage.KeepLimit{Messages: 3, DropOldest: true}
	for n := range 10 {
		_, err := s.Keep(t.Context(), limit, message(2*n), message(2*n+1))
		ok(t, err)
	}
	isWaiting(t, s, 17, 18, 19)
	there(3)
	// More at once than there is room for.
	_, err := s.Keep(t.Context(), limit, message(20), message(21), message(22), message(23), message(24))
	ok(t, err)
	isWaiting(t, s, 22, 23, 24)
	there(3)
	refused, err := s.Keep(t.Context(), storage.KeepLimit{Messages: 3}, message(25))
	if err != nil || len(refused) != 1 {
		t.Errorf("refused %v, %v", refused, err)
	}
	there(3)
	// Left behind: long ago, a moment ago, and of somebody whose name only begins alike.
	old := time.Now().Add(-25 * time.Hour)
	for id, made := range map[string]time.Time{"u0/0001/x": old, "u0/0002/x": time.Now(), "u01/0001/x": old, "u/0001/x": old} {
		stanzas.Insert(bson.D{{Key: "_id", Value: id}, {Key: "at", Value: old}, {Key: "data", Value: []byte("x")}, {Key: "made", Value: made}})
	}
	isWaiting(t, s, 22, 23, 24)
	ok(t, s.Discard(t.Context(), "u0", message(22).ID, message(24).ID))
	there(5)
	ok(t, s.Discard(t.Context(), "u0", message(23).ID))
	isWaiting(t, s)
	there(3)
	if n := f.Collection("rollcall_spool").Documents(); n != 0 {
		t.Errorf("%d queues, want none", n)
	}
}

// TestDiscardedMeanwhile reads a page while somebody discards: what is gone is left out,
// and the page goes on after it.
func TestDiscardedMeanwhile(t *testing.T) {
	f := mongofake.New(t)
	s := ownOn(t, f, 10*time.Second)
	for n := range 6 {
		ok(t, keepOne(t.Context(), s, n))
	}
	// As it is for who has read the queue and comes too late for the stanzas.
	q := f.Last("update")
	updates, err := q.Lookup("updates").Array().Values()
	ok(t, err)
	queue := updates[0].Document().Lookup("u").Document()
	ok(t, s.Discard(t.Context(), "u0", message(0).ID, message(2).ID))
	f.Collection("rollcall_spool").Insert(queue)
	list, err := s.Waiting(t.Context(), "u0", "", 3)
	ok(t, err)
	if len(list) != 3 || list[0].ID != message(1).ID || list[1].ID != message(3).ID || list[2].ID != message(4).ID {
		t.Errorf("waiting %v", list)
	}
}

// TestSafeWrites looks at what is asked of MongoDB with every write.
func TestSafeWrites(t *testing.T) {
	f := mongofake.New(t)
	s := ownOn(t, f, 10*time.Second)
	ok(t, keepOne(t.Context(), s, 1))
	ok(t, keepOne(t.Context(), s, 2))
	ok(t, s.DiscardAll(t.Context(), "u0"))
	for what, call := range ownCalls(s) {
		if err := call(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, command := range writes() {
		concern := f.Last(command).Lookup("writeConcern").Document()
		if w, _ := concern.Lookup("w").StringValueOK(); w != "majority" || !concern.Lookup("j").Boolean() {
			t.Errorf("%s: write concern %v", command, concern)
		}
	}
	if n := f.Count("createIndexes"); n != 1 {
		t.Errorf("%d indexes were made, want that of documents", n)
	}
}

// TestUserExists asks for users whom UserRemoved may be told of.
func TestUserExists(t *testing.T) {
	f := mongofake.New(t)
	c := crowd(f, 2, 1)
	c.Users.Blocked = "blocked"
	s := open(t, c)
	f.Collection("users").Set("u1", bson.D{{Key: "blocked", Value: true}})
	for user, want := range map[string]bool{"u0": true, "u1": true, "u2": false} {
		if there, err := s.UserExists(t.Context(), user); err != nil || there != want {
			t.Errorf("%s exists: %t, %v", user, there, err)
		}
	}
	f.Inject(mongofake.Fault{Commands: []string{"find"}, Code: 11600, Name: "InterruptedAtShutdown"})
	if _, err := s.UserExists(t.Context(), "u0"); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("during an outage: %v", err)
	}
}
