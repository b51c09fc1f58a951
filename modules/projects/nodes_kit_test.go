package projects_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/modules/projects"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
)

// nodes are servers with one directory and one store, joined by a hub if there is one.
type nodes struct {
	t     testing.TB
	hub   *memory.Hub
	dir   *servertest.Directory
	store storage.Presence
	grace time.Duration
	tap   func(server.TapEvent)
	hosts []string
	quiet bool // nothing is logged
	names []string
	list  []*node
}

type node struct {
	*servertest.Server
	name  string
	store *own
}

// own is the store as one node uses it: connections of different nodes may have one id.
type own struct {
	storage.Presence
	name string
	dead atomic.Bool

	names []string // that the store says are concerned by each change

	mu   sync.Mutex
	rows map[string]string // users by connection
}

func (o *own) Set(ctx context.Context, c storage.ConnState, projects []string) (storage.PresenceChange, error) {
	if o.dead.Load() {
		return storage.PresenceChange{}, storage.ErrUnavailable
	}
	c.Conn = o.name + "|" + c.Conn
	o.mu.Lock()
	o.rows[c.Conn] = c.User
	o.mu.Unlock()
	change, err := o.Presence.Set(ctx, c, projects)
	change.Nodes = o.names
	return change, err
}

func (o *own) Remove(ctx context.Context, user, conn string) (storage.PresenceChange, error) {
	if o.dead.Load() {
		return storage.PresenceChange{}, storage.ErrUnavailable
	}
	change, err := o.Presence.Remove(ctx, user, o.name+"|"+conn)
	change.Nodes = o.names
	return change, err
}

func (o *own) Join(ctx context.Context, user, project string) error {
	if o.dead.Load() {
		return storage.ErrUnavailable
	}
	return o.Presence.Join(ctx, user, project)
}

func (o *own) Leave(ctx context.Context, user, project string) error {
	if o.dead.Load() {
		return storage.ErrUnavailable
	}
	return o.Presence.Leave(ctx, user, project)
}

// reap takes the rows of a dead node out of the store.
func (o *own) reap(t testing.TB) {
	t.Helper()
	for conn, user := range o.rows {
		if _, err := o.Presence.Remove(t.Context(), user, conn); err != nil {
			t.Error(err)
		}
	}
}

// add starts a node.
func (n *nodes) add(name string) *node {
	n.t.Helper()
	store := &own{Presence: n.store, name: name, names: n.names, rows: make(map[string]string)}
	o := servertest.Options{Directory: n.dir, Hosts: n.hosts, Tap: n.tap, Modules: []server.Module{projects.New(projects.Options{
		ServiceHost: "wtmuc.@HOST@", Grace: n.grace, LegacyShows: true, Directory: n.dir, Presence: store,
	})}}
	if n.quiet {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if n.hub != nil {
		o.Bus = n.hub.Bus(name)
	}
	if len(n.list) > 0 {
		o.Beside = n.list[0].Server
	}
	s := &node{servertest.New(n.t, o), name, store}
	n.list = append(n.list, s)
	synctest.Wait()
	return s
}

// kill makes a node stop acting; those that live learn of it by Expire.
func (n *nodes) kill(x *node) {
	x.store.dead.Store(true)
	n.hub.Kill(x.name)
	n.list = slices.DeleteFunc(n.list, func(o *node) bool { return o == x })
}

// scattered runs a test on nodes a, b and c with the people of newWorld.
func scattered(t *testing.T, grace time.Duration, f func(t *testing.T, n *nodes, a, b, c *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		dir := servertest.NewDirectory().
			AddUser("alice", "Alice").AddUser("bob", "Bob").AddUser("carol", "Carol").AddUser("dave", "Dave").
			AddProject("p1", "Apollo", "alice", "bob").AddProject("p2", "Borealis", "bob", "carol").
			AddProject("p3", "Cygnus", "alice", "bob")
		n := &nodes{t: t, hub: memory.NewHub(), dir: dir, store: memory.NewPresence(), grace: grace}
		f(t, n, n.add("a"), n.add("b"), n.add("c"))
	})
}

// online logs in and lets the news go round.
func online(s *node, address string) *servertest.Client {
	c := s.Login(address)
	say(c, "<presence/>")
	return c
}

func say(c *servertest.Client, what string) {
	c.Send(what)
	synctest.Wait()
}

func drain(clients ...*servertest.Client) {
	synctest.Wait()
	for _, c := range clients {
		c.Drain()
	}
}

// shows is a presence that a co-member gets from a connection.
func shows(from, to, content string, status int, shared ...string) string {
	return seen(from, to, content, status, shared...)
}
