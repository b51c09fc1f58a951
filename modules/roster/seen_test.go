package roster_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage"
)

// Who shares a project sees the project's item and presence, each once; the own item
// shows again afterwards.
func TestProjectComesFirst(t *testing.T) {
	w := newWorld(t, "alice", "bob")
	s := w.start()
	alice, bob := reader(s, "alice/a"), reader(s, "bob/b")
	alice.Ask("set", "", set("bob@example.com", "name='Bobby'"))
	alice.Drain()
	subscribed(alice, bob)
	w.dir.AddProject("p", "P", "alice", "bob")
	alice.Expect(pushed("alice", "<item jid='bob@example.com' name=\"bob's name\" subscription='both'><group>P</group></item>"))
	alice.Expect("<presence from='{bob}' to='{alice}'><x xmlns='urn:rollcall:project:1'>...</x></presence>")
	alice.ExpectNothing()
	drainAll(bob)
	bob.Send("<presence><show>away</show></presence>")
	alice.Expect("<presence from='{bob}' to='{alice}'><show>away</show><x xmlns='urn:rollcall:project:1'>...</x></presence>")
	alice.ExpectNothing()
	for _, typ := range []string{"unsubscribe", "unsubscribed", "subscribed"} {
		alice.Send("<presence to='bob@example.com' type='" + typ + "'/>")
	}
	alice.Send("<presence to='bob@example.com' type='subscribe'/>")
	alice.Expect(said("bob", "alice", "subscribed"))
	drainAll(bob)
	// a newcomer gets it once, too
	tab := s.Login("alice/tab")
	tab.Send("<presence/>")
	tab.ExpectAnyOrder("<presence from='{alice/tab}' to='{alice/tab}'/>", "<presence from='{alice/a}' to='{alice/tab}'/>",
		"<presence from='{bob}' to='{alice/tab}'><show>away</show><x xmlns='urn:rollcall:project:1'>...</x></presence>")
	tab.ExpectNothing()
	tab.Drop()
	drainAll(alice, bob)
	w.dir.Leave("p", "bob")
	alice.Expect("<iq type='set' from='{any}' to='{alice/a}' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'><item jid='bob@example.com' name='Bobby' subscription='both'/></query></iq>")
	alice.Expect("<presence from='{bob}' to='{alice/a}' type='unavailable'><x xmlns='urn:rollcall:project:1'>...</x></presence>")
	alice.Expect("<presence from='{bob}' to='{alice/a}'><show>away</show></presence>")
	alice.ExpectNothing()
	got := bob.Drain()
	if last := got[len(got)-1]; last.SelectAttr("type") != nil || last.SelectAttrValue("from", "") != "alice@example.com/a" {
		t.Errorf("bob does not see alice: %v", last)
	}
	bob.Send("<presence type='unavailable'/>")
	alice.Expect("<presence from='{bob}' to='{alice/a}' type='unavailable'/>")
	alice.ExpectNothing()
}

// Old clients are invisible by a show.
func TestInvisible(t *testing.T) {
	w := newWorld(t, "alice", "bob")
	w.legacy = true
	s := w.start()
	alice, bob := reader(s, "alice/a"), reader(s, "bob/b")
	subscribed(alice, bob)
	bob.Send("<presence><show>offline</show></presence>")
	alice.Expect("<presence from='{bob}' to='{alice}' type='unavailable'/>")
	bob.Send("<presence><show>offline</show><status>x</status></presence>")
	alice.ExpectNothing()
	tab := s.Login("alice/tab")
	tab.Send("<presence/>")
	tab.ExpectAnyOrder("<presence from='{alice/a}' to='{alice/tab}'/>", "<presence from='{alice/tab}' to='{alice/tab}'/>")
	alice.Drain()
	bob.Send("<presence/>")
	alice.Expect("<presence from='{bob}' to='{alice/a}'/>")
}

func TestProbes(t *testing.T) {
	w := newWorld(t, "alice", "bob", "carol")
	s := w.start()
	alice, bob := reader(s, "alice/a"), reader(s, "bob/b")
	subscribed(alice, bob)
	probe := "<presence to='bob@example.com' type='probe'/>"
	alice.Send(probe)
	alice.Expect("<presence from='{bob}' to='{alice}'/>")
	carol := s.Login("carol/c")
	carol.Send(probe)
	carol.Expect("<presence from='bob@example.com' to='{any}' type='unsubscribed'/>")
	bob.Drop()
	alice.Drain()
	alice.Send(probe)
	alice.Expect("<presence from='bob@example.com' to='alice@example.com' type='unavailable'/>")
	w.rosters.fail(storage.ErrUnavailable, 0)
	alice.Send(probe)
	alice.ExpectNothing()
	w.rosters.fail(nil, 0)
}

