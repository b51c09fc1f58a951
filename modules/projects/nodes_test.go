package projects_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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

func TestNodesSeeEachOther(t *testing.T) {
	scattered(t, 0, func(t *testing.T, n *nodes, a, b, c *node) {
		alice := online(a, "alice/web")
		alice.Expect(self("alice"))
		bob := online(b, "bob/web")
		alice.Expect(shows("bob", "alice", "", 1, "p1", "p3"))
		bob.ExpectAnyOrder(self("bob"), shows("alice", "bob", "", 1, "p1", "p3"))
		say(bob, "<presence><show>dnd</show></presence>")
		bob.Expect("<presence from='{bob}' to='{bob}'><show>dnd</show></presence>")
		alice.Expect(shows("bob", "alice", "<show>dnd</show>", 2, "p1", "p3"))
		// A newcomer at a node that has the project is told from what is known there.
		carol := online(c, "carol/web")
		carol.ExpectAnyOrder(self("carol"), shows("bob", "carol", "<show>dnd</show>", 2, "p2"))
		bob.Expect(shows("carol", "bob", "", 1, "p2"))
		again := online(c, "carol/phone")
		again.ExpectAnyOrder("<presence from='{carol/phone}' to='{carol/phone}'/>", "<presence from='{carol/web}' to='{carol/phone}'/>",
			shows("bob", "carol/phone", "<show>dnd</show>", 2, "p2"))
		carol.Expect("<presence from='{carol/phone}' to='{carol/web}'/>")
		bob.Expect(shows("carol/phone", "bob", "", 1, "p2"))
		say(again, "<presence type='unavailable'/>")
		bob.Expect(gone("carol/phone", "bob", 1))
		drain(carol, again)
		say(bob, "<presence type='unavailable'><status>bye</status></presence>")
		alice.Expect("<presence type='unavailable' from='{bob}' to='{alice}'><status>bye</status><x xmlns='" + project + "' status='0' rev='{any}'/></presence>")
		carol.Expect("<presence type='unavailable' from='{bob}' to='{carol/web}'><status>bye</status><x xmlns='" + project + "' status='0' rev='{any}'/></presence>")
		drain(bob)
		say(alice, "<presence><show>xa</show></presence>")
		drain(alice)
		alice.Drop()
		synctest.Wait()
		for _, x := range []*servertest.Client{alice, bob, carol, again} {
			x.ExpectNothing()
		}
	})
}

// One user with resources at two nodes.
func TestNodesShareAUser(t *testing.T) {
	scattered(t, grace, func(t *testing.T, n *nodes, a, b, c *node) {
		bob, near := online(c, "bob/web"), online(a, "bob/near")
		web, phone := a.Login("alice/web"), b.Login("alice/phone")
		drain(bob, near)
		readers := []*servertest.Client{bob, near}
		both := func(f func(to string) string) {
			t.Helper()
			for i, r := range readers {
				r.Expect(f([]string{"bob/web", "bob/near"}[i]))
			}
			for _, r := range readers {
				r.ExpectNothing()
			}
		}
		say(web, "<presence><show>dnd</show><priority>5</priority></presence>")
		both(func(to string) string {
			return shows("alice/web", to, "<show>dnd</show><priority>5</priority>", 2, "p1", "p3")
		})
		say(phone, "<presence><show>away</show></presence>")
		both(func(to string) string { return shows("alice/phone", to, "<show>away</show>", 2, "p1", "p3") })
		// The one that is left counts, at once: there is no grace while the user is here.
		web.Drop()
		synctest.Wait()
		both(func(to string) string { return gone("alice/web", to, 3) })
		phone.Drop()
		time.Sleep(grace - time.Millisecond)
		synctest.Wait()
		bob.ExpectNothing()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		both(func(to string) string { return gone("alice/phone", to, 0) })
	})
}

