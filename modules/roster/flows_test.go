package roster_test

import (
	"strings"
	"testing"

	"rollcall/internal/servertest"
)

// The flow of RFC 6121 sections 2.3 to 2.5 for a contact who knows nothing of it.
func TestSetAndRemove(t *testing.T) {
	w := newWorld(t, "alice")
	s := w.start()
	idle, web, phone := s.Online("alice/idle"), reader(s, "alice/web"), s.Login("alice/phone")
	phone.Ask("get", "", get)
	drainAll(web, phone, idle)
	ask := func(payload, item string) {
		t.Helper()
		web.Match("<iq type='result' from='{any}' to='{alice/web}' id='{any}'/>", web.Ask("set", "", payload))
		for _, c := range []*servertest.Client{web, phone} {
			c.Expect("<iq type='set' from='alice@example.com' to='" + c.JID.String() + "' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'>" + item + "</query></iq>")
		}
	}
	ask(set("Eve@Example.com", "name='E &lt;'"), "<item jid='eve@example.com' name='E &lt;' subscription='none'/>")
	ask("<query xmlns='jabber:iq:roster'><item jid='eve@example.com' subscription='both' ask='subscribe' approved='true'><group>G</group><group>A &amp; B</group></item></query>",
		"<item jid='eve@example.com' subscription='none'><group>A &amp; B</group><group>G</group></item>")
	ask(set("eve@example.com", ""), "<item jid='eve@example.com' subscription='none'/>")
	ask(set("eve@example.com", ""), "<item jid='eve@example.com' subscription='none'/>")
	ask(set("far.example", "name='F'"), "<item jid='far.example' name='F' subscription='none'/>")
	fresh := s.Login("alice/new")
	fresh.Match(`<iq type='result' from='{any}' to='{any}' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'>
		<item jid='eve@example.com' subscription='none'/><item jid='far.example' name='F' subscription='none'/></query></iq>`,
		fresh.Ask("get", "", get))
	fresh.Drop()
	ask(set("eve@example.com", "subscription='remove'"), "<item jid='eve@example.com' subscription='remove'/>")
	drainAll(web, phone)
	idle.Drain()
	web.Match("<iq type='error' from='{any}' to='{any}' id='{any}'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></iq>",
		web.Ask("set", "", set("eve@example.com", "subscription='remove'")))
	idle.ExpectNothing()
	if got := w.says("alice", "far.example"); got != "None" {
		t.Error(got)
	}
}

func drainAll(clients ...*servertest.Client) {
	for _, c := range clients {
		c.Drain()
	}
}

func TestBadSets(t *testing.T) {
	w := newWorld(t, "alice", "bob", "carol")
	w.dir.AddProject("p", "P", "alice", "bob")
	w.items = 2
	s := w.start()
	alice := reader(s, "alice/web")
	item := func(inner string) string {
		return "<query xmlns='jabber:iq:roster'><item jid='carol@example.com'>" + inner + "</item></query>"
	}
	long := strings.Repeat("x", 1024)
	tests := []struct{ payload, condition string }{
		{set("bob@example.com", "name='x'"), "not-allowed"},
		{set("bob@example.com", "subscription='remove'"), "not-allowed"},
		{set("alice@example.com", "name='x'"), "not-allowed"},
		{set("carol@example.com/web", ""), "bad-request"},
		{set("@", ""), "bad-request"},
		{"<query xmlns='jabber:iq:roster'/>", "bad-request"},
		{"<query xmlns='jabber:iq:roster'><item jid='a@b'/><item jid='c@d'/></query>", "bad-request"},
		{item("<group>a</group><group>b</group><group>a</group>"), "bad-request"},
		{item("<group/>"), "not-acceptable"},
		{item("<group>" + long + "</group>"), "not-acceptable"},
		{item(strings.Repeat("<group>a</group>", 51)), "not-acceptable"},
		{set("carol@example.com", "name='"+long+"'"), "not-acceptable"},
		{set("carol@example.com", "subscription='remove'"), "item-not-found"},
	}
	for _, tt := range tests {
		got := alice.Ask("set", "", tt.payload)
		if got.FindElement("./error/"+tt.condition) == nil {
			t.Errorf("%.80s: %s", tt.payload, conditionOf(got))
		}
	}
	alice.ExpectNothing()
	for i, want := range []string{"", "", "resource-constraint"} {
		got := alice.Ask("set", "", set([]string{"a@x", "b@x", "c@x"}[i], ""))
		if conditionOf(got) != want {
			t.Errorf("item %d: %q, want %q", i, conditionOf(got), want)
		}
	}
	alice.Drain()
	// Nobody is asked where there is no room for the answer.
	carol := reader(s, "carol/c")
	alice.Send("<presence to='carol@example.com' type='subscribe'/>")
	alice.Expect("<presence from='carol@example.com' to='{alice}' type='error'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></presence>")
	carol.ExpectNothing()
	// Nor where there is none for the request.
	carol.Ask("set", "", set("a@x", ""))
	carol.Ask("set", "", set("b@x", ""))
	alice.Ask("set", "", set("a@x", "subscription='remove'"))
	drainAll(alice, carol)
	alice.Send("<presence to='carol@example.com' type='subscribe'/>")
	alice.Expect("<presence from='carol@example.com' to='{alice}' type='error'>...</presence>")
	drainAll(alice)
	carol.ExpectNothing()
	if got := w.says("alice", "carol@example.com") + w.says("carol", "alice@example.com"); got != "--" {
		t.Error(got)
	}
}

