package projects_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage/memory"
)

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