// A probe of a full address is answered by that resource alone (RFC 6121 section 4.3.2),
// whether it is a contact's or a co-member's, here or at another node.
func TestProbesOfResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "alice", "bob", "carol")
		w.dir.AddProject("p", "P", "alice", "carol")
		n, _ := w.nodes(2)
		alice := reader(n[0], "alice/a")
		bobs := []*servertest.Client{reader(n[0], "bob/1"), reader(n[0], "bob/2"), reader(n[1], "bob/3"), reader(n[1], "bob/4")}
		for _, resource := range []string{"1", "2"} {
			reader(n[0], "carol/"+resource)
			reader(n[1], "carol/"+resource+"far")
		}
		subscribed(alice, bobs[0])
		synctest.Wait()
		alice.Drain()
		for _, at := range []string{"bob@example.com/1", "bob@example.com/3", "carol@example.com/1", "carol@example.com/2far"} {
			send(alice, "<presence to='"+at+"' type='probe'/>")
			if got := froms(alice.Drain()); !slices.Equal(got, []string{at}) {
				t.Errorf("a probe of %s was answered by %v", at, got)
			}
		}
		for _, bare := range []string{"bob@example.com", "carol@example.com"} {
			send(alice, "<presence to='"+bare+"/none' type='probe'/>")
			got := alice.Drain()
			if len(got) != 1 || got[0].SelectAttrValue("type", "") != "unavailable" || got[0].SelectAttrValue("from", "") != bare {
				t.Errorf("a probe of a resource of %s that is not there: %d answers", bare, len(got))
			}
			send(alice, "<presence to='"+bare+"' type='probe'/>")
			if got := alice.Drain(); len(got) != 4 {
				t.Errorf("a probe of %s: %d answers, want 4", bare, len(got))
			}
		}
		send(bobs[0], "<presence to='carol@example.com/1' type='probe'/>")
		bobs[0].Expect("<presence from='carol@example.com' to='bob@example.com' type='unsubscribed'/>")
	})
}

// A user of another virtual host is a contact like others, and an account of its own.
func TestHosts(t *testing.T) {
	w := newWorld(t, "alice", "bob")
	w.hosts = []string{"example.com", "other.example"}
	s := w.start()
	alice, bob, twin := reader(s, "alice/a"), reader(s, "bob@other.example/b"), reader(s, "bob/b")
	subscribed(alice, bob)
	bob.Send("<presence><show>xa</show></presence>")
	alice.Expect("<presence from='{bob@other.example/b}' to='{alice}'><show>xa</show></presence>")
	twin.ExpectNothing()
	if a, b := w.says("alice", "bob@other.example"), w.says("bob@other.example", "alice@example.com"); a != "Both" || b != "Both" {
		t.Error(a, b)
	}
	if got := w.says("bob", "alice@example.com"); got != "-" {
		t.Error(got)
	}
}

// Nobody learns who has an account.
func TestNobody(t *testing.T) {
	w := newWorld(t, "alice")
	s := w.start()
	alice := reader(s, "alice/a")
	alice.Send("<presence to='nobody@example.com' type='subscribe'/>")
	alice.Expect(pushed("alice", "<item jid='nobody@example.com' subscription='none' ask='subscribe'/>"))
	alice.ExpectNothing()
	if got := w.says("nobody", "alice@example.com"); got != "-" {
		t.Error(got)
	}
	alice.Send("<presence to='nobody@example.com' type='unsubscribe'/>")
	alice.Expect(pushed("alice", "<item jid='nobody@example.com' subscription='none'/>"))
	for _, typ := range []string{"unsubscribed", "unsubscribe"} {
		alice.Send("<presence to='eve@example.com' type='" + typ + "'/>")
	}
	alice.ExpectNothing()
	if got := w.says("alice", "eve@example.com"); got != "-" {
		t.Error(got)
	}
}

// A newer connection of an address goes on where the old one was.
func TestReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "alice", "bob")
		s := w.start()
		alice, bob := reader(s, "alice/a"), reader(s, "bob/b")
		subscribed(alice, bob)
		again := s.Login("bob/b")
		bob.ExpectClosed(server.ReasonReplaced)
		alice.ExpectNothing()
		again.Send("<presence><show>away</show></presence>")
		alice.Expect("<presence from='{bob}' to='{alice}'><show>away</show></presence>")
		time.Sleep(time.Minute)
		alice.ExpectNothing()
		third := s.Login("bob/b")
		again.ExpectClosed(server.ReasonReplaced)
		alice.ExpectNothing()
		time.Sleep(time.Minute)
		alice.Expect("<presence from='{bob}' to='{alice}' type='unavailable'/>")
		third.Drop()
		time.Sleep(time.Minute)
		alice.ExpectNothing()
	})
}

// Whoever is removed is nobody's contact any more: neither of somebody who is here nor of
// somebody who is not, and whether the store forgets by itself or not.
func TestUserRemoved(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		w := newWorld(t, "alice", "bob", "carol")
		s := w.start()
		alice, bob, carol := reader(s, "alice/a"), reader(s, "bob/b"), reader(s, "carol/c")
		alice.Ask("set", "", set("bob@example.com", "name='Bob'"))
		carol.Ask("set", "", set("bob@example.com", "name='Bob'"))
		subscribed(alice, bob)
		subscribed(bob, carol)
		carol.Drop()
		drainAll(alice, bob)
		if forgets {
			item := storage.RosterItem{Contact: "bob@example.com", Name: "Bob"}
			w.put("alice", item)
			w.put("carol", item)
			if err := w.rosters.RemoveRoster(t.Context(), "bob"); err != nil {
				t.Fatal(err)
			}
		}
		w.dir.RemoveUser("bob")
		bob.ExpectClosed(server.ReasonUserRemoved)
		alice.ExpectAnyOrder("<presence from='{bob}' to='{alice}' type='unavailable'/>",
			said("bob", "alice", "unsubscribed"), said("bob", "alice", "unsubscribe"),
			pushed("alice", "<item jid='bob@example.com' name='Bob' subscription='none'/>"))
		eventually(t, func() bool {
			return w.says("carol", "bob@example.com") == "None" && w.says("alice", "bob@example.com") == "None" && w.says("bob", "alice@example.com") == "-"
		})
		alice.ExpectNothing()
	}
}