// A newer connection at another node takes the resource over.
func TestReplacedAtAnotherNode(t *testing.T) {
	scattered(t, grace, func(t *testing.T, n *nodes, a, b, c *node) {
		old := online(a, "alice/web")
		bob, near := online(c, "bob/web"), online(a, "bob/near")
		drain(old, bob, near)
		successor := b.Login("alice/web")
		old.ExpectClosed(server.ReasonReplaced)
		synctest.Wait()
		say(successor, "<presence><show>away</show></presence>")
		time.Sleep(time.Hour)
		synctest.Wait()
		bob.Expect(shows("alice/web", "bob/web", "<show>away</show>", 3, "p1", "p3"))
		near.Expect(shows("alice/web", "bob/near", "<show>away</show>", 3, "p1", "p3"))
		bob.ExpectNothing()
		near.ExpectNothing()
		got, _, err := n.store.OnlineIn(t.Context(), "p1")
		if err != nil || fmt.Sprint(got) != "[{alice 3} {bob 1}]" {
			t.Error(got, err)
		}
		successor.Drop()
		time.Sleep(grace)
		synctest.Wait()
		bob.Expect(gone("alice/web", "bob/web", 0))
	})
}

// A page that is loaded again from another node is no event for others.
func TestGraceEndsAtAnotherNode(t *testing.T) {
	for _, resource := range []string{"web", "other"} {
		t.Run(resource, func(t *testing.T) {
			scattered(t, grace, func(t *testing.T, n *nodes, a, b, c *node) {
				alice := online(a, "alice/web")
				bob, near := online(c, "bob/web"), online(a, "bob/near")
				drain(alice, bob, near)
				alice.Drop()
				time.Sleep(grace / 2)
				synctest.Wait()
				back := b.Login("alice/" + resource)
				say(back, "<presence><show>dnd</show></presence>")
				time.Sleep(time.Hour)
				synctest.Wait()
				for i, r := range []*servertest.Client{bob, near} {
					to := []string{"bob/web", "bob/near"}[i]
					r.Expect(shows("alice/"+resource, to, "<show>dnd</show>", 2, "p1", "p3"))
					if resource != "web" {
						r.Expect("<presence type='unavailable' from='alice@example.com/web' to='{" + to + "}'><x xmlns='" + project + "' status='2' rev='{any}'/></presence>")
					}
					r.ExpectNothing()
				}
				// The store does not have the old one any more.
				back.Drop()
				time.Sleep(grace)
				synctest.Wait()
				got, err := n.store.Status(t.Context(), []string{"alice"})
				if err != nil || got[0] != storage.Offline {
					t.Error(got, err)
				}
			})
		})
	}
}

func TestInvisibleAtAnotherNode(t *testing.T) {
	scattered(t, grace, func(t *testing.T, n *nodes, a, b, c *node) {
		alice, bob := online(a, "alice/web"), online(c, "bob/web")
		drain(alice, bob)
		alice.Drop()
		hidden := b.Login("alice/phone")
		say(hidden, "<presence><show>offline</show></presence>")
		hidden.ExpectAnyOrder("<presence from='{alice/phone}' to='{alice/phone}'/>", shows("bob", "alice/phone", "", 1, "p1", "p3"))
		time.Sleep(time.Second)
		synctest.Wait()
		bob.Expect("<presence type='unavailable' from='alice@example.com/web' to='{bob}'><x xmlns='" + project + "' status='0' rev='{any}'/></presence>")
		bob.ExpectNothing()
	})
}

