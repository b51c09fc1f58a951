package offline_test

import (
	"fmt"
	"testing"
	"time"

	"rollcall/internal/servertest"
	"rollcall/modules/offline"
	"rollcall/server"
	"rollcall/storage"
)

// TestWorth is what is kept and what is not, and what the sender is told.
func TestWorth(t *testing.T) {
	h := newHouse(t)
	alice := h.Login("alice/web")
	const hint, state = "xmlns='urn:xmpp:hints'/>", "xmlns='http://jabber.org/protocol/chatstates'/>"
	for name, test := range map[string]struct {
		attrs, inner string
		kept         bool
	}{
		"chat":                  {"type='chat'", "<body>x</body>", true},
		"no type":               {"", "<body>x</body>", true},
		"normal":                {"type='normal'", "<subject>x</subject>", true},
		"unknown type":          {"type='sysevent'", "<body>x</body>", true},
		"headline":              {"type='headline'", "<body>x</body>", false},
		"groupchat":             {"type='groupchat'", "<body>x</body>", false},
		"error":                 {"type='error'", "<body>x</body><store " + hint, false},
		"nothing":               {"type='chat'", "", false},
		"thread":                {"type='chat'", "<thread>x</thread>", false},
		"chat state":            {"type='chat'", "<composing " + state + "<thread>x</thread>", false},
		"state and body":        {"type='chat'", "<active " + state + "<body>x</body>", true},
		"no-store":              {"type='chat'", "<body>x</body><no-store " + hint, false},
		"no-store wins":         {"type='chat'", "<body>x</body><store " + hint + "<no-store " + hint, false},
		"no-store, prefixed":    {"type='chat' xmlns:h='urn:xmpp:hints'", "<body>x</body><h:no-store/>", false},
		"no-permanent-store":    {"type='chat'", "<body>x</body><no-permanent-store " + hint, true},
		"store":                 {"type='chat'", "<store " + hint, true},
		"state and store":       {"type='chat'", "<gone " + state + "<store " + hint, true},
		"receipt":               {"type='chat'", "<received xmlns='urn:xmpp:receipts' id='1'/>", true},
		"invitation":            {"", "<x xmlns='jabber:x:conference' jid='r@c.example.com'/>", true},
		"looks like a carbon":   {"type='chat'", "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received>", false},
		"ids alone":             {"type='chat'", "<origin-id xmlns='urn:xmpp:sid:0' id='1'/>", false},
		"somebody else's delay": {"type='chat'", "<body>x</body><delay xmlns='urn:xmpp:delay' from='x' stamp='2020-01-01T00:00:00Z'/>", true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := h.DiscardAll(t.Context(), "bob"); err != nil {
				t.Fatal(err)
			}
			alice.Send(message("bob@example.com", test.attrs+" id='1'", test.inner))
			if n := h.count(t, "bob"); (n == 1) != test.kept {
				t.Errorf("%d kept", n)
			}
			if !test.kept && name != "headline" && name != "error" {
				alice.Expect("<message type='error' from='bob@example.com' to='{alice}' id='1'><error type='cancel'>" +
					"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
			}
			alice.ExpectNothing()
		})
	}
}

// TestReplay: what was kept comes in order, stamped, once, to the first who can take it.
func TestReplay(t *testing.T) {
	h := newHouse(t)
	alice := h.Online("alice/web")
	before := time.Now().Add(-time.Second)
	alice.Send(chat("bob@example.com", "one") + chat("bob@example.com/gone", "two") + chat("bob@example.com", "three"))
	alice.ExpectNothing()
	bob := h.Login("bob/phone")
	bob.Send("<presence><priority>-1</priority></presence>")
	bob.Expect("<presence from='{bob}' to='{bob}'>...</presence>")
	bob.ExpectNothing()
	bob.Send("<presence/>")
	bob.Expect("<presence from='{bob}' to='{bob}'/>")
	first := bob.Expect("<message from='{alice}' to='bob@example.com' type='chat'><body>one</body>" + stamped + "</message>")
	at, err := time.Parse(time.RFC3339, first.SelectElement("delay").SelectAttrValue("stamp", ""))
	if err != nil || at.Before(before) || at.After(time.Now()) || at.Location() != time.UTC {
		t.Errorf("stamped %v, %v", at, err)
	}
	bob.Expect("<message from='{alice}' to='bob@example.com/gone' type='chat'><body>two</body>" + stamped + "</message>")
	bob.Expect("<message from='{alice}' to='bob@example.com' type='chat'><body>three</body>" + stamped + "</message>")
	if n := h.count(t, "bob"); n != 3 {
		t.Errorf("%d are left before the client has said anything", n)
	}

	// Another resource gets none of them while the first has them.
	second := h.Login("bob/web")
	second.Send("<presence/>")
	second.ExpectAnyOrder("<presence from='{bob/phone}' to='{bob/web}'/>", "<presence from='{bob/web}' to='{bob/web}'/>")
	second.ExpectNothing()
	bob.Send("<iq type='result' id='kept-x' to='example.com'/>") // no answer to that ping
	if n := h.count(t, "bob"); n != 3 {
		t.Errorf("%d are left", n)
	}
	// The first dies, the other takes what is left.
	bob.Drop()
	second.Expect("<presence type='unavailable' from='{bob/phone}' to='{bob/web}'/>")
	if got := bodies(second, 3); got != "one two three" {
		t.Errorf("got %s", got)
	}
	answer(t, second)
	if n := h.count(t, "bob"); n != 0 {
		t.Errorf("%d are left", n)
	}
	second.ExpectNothing()
	second.Send("<presence/>")
	second.Expect("<presence from='{bob}' to='{bob}'/>")
	second.ExpectNothing()
	if n := h.Metric("rollcall_offline_delivered_total"); n != 3 {
		t.Errorf("%v delivered", n)
	}
}

