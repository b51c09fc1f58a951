package server_test

import (
	"strings"
	"testing"

	"rollcall/internal/jid"
	"rollcall/internal/servertest"
	"rollcall/server"
)

const bounce = "<error type='cancel'><service-unavailable xmlns='" + stanzas + "'/></error>"

func written(elements ...string) []byte {
	return []byte(strings.ReplaceAll(strings.Join(elements, ""), "<@", "<"))
}

func stanzaFrom(name, from, to, rest string) string {
	return "<" + name + " xmlns='jabber:client' from='" + from + "' to='" + to + "' " + rest
}

// TestB35Undelivered: what a connection was given goes back by kind, type and
// address (RFC 6121 section 8.5.3.2, XEP-0206 section 7).
func TestB35Undelivered(t *testing.T) {
	const bob, web, bare = "bob@example.com/x", "alice@example.com/web", "alice@example.com"
	for _, test := range []struct {
		name, element string
		want          string // what bob gets
	}{
		{"chat", stanzaFrom("message", bob, web, "type='chat' id='1'><body>b</body></message>"),
			"<message type='error' id='1' from='" + web + "' to='{bob}'>" + bounce + "</message>"},
		{"normal", stanzaFrom("message", bob, web, "id='1'/>"),
			"<message type='error' id='1' from='" + web + "' to='{bob}'>" + bounce + "</message>"},
		{"to the account", stanzaFrom("message", bob, bare, "id='1'/>"),
			"<message type='error' id='1' from='" + bare + "' to='{bob}'>" + bounce + "</message>"},
		{"headline", stanzaFrom("message", bob, web, "type='headline' id='1'/>"), ""},
		{"error", stanzaFrom("message", bob, web, "type='error' id='1'/>"), ""},
		{"get", stanzaFrom("iq", bob, web, "type='get' id='2'><x xmlns='y'/></iq>"),
			"<iq type='error' id='2' from='" + web + "' to='{bob}'>" + bounce + "</iq>"},
		{"set", stanzaFrom("iq", bob, web, "type='set' id='2'><x xmlns='y'/></iq>"),
			"<iq type='error' id='2' from='" + web + "' to='{bob}'>" + bounce + "</iq>"},
		{"result", stanzaFrom("iq", bob, web, "type='result' id='2'/>"), ""},
		{"iq error", stanzaFrom("iq", bob, web, "type='error' id='2'/>"), ""},
		{"presence", stanzaFrom("presence", bob, web, "/>"), ""},
		{"from nobody", "<message xmlns='jabber:client' to='" + web + "'/>", ""},
		{"from who is gone", stanzaFrom("message", "bob@example.com/gone", web, "id='1'/>"), ""},
		{"from the server", stanzaFrom("iq", "example.com", web, "type='get' id='3'><ping xmlns='urn:xmpp:ping'/></iq>"), ""},
		{"of the stream", "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>", ""},
		{"of the login", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := servertest.New(t, servertest.Options{Directory: people()})
			bob, alice := s.Online("bob/x"), s.Online("alice/web")
			alice.Drop()
			bob.Drain()
			last := stanzaFrom("iq", "bob@example.com/x", web, "type='get' id='last'><x xmlns='y'/></iq>")
			alice.Session().Undelivered(written(test.element, last))
			if test.want != "" {
				bob.Expect(test.want)
			}
			// What follows is not held up.
			bob.Expect("<iq type='error' id='last' from='" + web + "' to='{bob}'>" + bounce + "</iq>")
			bob.ExpectNothing()
		})
	}
}

// TestB35OtherResources: what can still be delivered is, and nobody gets it twice.
func TestB35OtherResources(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	bob, alice := s.Online("bob/x"), s.Online("alice/web")
	gone := alice.Session()
	give := func() {
		gone.Undelivered(written(
			stanzaFrom("message", "bob@example.com/x", "alice@example.com", "id='1'/>"),
			stanzaFrom("message", "bob@example.com/x", "alice@example.com/web", "type='chat' id='chat'/>"),
			stanzaFrom("message", "bob@example.com/x", "alice@example.com", "id='2'/>"),
		))
	}
	bob.Send("<message to='alice@example.com' id='0'/><message to='alice@example.com' id='1'/>")
	late := available(s, "alice/late") // when one of two had been given to the first one
	bob.Send("<message to='alice@example.com' id='2'/>")
	late.Drain()
	bob.Drain()
	alice.Drop()
	later := available(s, "alice/later")
	late.Drain()
	give()
	late.Expect("<message from='{bob}' to='alice@example.com' id='1'/>")
	late.Expect("<message from='{bob}' to='alice@example.com/web' type='chat' id='chat'/>")
	late.ExpectNothing()
	for _, id := range []string{"1", "chat", "2"} {
		m := later.Next()
		if m.SelectAttrValue("id", "") != id {
			t.Errorf("%s instead of %s", m.SelectAttrValue("id", ""), id)
		}
	}
	later.ExpectNothing()
	bob.ExpectNothing()

	// A session that took the address over gets what was for it.
	again := s.Login("alice/web")
	give()
	again.Expect("<message from='{bob}' to='alice@example.com/web' type='chat' id='chat'/>")
	again.ExpectNothing() // it is not available
}