func TestMembershipChangesAtAnotherNode(t *testing.T) {
	scattered(t, 0, func(t *testing.T, n *nodes, a, b, c *node) {
		alice, bob, dave := online(a, "alice/web"), online(b, "bob/web"), online(c, "dave/web")
		phone := online(c, "alice/phone")
		drain(alice, bob, dave, phone)
		n.dir.Join("p2", "dave")
		synctest.Wait()
		bob.Expect(shows("dave", "bob", "", 1, "p2"))
		dave.Expect(shows("bob", "dave", "", 1, "p2"))
		n.dir.Leave("p1", "bob") // still together in p3
		synctest.Wait()
		for _, x := range []*servertest.Client{alice, bob, dave, phone} {
			x.ExpectNothing()
		}
		say(bob, "<presence><show>away</show></presence>")
		alice.Expect(shows("bob", "alice/web", "<show>away</show>", 3, "p3"))
		phone.Expect(shows("bob", "alice/phone", "<show>away</show>", 3, "p3"))
		drain(bob, dave)
		n.dir.Leave("p3", "alice")
		synctest.Wait()
		alice.Expect(gone("bob", "alice/web", 0))
		phone.Expect(gone("bob", "alice/phone", 0))
		bob.ExpectAnyOrder("<presence type='unavailable' from='{alice/web}' to='{bob}'>...</presence>",
			"<presence type='unavailable' from='{alice/phone}' to='{bob}'>...</presence>")
		n.dir.Join("p2", "alice")
		synctest.Wait()
		bob.ExpectAnyOrder(shows("alice/web", "bob", "", 1, "p2"), shows("alice/phone", "bob", "", 1, "p2"))
		dave.ExpectAnyOrder(shows("alice/web", "dave", "", 1, "p2"), shows("alice/phone", "dave", "", 1, "p2"))
		alice.ExpectAnyOrder(shows("bob", "alice/web", "<show>away</show>", 3, "p2"), shows("dave", "alice/web", "", 1, "p2"))
		drain(phone)
		n.dir.RemoveProject("p2")
		synctest.Wait()
		bob.ExpectAnyOrder(gone("dave", "bob", 0), "<presence type='unavailable' from='{alice/web}' to='{bob}'>...</presence>",
			"<presence type='unavailable' from='{alice/phone}' to='{bob}'>...</presence>")
		for _, x := range []*servertest.Client{alice, dave, phone} {
			drain(x)
		}
		say(alice, "<presence><show>xa</show></presence>")
		bob.ExpectNothing()
		dave.ExpectNothing()
	})
}

// A long question is asked in parts, and a long answer comes in parts.
func TestQuestionsInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const projects, people = 600, 30
		dir := servertest.NewDirectory()
		for i := range projects {
			dir.AddProject(fmt.Sprintf("p%03d", i), "", "alice", "bob", fmt.Sprint("u", i%people))
		}
		n := &nodes{t: t, hub: memory.NewHub(), dir: dir, store: memory.NewPresence(), quiet: true}
		a, b := n.add("a"), n.add("b")
		var others []*servertest.Client
		for i := range people {
			c := b.Login(fmt.Sprintf("u%d/x", i))
			say(c, "<presence><status>"+strings.Repeat("x", 60<<10)+"</status></presence>")
			others = append(others, c)
		}
		bob := online(b, "bob/web")
		alice := online(a, "alice/web")
		told := func(want int) {
			t.Helper()
			synctest.Wait()
			from := make(map[string]int)
			for _, el := range alice.Drain() {
				from[el.SelectAttrValue("from", "")]++
			}
			for who, times := range from {
				if times != 1 {
					t.Errorf("told %d times of %s", times, who)
				}
			}
			if len(from) != want {
				t.Errorf("told of %d, want %d", len(from), want)
			}
		}
		told(people + 2)
		n.hub.Gap("a")
		n.hub.Gap("b")
		told(0)
		n.hub.Fail(func(string, string, []byte) memory.Fault { return memory.Lost })
		say(bob, "<presence><show>dnd</show></presence>")
		for _, c := range others[:5] {
			c.Drop()
		}
		synctest.Wait()
		n.hub.Fail(nil)
		n.hub.Gap("a")
		told(6)
	})
}