// TestPages: the next page comes when the one before is acknowledged, by an error too.
func TestPages(t *testing.T) {
	h := newHouse(t, func(o *offline.Options, _ *servertest.Options) { o.PageBytes = 400 })
	alice := h.Login("alice/web")
	for i := range 5 {
		alice.Send(chat("bob@example.com", fmt.Sprint("m", i)))
	}
	big := chat("bob@example.com", fmt.Sprintf("%01000d", 0))
	alice.Send(big + big)
	bob := h.Online("bob/phone")
	for _, want := range []string{"m0 m1 m2", "m3 m4"} {
		n := (len(want) + 1) / 3
		if got := bodies(bob, n); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		ping := bob.Next()
		bob.ExpectNothing()
		bob.Send("<iq type='error' id='" + ping.SelectAttrValue("id", "") + "' to='example.com'><error type='cancel'/></iq>")
	}
	for range 2 {
		if got := body(bob.Next()); len(got) != 1000 {
			t.Errorf("got %q", got)
		}
		answer(t, bob)
	}
	bob.ExpectNothing()
	if n := h.count(t, "bob"); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// TestMany is more than a page by number.
func TestMany(t *testing.T) {
	h := newHouse(t)
	alice := h.Login("alice/web")
	for i := range 120 {
		alice.Send(chat("bob@example.com", fmt.Sprint(i)))
	}
	bob := h.Online("bob/phone")
	i := 0
	for _, page := range []int{50, 50, 20} {
		for range page {
			if got := body(bob.Next()); got != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", got, i)
			}
			i++
		}
		answer(t, bob)
	}
	bob.ExpectNothing()
}

// TestSilent is a client that is never pinged: a page is its when it was sent.
func TestSilent(t *testing.T) {
	h := newHouse(t, func(o *offline.Options, _ *servertest.Options) { o.PageBytes = 200 })
	alice := h.Login("alice/web")
	alice.Send(chat("bob@example.com", "one") + chat("bob@example.com", "two"))
	bob := h.DialWith(server.Info{Kind: "test", Secure: true}, server.Listener{NoPings: true})
	bob.Open("example.com")
	bob.Authenticate("bob", servertest.Password)
	bob.Open("example.com")
	bob.Bind("phone")
	bob.Send("<presence/>")
	bob.Next()
	if got := bodies(bob, 2); got != "one two" {
		t.Errorf("got %s", got)
	}
	h.await(t, "bob", 0)
	bob.ExpectNothing()
}

