package roster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"rollcall/internal/servertest"
	"rollcall/modules/projects"
	"rollcall/modules/roster"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
	"rollcall/storage/sqlite"
)

// fragile is a store that can fail.
type fragile struct {
	storage.Rosters
	mu    sync.Mutex
	fails error
	after int  // calls that work before
	done  bool // what fails was done all the same
	reads int
	// before runs before an item of a user is changed; nil for nothing.
	before  func(user string)
	removes int // rosters that were removed
}

func (f *fragile) fail(err error, after int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails, f.after, f.done = err, after, false
}

// failAfterwards makes calls fail whose changes come true all the same.
func (f *fragile) failAfterwards(err error, after int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails, f.after, f.done = err, after, true
}

// failFor makes calls fail after some, whether they were done or not.
func (f *fragile) failFor(rnd *rand.Rand) {
	after := rnd.IntN(6)
	if rnd.IntN(2) == 0 {
		f.fail(storage.ErrUnavailable, after)
	} else {
		f.failAfterwards(storage.ErrUnavailable, after)
	}
}

func (f *fragile) call() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails == nil {
		return nil
	}
	if f.after > 0 {
		f.after--
		return nil
	}
	return f.fails
}

func (f *fragile) Roster(ctx context.Context, user string) ([]storage.RosterItem, error) {
	f.mu.Lock()
	f.reads++
	f.mu.Unlock()
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.Rosters.Roster(ctx, user)
}

func (f *fragile) RemoveRoster(ctx context.Context, user string) error {
	err := f.Rosters.RemoveRoster(ctx, user)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removes++
	return err
}

// removed is how many rosters were removed.
func (f *fragile) removed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.removes
}

func (f *fragile) RosterItem(ctx context.Context, user, contact string) (storage.RosterItem, error) {
	if err := f.call(); err != nil {
		return storage.RosterItem{}, err
	}
	return f.Rosters.RosterItem(ctx, user, contact)
}

func (f *fragile) ChangeRosterItem(ctx context.Context, user, contact string, limit int, g func(storage.RosterItem) (storage.RosterItem, bool)) (storage.RosterItem, error) {
	if err := f.call(); err != nil {
		f.mu.Lock()
		done := f.done
		f.mu.Unlock()
		if done {
			_, also := f.Rosters.ChangeRosterItem(ctx, user, contact, limit, g)
			err = errors.Join(err, also)
		}
		return storage.RosterItem{}, err
	}
	if f.before != nil {
		f.before(user)
	}
	return f.Rosters.ChangeRosterItem(ctx, user, contact, limit, g)
}

// openStore opens an empty store. Making one takes long on a busy disk, so they are
// copies.
func openStore(t testing.TB) *sqlite.Store {
	t.Helper()
	data, err := emptyStore()
	path := filepath.Join(tempDir(t), "r.db")
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// tempDir is a folder in memory where there is one: these tests write a lot, and none of
// them is about what survives.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "roster")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

var emptyStore = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "r.db")
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: path})
	if err != nil {
		return nil, err
	}
	if err := store.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// world is one store and one directory, for any number of servers.
type world struct {
	t        testing.TB
	dir      *servertest.Directory
	rosters  *fragile
	presence storage.Presence
	items    int
	legacy   bool
	hosts    []string
	more     func() []server.Module
}

func newWorld(t testing.TB, users ...string) *world {
	t.Helper()
	store := openStore(t)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{
		t: t, dir: servertest.NewDirectory(), rosters: &fragile{Rosters: store},
		presence: memory.NewPresence(), items: 1000,
	}
	for _, u := range users {
		w.dir.AddUser(u, u+"'s name")
	}
	return w
}

func (w *world) options() servertest.Options {
	r := roster.New(roster.Options{
		Projects: w.dir, Users: w.dir, Rosters: w.rosters, Items: w.items, LegacyShows: w.legacy, ByProjects: true,
	})
	p := projects.New(projects.Options{
		ServiceHost: "wtmuc.@HOST@", Directory: w.dir, Presence: w.presence, LegacyShows: w.legacy, Ended: r.Ended,
	})
	modules := []server.Module{r, p}
	if w.more != nil {
		modules = append(modules, w.more()...)
	}
	return servertest.Options{Directory: w.dir, Hosts: w.hosts, Modules: modules}
}

func (w *world) start() *servertest.Server { return servertest.New(w.t, w.options()) }

// put stores an item as it is.
func (w *world) put(user string, i storage.RosterItem) {
	w.t.Helper()
	_, err := w.rosters.Rosters.ChangeRosterItem(context.Background(), user, i.Contact, 0,
		func(storage.RosterItem) (storage.RosterItem, bool) { return i, true })
	if err != nil {
		w.t.Fatal(err)
	}
}

// says is what a user's item says, in the words of RFC 6121 appendix A.
func (w *world) says(user, contact string) string {
	w.t.Helper()
	i, err := w.rosters.Rosters.RosterItem(context.Background(), user, contact)
	if errors.Is(err, storage.ErrNotFound) {
		return "-"
	}
	if err != nil {
		w.t.Fatal(err)
	}
	text := [...]string{"None", "To", "From", "Both"}[i.Subscription]
	switch {
	case i.Ask && i.Request != nil:
		text += " + Pending Out+In"
	case i.Ask:
		text += " + Pending Out"
	case i.Request != nil:
		text += " + Pending In"
	}
	if i.Approved {
		text += ", approved"
	}
	if i.Hidden {
		text += ", hidden"
	}
	return text
}

// reader is a client that has asked for its roster and is available.
func reader(s *servertest.Server, address string) *servertest.Client {
	c := s.Login(address)
	c.Ask("get", "", get)
	c.Send("<presence/>")
	c.Drain()
	return c
}

func set(contact, more string) string {
	return fmt.Sprintf("<query xmlns='jabber:iq:roster'><item jid='%s' %s/></query>", contact, more)
}

// said is a presence about a subscription.
func said(from, to, typ string) string {
	return fmt.Sprintf("<presence from='%s@example.com' to='%s@example.com' type='%s'/>", from, to, typ)
}

// eventually waits for what comes after a session's turn.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not happen")
		}
	}
}