// Probes reach users at other nodes, whether or not anything is known of them here.
func TestProbeOfAnotherNode(t *testing.T) {
	scattered(t, 0, func(t *testing.T, n *nodes, a, b, c *node) {
		web, phone := online(b, "bob/web"), online(c, "bob/phone")
		drain(web, phone)
		alice := a.Login("alice/web")
		both := func() {
			t.Helper()
			say(alice, "<presence type='probe' to='bob@example.com'/>")
			alice.ExpectAnyOrder(shows("bob/web", "alice", "", 1, "p1", "p3"), shows("bob/phone", "alice", "", 1, "p1", "p3"))
			alice.ExpectNothing()
		}
		both()
		say(alice, "<presence/>")
		drain(alice)
		both()
		say(alice, "<presence type='unavailable'/>")
		drain(alice)
		web.Drop()
		phone.Drop()
		synctest.Wait()
		say(alice, "<presence type='probe' to='bob@example.com'/>")
		alice.Expect("<presence type='unavailable' from='bob@example.com' to='{alice}'/>")
		say(alice, "<presence type='probe' to='carol@example.com'/>")
		alice.Expect("<presence type='unsubscribed' from='carol@example.com' to='alice@example.com'/>")
		alice.ExpectNothing()
	})
}

// A change in a project of many people at three nodes is one message to each of the two
// other nodes, and everybody is told once.
func TestOneMessageForANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const people = 90
		dir := servertest.NewDirectory()
		for i := range people {
			dir.AddUser(fmt.Sprint("u", i), "")
			dir.Join("p", fmt.Sprint("u", i))
		}
		n := &nodes{t: t, hub: memory.NewHub(), dir: dir, store: memory.NewPresence()}
		n.quiet = true
		list := []*node{n.add("a"), n.add("b"), n.add("c")}
		var clients []*servertest.Client
		for i := range people {
			c := list[i%3].Login(fmt.Sprintf("u%d/x", i))
			c.Send("<presence/>")
			clients = append(clients, c)
		}
		drain(clients...)
		var messages atomic.Int64
		n.hub.Fail(func(string, string, []byte) memory.Fault {
			messages.Add(1)
			return memory.Fine
		})
		for _, what := range []string{"<presence><show>dnd</show></presence>", "<presence type='unavailable'/>"} {
			messages.Store(0)
			say(clients[1], what)
			if got := messages.Load(); got > 2 {
				t.Errorf("%d messages for %s", got, what)
			}
			for i, c := range clients {
				if got := len(c.Drain()); got != 1 {
					t.Fatalf("client %d got %d stanzas", i, got)
				}
			}
		}
	})
}

// liar is the projects module of a node that tells what cannot be read.
type liar struct{ host *server.Host }

func (l *liar) Name() string { return "projects" }

func (l *liar) Start(h *server.Host) error {
	l.host = h
	h.OnNodes(l)
	return nil
}

func (l *liar) Joined(b *server.Batch, node string) {
	news := "\x0bexample.com\x01"
	for _, data := range []string{"", "\x0bexample.com", "\x0bexample.com\x63", "\x09elsewhere\x01", news, news + "\x05alice", news + strings.Repeat("\xff", 100),
		news + "\x03bob\x00\x00\x00\x01\x01\x02\x02p3\x02p1\x00\x00", "\x0bexample.com\x02\x01\x01\x02\x02p3\x02p1"} {
		l.host.Tell(b, node, []byte(data))
	}
}

func (l *liar) Told(*server.Batch, string, []byte) {}
func (l *liar) Left(*server.Batch, string)         {}

// What cannot be read is dropped; it costs nobody anything.
func TestNodeTellsNonsense(t *testing.T) {
	scattered(t, 0, func(t *testing.T, n *nodes, a, b, c *node) {
		alice := online(a, "alice/web")
		servertest.New(t, servertest.Options{Directory: n.dir, Bus: n.hub.Bus("liar"), Modules: []server.Module{new(liar)}})
		synctest.Wait()
		drain(alice)
		bob := online(b, "bob/web")
		alice.Expect(shows("bob", "alice", "", 1, "p1", "p3"))
		bob.ExpectAnyOrder(self("bob"), shows("alice", "bob", "", 1, "p1", "p3"))
		alice.ExpectNothing()
	})
}