// subscribed makes two clients subscribed to each other, as Smack's tests do.
func subscribed(a, b *servertest.Client) {
	one := func(a, b *servertest.Client) {
		a.Send("<presence to='" + b.JID.Bare().String() + "' type='subscribe'/>")
		b.Send("<presence to='" + a.JID.String() + "' type='subscribed'/>")
	}
	one(a, b)
	one(b, a)
	drainAll(a, b)
}

// What Smack's RosterIntegrationTest wants to see, in order.
func TestSmackRoster(t *testing.T) {
	w := newWorld(t, "one", "two")
	s := w.start()
	one, two := reader(s, "one/x"), reader(s, "two/y")
	two.Send("<presence><status>Look for me!</status></presence>")
	two.Drain()
	// createItemAndRequestSubscription
	one.Ask("set", "", set("two@example.com", "name='ConTwo'"))
	one.Expect(pushed("one", "<item jid='two@example.com' name='ConTwo' subscription='none'/>"))
	one.Send("<presence to='two@example.com' type='subscribe' id='s1'><e xmlns='org.example.test'/></presence>")
	one.Expect(pushed("one", "<item jid='two@example.com' name='ConTwo' subscription='none' ask='subscribe'/>"))
	two.Expect("<presence from='one@example.com' to='two@example.com' type='subscribe' id='s1'><e xmlns='org.example.test'/></presence>")
	one.ExpectNothing()
	two.ExpectNothing()
	// the approval is addressed to a full address, and stamped
	two.Send("<presence to='{one}' type='subscribed' id='a1'/>")
	two.Send("<presence to='" + one.JID.String() + "' type='subscribed' id='a1'/>")
	two.Drain()
	one.Expect("<presence from='two@example.com' to='one@example.com' type='subscribed' id='a1'/>")
	one.Expect(pushed("one", "<item jid='two@example.com' name='ConTwo' subscription='to'/>"))
	one.Expect("<presence from='{two}' to='{one}'><status>Look for me!</status></presence>")
	one.ExpectNothing()
	// the other direction
	two.Send("<presence to='one@example.com' type='subscribe'/>")
	two.Expect(pushed("two", "<item jid='one@example.com' subscription='from' ask='subscribe'/>"))
	one.Expect(said("two", "one", "subscribe"))
	one.Send("<presence to='two@example.com' type='subscribed'/>")
	one.Expect(pushed("one", "<item jid='two@example.com' name='ConTwo' subscription='both'/>"))
	two.Expect(said("one", "two", "subscribed"))
	two.Expect(pushed("two", "<item jid='one@example.com' subscription='both'/>"))
	two.Expect("<presence from='{one}' to='{two}'/>")
	// each sees what the other says
	one.Send("<presence><show>away</show></presence>")
	one.Drain()
	two.Expect("<presence from='{one}' to='{two}'><show>away</show></presence>")
	// LowLevelRosterIntegrationTest: a disconnect
	two.Hangup()
	one.Expect("<presence from='{two}' to='{one}' type='unavailable'/>")
	one.ExpectNothing()
	// and back
	two = s.Login("two/y")
	two.Send("<presence/>")
	two.Expect("<presence from='{two}' to='{two}'/>")
	two.Expect("<presence from='{one}' to='{two}'><show>away</show></presence>")
	two.ExpectNothing()
	one.Expect("<presence from='{two}' to='{one}'/>")
	one.ExpectNothing()
	two.Ask("get", "", get)
	// ensureBothAccountsAreNotInEachOthersRoster
	one.Match("<iq type='result' from='{any}' to='{one}' id='{any}'/>", one.Ask("set", "", set("two@example.com", "subscription='remove'")))
	two.Expect("<presence from='{one}' to='{two}' type='unavailable'/>")
	two.Expect(said("one", "two", "unsubscribe"))
	two.Expect(pushed("two", "<item jid='one@example.com' subscription='to'/>"))
	two.Expect(said("one", "two", "unsubscribed"))
	two.Expect(pushed("two", "<item jid='one@example.com' subscription='none'/>"))
	two.Match("<iq type='result' from='{any}' to='{two}' id='{any}'/>", two.Ask("set", "", set("one@example.com", "subscription='remove'")))
	if got := w.says("one", "two@example.com") + w.says("two", "one@example.com"); got != "--" {
		t.Error(got)
	}
}

