package roster_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/modules/blocking"
	"rollcall/server"
	"rollcall/storage"
)

// What somebody writes into a roster is bounded also as a whole: each login reads it.
func TestRosterSize(t *testing.T) {
	w := newWorld(t, "alice")
	w.items = 100
	s := w.start()
	alice := s.Login("alice/a")
	fat := func(i int) string {
		groups := ""
		for g := range 50 {
			groups += fmt.Sprintf("<group>%d %s</group>", g, strings.Repeat("x", 1000))
		}
		return fmt.Sprintf("<query xmlns='jabber:iq:roster'><item jid='c%d@example.com'>%s</item></query>", i, groups)
	}
	refused := ""
	for i := range w.items {
		if refused = conditionOf(alice.Ask("set", "", fat(i))); refused != "" {
			break
		}
	}
	if refused != "resource-constraint" {
		t.Errorf("refused with %q", refused)
	}
	items, err := w.rosters.Roster(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, i := range items {
		size += len(strings.Join(i.Groups, ""))
	}
	if size > 256<<10 {
		t.Errorf("%d bytes in %d items", size, len(items))
	}
	// What is there can be made smaller, and removed.
	if got := conditionOf(alice.Ask("set", "", set("c0@example.com", "name='x'"))); got != "" {
		t.Error(got)
	}
	if got := conditionOf(alice.Ask("set", "", set("c0@example.com", "subscription='remove'"))); got != "" {
		t.Error(got)
	}
	// Small ones have room.
	for i := range w.items - len(items) {
		if got := conditionOf(alice.Ask("set", "", set(fmt.Sprintf("small%d@example.com", i), "name='somebody'"))); got != "" && len(items) > 1 {
			t.Fatal(i, got)
		}
	}
}

// Whoever is asked by many with much to say can log in all the same (RFC 6121 section
// 3.1.3 warns of that).
func TestManyRequests(t *testing.T) {
	w := newWorld(t, "bob")
	s := w.start()
	const many = 100
	for i := range many {
		name := fmt.Sprint("u", i)
		w.dir.AddUser(name, "")
		c := s.Login(name + "/x")
		c.Send("<presence to='bob@example.com' type='subscribe'><status>" + strings.Repeat("x", 7000) + "</status></presence>")
		c.Drop()
	}
	bob := s.Online("bob/b")
	size, requests := 0, 0
	for _, el := range bob.Drain() {
		if el.SelectAttrValue("type", "") != "subscribe" {
			continue
		}
		requests++
		if status := el.SelectElement("status"); status != nil {
			size += len(status.Text())
		}
	}
	if requests != many || size == 0 || size > 64<<10 {
		t.Errorf("%d requests with %d bytes", requests, size)
	}
}

// A user of the name of a removed one is somebody else.
func TestRecreated(t *testing.T) {
	w := newWorld(t, "alice", "bob")
	s := w.start()
	alice, bob := reader(s, "alice/a"), reader(s, "bob/b")
	alice.Ask("set", "", set("bob@example.com", "name='Bob'"))
	subscribed(alice, bob)
	// The store forgets by itself, and there is another bob before this server hears of it.
	w.put("alice", storage.RosterItem{Contact: "bob@example.com", Name: "Bob"})
	if err := w.rosters.RemoveRoster(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	w.dir.Tell(storage.Change{Kind: storage.UserRemoved, User: "bob"})
	eventually(t, func() bool { return bob.Closed() })
	alice.ExpectAnyOrder("<presence from='{bob}' to='{alice}' type='unavailable'/>",
		pushed("alice", "<item jid='bob@example.com' name='Bob' subscription='none'/>"))
	again := reader(s, "bob/b")
	alice.Send("<presence><show>away</show></presence>")
	alice.Drain()
	again.ExpectNothing()
}

// Blocked contacts are not heard of (XEP-0191 section 3.3).
func TestBlocked(t *testing.T) {
	w := newWorld(t, "alice", "bob")
	w.more = func() []server.Module {
		return []server.Module{blocking.New(blocking.Options{Contacts: 10, Documents: servertest.NewDocuments(), Owners: w.dir})}
	}
	s := w.start()
	alice, bob := reader(s, "alice/a"), reader(s, "bob/b")
	block := func(c *servertest.Client, name, contact string) {
		t.Helper()
		if got := conditionOf(c.Ask("set", "", "<"+name+" xmlns='urn:xmpp:blocking'><item jid='"+contact+"'/></"+name+">")); got != "" {
			t.Fatal(got)
		}
	}
	bob.Drop()
	alice.Send("<presence to='bob@example.com' type='subscribe'/>")
	drainAll(alice)
	bob = s.Login("bob/b")
	block(bob, "block", "alice@example.com")
	bob.Send("<presence/>")
	bob.Expect("<presence from='{bob}' to='{bob}'/>")
	bob.ExpectNothing() // not her request
	block(bob, "unblock", "alice@example.com")
	bob.Drain()
	bob.Drop()
	bob = reader(s, "bob/b")
	bob.Send("<presence to='alice@example.com' type='subscribed'/>")
	drainAll(alice, bob)
	block(bob, "block", "alice@example.com")
	alice.Drain()
	alice.Ask("set", "", set("bob@example.com", "subscription='remove'"))
	for _, el := range bob.Drain() {
		if el.Tag == "presence" {
			t.Errorf("heard of somebody blocked: %s", el.SelectAttrValue("type", ""))
		}
	}
	if got := w.says("bob", "alice@example.com"); got != "None" {
		t.Error(got)
	}
}

// A store may say that it failed and have done it all the same: the two items agree
// afterwards, and nobody sees more than they say.
func TestDoneAllTheSame(t *testing.T) {
	tests := []struct{ before, there, do, after, thereAfter string }{
		{"None", "None", "subscribe", "None + Pending Out", "None + Pending In"},
		{"None + Pending In", "None + Pending Out", "subscribed", "From", "To"},
		{"Both", "Both", "unsubscribe", "From", "To"},
		{"Both", "Both", "unsubscribed", "To", "From"},
		{"Both", "Both", "remove", "-", "None"},
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.start()
		for i, tt := range tests {
			for calls := range 6 {
				alice, bob := fmt.Sprintf("alice%d%d", i, calls), fmt.Sprintf("bob%d%d", i, calls)
				w.dir.AddUser(alice, "").AddUser(bob, "")
				w.put(alice, stored(tt.before, bob+"@example.com"))
				w.put(bob, stored(tt.there, alice+"@example.com"))
				a, b := reader(s, alice+"/a"), reader(s, bob+"/b")
				drainAll(a, b)
				do := "<presence to='" + bob + "@example.com' type='" + tt.do + "'/>"
				if tt.do == "remove" {
					do = "<iq type='set' id='do'>" + set(bob+"@example.com", "subscription='remove'") + "</iq>"
				}
				w.rosters.failAfterwards(storage.ErrUnavailable, calls)
				a.Send(do)
				w.rosters.fail(nil, 0)
				time.Sleep(time.Minute)
				synctest.Wait()
				name := fmt.Sprintf("%s after %d calls", tt.do, calls)
				mine, theirs := w.says(alice, bob+"@example.com"), w.says(bob, alice+"@example.com")
				if (mine != tt.after || theirs != tt.thereAfter) && (mine != tt.before || theirs != tt.there) {
					t.Errorf("%s: %s and %s", name, mine, theirs)
				}
				drainAll(a, b)
				a.Send("<presence><show>dnd</show></presence>")
				b.Send("<presence><show>xa</show></presence>")
				for who, see := range map[*servertest.Client]bool{a: strings.HasPrefix(mine, "To") || mine == "Both", b: strings.HasPrefix(theirs, "To") || theirs == "Both"} {
					other := map[*servertest.Client]*servertest.Client{a: b, b: a}[who]
					if got := slices.Contains(froms(who.Drain()), other.JID.String()); got != see {
						t.Errorf("%s: %s sees %s: %t", name, who, other, got)
					}
				}
				a.Drop()
				b.Drop()
			}
		}
	})
}

// A request is told also to whoever logged in while the store was away.
func TestRequestAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "alice", "bob")
		s := w.start()
		alice := reader(s, "alice/a")
		alice.Send("<presence to='bob@example.com' type='subscribe'/>")
		w.rosters.fail(storage.ErrUnavailable, 0)
		bob := s.Online("bob/b")
		bob.ExpectNothing()
		w.rosters.fail(nil, 0)
		time.Sleep(time.Minute)
		bob.Expect(said("alice", "bob", "subscribe"))
		bob.ExpectNothing()
	})
}