// TestUnknown: nobody learns who exists, and nothing is kept for those who do not.
func TestUnknown(t *testing.T) {
	h := newHouse(t)
	alice := h.Login("alice/web")
	alice.Send(chat("nobody@example.com", "one"))
	alice.Expect("<message type='error' from='nobody@example.com' to='{alice}'><error type='cancel'>" +
		"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
	if n := h.count(t, "nobody"); n != 0 {
		t.Errorf("%d kept", n)
	}
}

// TestOthersThere: a normal message to a resource that is gone is not for the others
// (RFC 6121 section 8.5.3.2.1).
func TestOthersThere(t *testing.T) {
	h := newHouse(t)
	alice, bob := h.Login("alice/web"), h.Online("bob/phone")
	alice.Send(message("bob@example.com/gone", "", "<body>x</body>"))
	alice.Expect("<message type='error' from='bob@example.com/gone' to='{alice}'><error type='cancel'>...</error></message>")
	bob.ExpectNothing()
	if n := h.count(t, "bob"); n != 0 {
		t.Errorf("%d kept", n)
	}
}

func TestOverflow(t *testing.T) {
	full := "<message type='error' from='bob@example.com' to='{alice}'><error type='cancel'>" +
		"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
	for name, test := range map[string]struct {
		limit   storage.KeepLimit
		refused int
		want    string
	}{
		"bounce":         {storage.KeepLimit{Messages: 3, Bytes: 1 << 20}, 2, "m0 m1 m2"},
		"drop":           {storage.KeepLimit{Messages: 3, Bytes: 1 << 20, DropOldest: true}, 0, "m2 m3 m4"},
		"bounce by size": {storage.KeepLimit{Messages: 100, Bytes: 400}, 2, "m0 m1 m2"},
		"drop by size":   {storage.KeepLimit{Messages: 100, Bytes: 400, DropOldest: true}, 0, "m2 m3 m4"},
		"too large":      {storage.KeepLimit{Messages: 100, Bytes: 10, DropOldest: true}, 5, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, func(o *offline.Options, _ *servertest.Options) { o.Limit = test.limit })
			alice := h.Login("alice/web")
			for i := range 5 {
				alice.Send(chat("bob@example.com", fmt.Sprint("m", i)))
			}
			for range test.refused {
				alice.Expect(full)
			}
			alice.ExpectNothing()
			if n := h.Metric("rollcall_offline_refused_total"); n != float64(test.refused) {
				t.Errorf("%v refused", n)
			}
			bob := h.Online("bob/phone")
			if test.want != "" {
				if got := bodies(bob, 3); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
				answer(t, bob)
			}
			bob.ExpectNothing()
		})
	}
}

// TestRemovedUser: whoever gets the name next gets none of the messages.
func TestRemovedUser(t *testing.T) {
	h := newHouse(t, func(_ *offline.Options, o *servertest.Options) { o.Hosts = []string{"example.com", "example.org"} })
	alice := h.Login("alice/web")
	alice.Send(chat("bob@example.com", "one") + chat("bob@example.org", "two"))
	if a, b := h.count(t, "bob"), h.count(t, "bob@example.org"); a != 1 || b != 1 {
		t.Errorf("%d and %d kept", a, b)
	}
	h.Directory.RemoveUser("bob")
	if a, b := h.count(t, "bob"), h.count(t, "bob@example.org"); a != 0 || b != 0 {
		t.Errorf("%d and %d are left", a, b)
	}
}

// TestHosts: a user's messages are those to the address at that host.
func TestHosts(t *testing.T) {
	h := newHouse(t, func(_ *offline.Options, o *servertest.Options) { o.Hosts = []string{"example.com", "example.org"} })
	alice := h.Login("alice/web")
	alice.Send(chat("bob@example.com", "one") + chat("bob@example.org", "two"))
	bob := h.Online("bob@example.org/phone")
	bob.Expect("<message from='{alice}' to='bob@example.org' type='chat'><body>two</body><delay xmlns='urn:xmpp:delay' from='example.org' stamp='{any}'/></message>")
	if ping := bob.Next(); ping.SelectAttrValue("from", "") != "example.org" {
		t.Error("pinged from", ping.SelectAttrValue("from", ""))
	}
	bob.ExpectNothing()
}

// TestForgedDelay: nobody says in the server's name when a message was sent.
func TestForgedDelay(t *testing.T) {
	h := newHouse(t)
	alice := h.Login("alice/web")
	alice.Send(message("bob@example.com", "", "<delay xmlns='urn:xmpp:delay' from='example.com' stamp='1999-01-01T00:00:00Z'/>"+
		"<body>x</body><delay xmlns='urn:xmpp:delay' from='alice@example.com' stamp='1998-01-01T00:00:00Z'/>"))
	bob := h.Online("bob/phone")
	got := bob.Expect("<message from='{alice}' to='bob@example.com'><body>x</body>" +
		"<delay xmlns='urn:xmpp:delay' from='alice@example.com' stamp='1998-01-01T00:00:00Z'/>" + stamped + "</message>")
	if got.SelectElements("delay")[1].SelectAttrValue("stamp", "") < "2000" {
		t.Error("the forged one was kept")
	}
}

func TestFeature(t *testing.T) {
	h := newHouse(t)
	found := false
	for _, p := range h.Protocols() {
		found = found || p.Number == "XEP-0160" && p.Module == "offline"
	}
	if !found {
		t.Errorf("declared: %+v", h.Protocols())
	}
}
