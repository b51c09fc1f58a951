package projects_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
)

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
			say(alice, "<presence type='probe' to='bob@example.com/phone'/>")
			alice.Expect(shows("bob/phone", "alice", "", 1, "p1", "p3"))
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