// A node dies: its people are gone, once, and a user who is elsewhere too keeps that.
func TestNodeIsKilled(t *testing.T) {
	scattered(t, grace, func(t *testing.T, n *nodes, a, b, c *node) {
		bob, near := online(a, "bob/web"), online(c, "bob/near")
		web := online(b, "alice/web")
		phone := a.Login("alice/phone")
		say(phone, "<presence><show>away</show><priority>-1</priority></presence>")
		carol := online(b, "carol/web")
		drain(bob, near, web, phone, carol)
		n.kill(b)
		synctest.Wait()
		bob.ExpectNothing()
		n.hub.Expire("b")
		synctest.Wait()
		bob.ExpectAnyOrder(gone("carol", "bob/web", 0), gone("alice/web", "bob/web", 3))
		near.ExpectAnyOrder(gone("carol", "bob/near", 0), gone("alice/web", "bob/near", 3))
		bob.ExpectNothing()
		near.ExpectNothing()
		// A new process of that name.
		b = n.add("b")
		bob.ExpectNothing()
		carol = online(b, "carol/web")
		bob.Expect(shows("carol", "bob/web", "", 1, "p2"))
		near.Expect(shows("carol", "bob/near", "", 1, "p2"))
		carol.ExpectAnyOrder(self("carol"), shows("bob/web", "carol", "", 1, "p2"), shows("bob/near", "carol", "", 1, "p2"))
		for _, x := range []*servertest.Client{bob, near, carol} {
			x.ExpectNothing()
		}
	})
}

// A node that stops takes its people along at once: there is no grace period.
func TestNodeStops(t *testing.T) {
	scattered(t, grace, func(t *testing.T, n *nodes, a, b, c *node) {
		bob, alice := online(a, "bob/web"), online(b, "alice/web")
		drain(bob, alice)
		b.Stop()
		synctest.Wait()
		bob.Expect(gone("alice", "bob", 0))
		time.Sleep(time.Hour)
		synctest.Wait()
		bob.ExpectNothing()
	})
}

// What was lost is asked for again: only what is different is told.
func TestNewsAreLost(t *testing.T) {
	scattered(t, 0, func(t *testing.T, n *nodes, a, b, c *node) {
		bob := online(a, "bob/web")
		stays, leaves, changes := online(b, "alice/stays"), online(b, "alice/leaves"), online(b, "alice/changes")
		carol := online(c, "carol/web")
		drain(bob, carol)
		n.hub.Fail(func(from, to string, _ []byte) memory.Fault {
			if from == "b" && to == "a" {
				return memory.Lost
			}
			return memory.Fine
		})
		leaves.Drop()
		say(changes, "<presence><show>dnd</show></presence>")
		comes := online(b, "alice/comes")
		bob.ExpectNothing()
		n.hub.Fail(nil)
		n.hub.Gap("a")
		synctest.Wait()
		bob.ExpectAnyOrder("<presence type='unavailable' from='{alice/leaves}' to='{bob}'>...</presence>",
			"<presence from='{alice/changes}' to='{bob}'><show>dnd</show>...</presence>", "<presence from='{alice/comes}' to='{bob}'>...</presence>")
		bob.ExpectNothing()
		carol.ExpectNothing()
		// What the node asks may be lost, too.
		n.hub.Fail(func(from, to string, _ []byte) memory.Fault {
			if from == "a" && to == "b" {
				return memory.Lost
			}
			return memory.Fine
		})
		near := online(a, "carol/near") // asks about nothing new
		bob.Drop()
		bob = online(a, "bob/web")
		n.hub.Fail(nil)
		n.hub.Gap("b")
		synctest.Wait()
		drain(bob, near, stays)
		say(comes, "<presence><show>xa</show></presence>")
		bob.Expect("<presence from='{alice/comes}' to='{bob}'><show>xa</show>...</presence>")
		bob.ExpectNothing()
	})
}