// TestB35EarlierResource: who was there before has a copy of everything.
func TestB35EarlierResource(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	bob, first, alice := s.Online("bob/x"), s.Online("alice/first"), available(s, "alice/web")
	bob.Send("<message to='alice@example.com' id='1'/>")
	alice.Drop()
	first.Drain()
	alice.Session().Undelivered(written(stanzaFrom("message", "bob@example.com/x", "alice@example.com", "id='1'/>")))
	first.ExpectNothing()
	bob.ExpectNothing()
}

// TestB35AgainAndAgain: what reaches a session by way of one that died counts as
// given to it.
func TestB35AgainAndAgain(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	bob, first := s.Online("bob/x"), s.Online("alice/first")
	one := stanzaFrom("message", "bob@example.com/x", "alice@example.com", "id='1'/>")
	two := stanzaFrom("message", "bob@example.com/x", "alice@example.com", "id='2'/>")
	bob.Send("<message to='alice@example.com' id='1'/>")
	second := available(s, "alice/second")
	first.Drop()
	second.Drain()
	first.Session().Undelivered(written(one))
	second.Expect("<message from='{bob}' to='alice@example.com' id='1'/>")
	bob.Send("<message to='alice@example.com' id='2'/>")
	second.Expect("<message from='{bob}' to='alice@example.com' id='2'/>")
	third := available(s, "alice/third")
	second.Drop()
	third.Drain()
	second.Session().Undelivered(written(one, two))
	third.Expect("<message from='{bob}' to='alice@example.com' id='1'/>")
	third.Expect("<message from='{bob}' to='alice@example.com' id='2'/>")
	third.ExpectNothing()
	bob.ExpectNothing()
}

// TestB35Twice: what goes back to somebody who is gone as well is dropped.
func TestB35Twice(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	bob, alice := s.Online("bob/x"), s.Online("alice/web")
	alice.Drop()
	alice.Session().Undelivered(written(stanzaFrom("message", "bob@example.com/x", "alice@example.com/web", "id='1'/>")))
	bob.Expect("<message type='error' id='1' from='alice@example.com/web' to='{bob}'>" + bounce + "</message>")
	bob.Drop()
	bob.Session().Undelivered(written(stanzaFrom("message", "alice@example.com/web", "bob@example.com/x", "type='error' id='1'/>")))
	bob.Session().Undelivered([]byte("<message"))
	bob.Session().Undelivered(nil)
	s.Dial().Session().Undelivered([]byte("<message/>")) // nobody was ever bound there
}

// available logs in where others of the account may be.
func available(s *servertest.Server, address string) *servertest.Client {
	c := s.Login(address)
	c.Send("<presence/>")
	c.Drain()
	return c
}

// What comes back from who is blocked by now goes nowhere else (XEP-0191 section 3.3).
func TestUndeliveredFromBlocked(t *testing.T) {
	filter := &module{name: "filter", start: func(h *server.Host) error {
		h.SetFilter(func(from, _ jid.JID) server.Verdict {
			if from.Local() == "bob" {
				return server.Shunned
			}
			return server.Pass
		})
		return nil
	}}
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{filter}})
	gone, web, bob := s.Login("alice/gone"), s.Online("alice/web"), s.Login("bob/x")
	gone.Drop()
	for _, to := range []string{"alice@example.com", "alice@example.com/gone"} {
		gone.Session().Undelivered(written(stanzaFrom("message", "bob@example.com/x", to, "type='chat' id='1'/>")))
		bob.Expect("<message from='" + to + "' to='{bob}' type='error' id='1'>...</message>")
	}
	web.ExpectNothing()
}
