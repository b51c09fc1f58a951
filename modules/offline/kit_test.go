package offline_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/servertest"
	"rollcall/modules/offline"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/sqlite"
)

// spool is a real store that fails when it is told to.
type spool struct {
	storage.Spool
	mu    sync.Mutex
	fails error  // of every call; nil for none
	stays error  // of Discard; nil for none
	first func() // is called by the next Keep; nil for nothing
}

// before has the next Keep begin with f.
func (s *spool) before(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = f
}

func (s *spool) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

func (s *spool) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fails
}

func (s *spool) Keep(ctx context.Context, l storage.KeepLimit, list ...storage.Kept) ([]string, error) {
	if err := s.failure(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	first := s.first
	s.first = nil
	s.mu.Unlock()
	if first != nil {
		first()
	}
	return s.Spool.Keep(ctx, l, list...)
}

func (s *spool) Waiting(ctx context.Context, user, after string, n int) ([]storage.Kept, error) {
	if err := s.failure(); err != nil {
		return nil, err
	}
	return s.Spool.Waiting(ctx, user, after, n)
}

func (s *spool) Discard(ctx context.Context, user string, ids ...string) error {
	s.mu.Lock()
	err := errors.Join(s.fails, s.stays)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.Spool.Discard(ctx, user, ids...)
}

// count is how many messages wait for a user.
func (s *spool) count(t *testing.T, user string) int {
	t.Helper()
	n, _, err := s.CountWaiting(context.WithoutCancel(t.Context()), user)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// await waits until so many messages wait for a user.
func (s *spool) await(t *testing.T, user string, n int) {
	t.Helper()
	until(t, func() bool { return s.count(t, user) == n })
}

// until polls for a condition.
func until(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it does not come to that")
		}
	}
}

func open(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// owners are the users of a directory.
type owners struct{ *servertest.Directory }

func (o owners) UserExists(ctx context.Context, id string) (bool, error) {
	_, err := o.User(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// house is a server with the module.
type house struct {
	*servertest.Server
	*spool
	module *offline.Module
	t      *testing.T
}

type change func(*offline.Options, *servertest.Options)

func newHouse(t *testing.T, changes ...change) *house {
	t.Helper()
	h := &house{t: t}
	dir := servertest.NewDirectory().AddUser("alice", "").AddUser("bob", "")
	o := offline.Options{
		Users: dir, Owners: owners{dir}, Limit: storage.KeepLimit{Messages: 1000, Bytes: 1 << 20, DropOldest: true}, PageBytes: 64 << 10,
	}
	so := servertest.Options{Directory: dir}
	for _, f := range changes {
		f(&o, &so)
	}
	if o.Spool == nil {
		o.Spool = open(t, filepath.Join(t.TempDir(), "x.db"))
	}
	h.spool = &spool{Spool: o.Spool}
	o.Spool = h.spool
	h.module = offline.New(o)
	so.Modules = append(so.Modules, h.module)
	h.Server = servertest.New(t, so)
	return h
}

// answer answers the ping that the client takes next.
func answer(t *testing.T, c *servertest.Client) {
	t.Helper()
	ping := c.Next()
	c.Match("<iq type='get' id='{any}' from='example.com' to='"+c.JID.String()+"'><ping xmlns='urn:xmpp:ping'/></iq>", ping)
	c.Send("<iq type='result' id='" + ping.SelectAttrValue("id", "") + "' to='example.com'/>")
}

const stamped = "<delay xmlns='urn:xmpp:delay' from='example.com' stamp='{any}'/>"

func body(el *etree.Element) string {
	if b := el.SelectElement("body"); b != nil {
		return b.Text()
	}
	return ""
}

// bodies takes n messages, and what is in them.
func bodies(c *servertest.Client, n int) string {
	var list []string
	for range n {
		list = append(list, body(c.Next()))
	}
	return strings.Join(list, " ")
}

func message(to, attrs, inner string) string {
	return "<message to='" + to + "' " + attrs + ">" + inner + "</message>"
}

func chat(to, text string) string { return message(to, "type='chat'", "<body>"+text+"</body>") }

var _ server.Module = (*offline.Module)(nil)