// What a node changed and did not tell before it died is read at the others, and what it
// changed while they took it for dead.
func TestNodeDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "alice", "bob", "carol")
		n, hub := w.nodes(2)
		alice, carol := reader(n[1], "alice/a"), reader(n[1], "carol/c")
		watching := func(on bool) {
			w.put("alice", storage.RosterItem{Contact: "carol@example.com", Subscription: map[bool]storage.Subscription{true: storage.SubscriptionFrom}[on]})
			w.put("carol", storage.RosterItem{Contact: "alice@example.com", Subscription: map[bool]storage.Subscription{true: storage.SubscriptionTo}[on]})
		}
		sees := func(when string, want bool) {
			t.Helper()
			drainAll(alice, carol)
			send(alice, "<presence><show>"+map[bool]string{true: "away", false: "xa"}[want]+"</show></presence>")
			if got := slices.Contains(froms(carol.Drain()), "alice@example.com/a"); got != want {
				t.Errorf("%s: carol sees alice: %t", when, got)
			}
		}
		watching(true)
		hub.Kill("node0")
		hub.Expire("node0")
		synctest.Wait()
		sees("after the node died", true)
		watching(false)
		o := w.options()
		o.Bus, o.Beside, o.Log = hub.Bus("node0"), n[1], slog.New(slog.DiscardHandler)
		servertest.New(t, o)
		synctest.Wait()
		sees("after it came back", false)
	})
}

// The last room in a roster is taken while somebody is asked: the request is taken back.
func TestFullMeanwhile(t *testing.T) {
	w := newWorld(t, "alice", "bob")
	w.items = 1
	s := w.start()
	alice, bob := reader(s, "alice/a"), reader(s, "bob/b")
	w.rosters.before = func(user string) {
		if user == "alice" {
			w.put("alice", storage.RosterItem{Contact: "eve@example.com", Name: "Eve"})
		}
	}
	alice.Send("<presence to='bob@example.com' type='subscribe'/>")
	alice.Expect("<presence from='bob@example.com' to='{alice}' type='error'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></presence>")
	bob.Expect(said("alice", "bob", "subscribe"))
	bob.Expect(said("alice", "bob", "unsubscribe"))
	bob.ExpectNothing()
	if got := w.says("alice", "bob@example.com") + w.says("bob", "alice@example.com"); got != "--" {
		t.Error(got)
	}
}