// A request waits for somebody who is not there (RFC 6121 section 3.1.3).
func TestRequestWaits(t *testing.T) {
	w := newWorld(t, "alice", "bob")
	s := w.start()
	alice := reader(s, "alice/web")
	request := "<presence to='bob@example.com' type='subscribe' id='s1'><status>please</status><e xmlns='org.example.test'/></presence>"
	alice.Send(request)
	alice.Send(request)
	got := "<presence from='alice@example.com' to='bob@example.com' type='subscribe' id='s1'><status>please</status><e xmlns='org.example.test'/></presence>"
	alice.Drain()
	for range 2 {
		bob := s.Login("bob/b")
		bob.Match("<iq type='result' from='{any}' to='{bob}' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'></query></iq>", bob.Ask("get", "", get))
		bob.ExpectNothing()
		bob.Send("<presence/>")
		bob.Expect("<presence from='{bob}' to='{bob}'/>")
		bob.Expect(got)
		bob.ExpectNothing()
		bob.Send("<presence><show>away</show></presence>")
		bob.Expect("<presence from='{bob}' to='{bob}'><show>away</show></presence>")
		bob.ExpectNothing()
		bob.Drop()
	}
	// whoever is there already is not told twice
	bob := reader(s, "bob/b")
	alice.Send(request)
	bob.ExpectNothing()
	bob.Send("<presence to='alice@example.com' type='unsubscribed'/>")
	alice.Expect(said("bob", "alice", "unsubscribed"))
	alice.Expect(pushed("alice", "<item jid='bob@example.com' subscription='none'/>"))
	bob.ExpectNothing()
	bob.Drop()
	bob = s.Online("bob/b")
	bob.ExpectNothing()
}

// A request that is too long loses its content while it waits.
func TestLongRequest(t *testing.T) {
	w := newWorld(t, "alice", "bob")
	s := w.start()
	alice := s.Online("alice/web")
	alice.Send("<presence to='bob@example.com' type='subscribe'><status>" + strings.Repeat("x", 9000) + "</status></presence>")
	bob := s.Online("bob/b")
	bob.Expect(said("alice", "bob", "subscribe"))
}

func TestPreApproval(t *testing.T) {
	w := newWorld(t, "alice", "bob")
	s := w.start()
	c := s.Dial()
	c.Open("example.com")
	c.Authenticate("bob", servertest.Password)
	features := c.Open("example.com")
	for _, f := range []string{"sub", "ver"} {
		if features.SelectElement(f) == nil {
			t.Errorf("no feature <%s/>", f)
		}
	}
	alice, bob := reader(s, "alice/a"), reader(s, "bob/b")
	bob.Send("<presence to='alice@example.com' type='subscribed'/>")
	bob.Expect(pushed("bob", "<item jid='alice@example.com' subscription='none' approved='true'/>"))
	alice.ExpectNothing()
	bob.Send("<presence to='alice@example.com' type='unsubscribed'/>")
	bob.Expect(pushed("bob", "<item jid='alice@example.com' subscription='none'/>"))
	bob.Send("<presence to='alice@example.com' type='subscribed'/>")
	bob.Drain()
	alice.Send("<presence to='bob@example.com' type='subscribe'/>")
	bob.Expect(pushed("bob", "<item jid='alice@example.com' subscription='from' approved='true'/>"))
	bob.ExpectNothing()
	alice.Expect(said("bob", "alice", "subscribed"))
	alice.Expect(pushed("alice", "<item jid='bob@example.com' subscription='to'/>"))
	alice.Expect("<presence from='{bob}' to='{alice}'/>")
	alice.ExpectNothing()
	// who asks again is told again
	alice.Send("<presence to='bob@example.com' type='subscribe'/>")
	alice.Expect(said("bob", "alice", "subscribed"))
	alice.ExpectNothing()
	bob.ExpectNothing()
}

// RFC 6121 sections 3.2 and 3.3: what is seen ends with the subscription.
func TestEndOfSubscription(t *testing.T) {
	w := newWorld(t, "alice", "bob")
	s := w.start()
	alice, tab, bob := reader(s, "alice/a"), s.Online("bob/tab"), reader(s, "bob/b")
	bob.Drain()
	subscribed(alice, bob)
	tab.Drain()
	bob.Send("<presence to='alice@example.com' type='unsubscribed'/>")
	alice.ExpectAnyOrder("<presence from='{bob/b}' to='{alice}' type='unavailable'/>", "<presence from='{bob/tab}' to='{alice}' type='unavailable'/>")
	alice.Expect(said("bob", "alice", "unsubscribed"))
	alice.Expect(pushed("alice", "<item jid='bob@example.com' subscription='from'/>"))
	bob.Expect("<iq type='set' from='{any}' to='{bob/b}' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'><item jid='alice@example.com' subscription='to'/></query></iq>")
	bob.Send("<presence><show>dnd</show></presence>")
	alice.ExpectNothing()
	drainAll(bob, tab)
	bob.Send("<presence to='alice@example.com' type='unsubscribe'/>")
	alice.Expect(said("bob", "alice", "unsubscribe"))
	alice.Expect(pushed("alice", "<item jid='bob@example.com' subscription='none'/>"))
	bob.ExpectAnyOrder("<presence from='{alice}' to='{bob/b}' type='unavailable'/>",
		"<iq type='set' from='{any}' to='{bob/b}' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'><item jid='alice@example.com' subscription='none'/></query></iq>")
	bob.ExpectNothing()
	alice.ExpectNothing()
}
