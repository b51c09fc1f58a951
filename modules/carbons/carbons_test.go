package carbons_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/modules/carbons"
	"rollcall/server"
	"rollcall/storage/memory"
)

const (
	enable  = "<enable xmlns='urn:xmpp:carbons:2'/>"
	disable = "<disable xmlns='urn:xmpp:carbons:2'/>"
	unheard = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
)

func people() *servertest.Directory {
	return servertest.NewDirectory().AddUser("alice", "Alice").AddUser("bob", "Bob")
}

func start(t *testing.T) *servertest.Server {
	return servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{carbons.New()}})
}

// online makes a client available that may have others of its user beside it.
func online(s *servertest.Server, address string) *servertest.Client {
	c := s.Login(address)
	c.Send("<presence/>")
	c.Drain()
	return c
}

// wants makes a client get copies.
func wants(t *testing.T, c *servertest.Client, payload string) {
	t.Helper()
	c.Match("<iq type='result' from='"+c.JID.Bare().String()+"' to='"+c.JID.String()+"' id='{any}'/>", c.Ask("set", "", payload))
}

// carbon is a copy for a client of the user; inner is the rest of the message in it.
func carbon(kind, user string, to *servertest.Client, typ, message string) string {
	if typ != "" {
		typ = " type='" + typ + "'"
	}
	return fmt.Sprintf("<message from='%s@example.com' to='%s'%s><%s xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>%s</forwarded></%[4]s></message>",
		user, to.JID, typ, kind, message)
}

func message(from, to, rest string) string {
	return "<message xmlns='jabber:client' from='" + from + "' to='" + to + "' " + rest
}

func TestCopies(t *testing.T) {
	s := start(t)
	alice, phone, quiet := online(s, "alice/web"), online(s, "alice/phone"), s.Login("alice/quiet")
	bob, tablet, plain := online(s, "bob/web"), online(s, "bob/tablet"), online(s, "bob/plain")
	all := []*servertest.Client{alice, phone, quiet, bob, tablet, plain}
	for _, c := range []*servertest.Client{phone, quiet, tablet} {
		wants(t, c, enable)
		wants(t, c, enable) // once more changes nothing
	}
	drain := func() {
		for _, c := range all {
			c.Drain()
		}
	}
	drain()
	nothing := func(t *testing.T) {
		t.Helper()
		for _, c := range all {
			c.ExpectNothing()
		}
	}
	const chat = "type='chat' id='1'><body>a &lt; b</body></message>"

	t.Run("to a full address", func(t *testing.T) {
		defer drain()
		alice.Send("<message to='bob@example.com/web' " + chat)
		bob.Expect(message("{alice/web}", "{bob/web}", chat))
		tablet.Expect(carbon("received", "bob", tablet, "chat", message("{alice/web}", "{bob/web}", chat)))
		for _, c := range []*servertest.Client{phone, quiet} {
			c.Expect(carbon("sent", "alice", c, "chat", message("{alice/web}", "{bob/web}", chat)))
		}
		nothing(t)
	})
	t.Run("from who wants copies, to who does", func(t *testing.T) {
		defer drain()
		phone.Send("<message to='bob@example.com/tablet' " + chat)
		tablet.Expect(message("{alice/phone}", "{bob/tablet}", chat))
		quiet.Expect(carbon("sent", "alice", quiet, "chat", message("{alice/phone}", "{bob/tablet}", chat)))
		nothing(t)
	})
	t.Run("to a bare address", func(t *testing.T) {
		defer drain()
		bob.Send("<message to='alice@example.com' " + chat)
		for _, c := range []*servertest.Client{alice, phone} {
			c.Expect(message("{bob/web}", "alice@example.com", chat))
		}
		quiet.Expect(carbon("received", "alice", quiet, "chat", message("{bob/web}", "alice@example.com", chat)))
		tablet.Expect(carbon("sent", "bob", tablet, "chat", message("{bob/web}", "alice@example.com", chat)))
		nothing(t)
	})
	t.Run("to a resource that is gone", func(t *testing.T) {
		defer drain()
		bob.Send("<message to='alice@example.com/gone' " + chat)
		for _, c := range []*servertest.Client{alice, phone} {
			c.Expect(message("{bob/web}", "alice@example.com/gone", chat))
		}
		quiet.Expect(carbon("received", "alice", quiet, "chat", message("{bob/web}", "alice@example.com/gone", chat)))
		tablet.Expect(carbon("sent", "bob", tablet, "chat", message("{bob/web}", "alice@example.com/gone", chat)))
		nothing(t)
	})
	t.Run("to oneself", func(t *testing.T) {
		defer drain()
		alice.Send("<message to='alice@example.com/phone' " + chat)
		phone.Expect(message("{alice/web}", "{alice/phone}", chat))
		quiet.Expect(carbon("sent", "alice", quiet, "chat", message("{alice/web}", "{alice/phone}", chat)))
		nothing(t)
	})
	t.Run("an error for a resource that is gone", func(t *testing.T) {
		defer drain()
		const failed = "type='error'><body>x</body><error type='wait'/></message>"
		bob.Send("<message to='alice@example.com/gone' " + failed)
		for _, c := range []*servertest.Client{phone, quiet} {
			c.Expect(carbon("received", "alice", c, "error", message("{bob/web}", "alice@example.com/gone", failed)))
		}
		tablet.Expect(carbon("sent", "bob", tablet, "error", message("{bob/web}", "alice@example.com/gone", failed)))
		nothing(t)
	})
	t.Run("that nobody takes", func(t *testing.T) {
		defer drain()
		alice.Send("<message to='nobody@example.com' " + chat)
		alice.Expect("<message from='nobody@example.com' to='{alice/web}' type='error' id='1'>" + unheard + "</message>")
		for _, c := range []*servertest.Client{phone, quiet} {
			c.Expect(carbon("sent", "alice", c, "chat", message("{alice/web}", "nobody@example.com", chat)))
			c.Expect(carbon("received", "alice", c, "error", message("nobody@example.com", "{alice/web}", "type='error' id='1'>"+unheard+"</message>")))
		}
		nothing(t)
	})
	t.Run("not any more", func(t *testing.T) {
		defer drain()
		wants(t, tablet, disable)
		wants(t, tablet, disable)
		quiet.Hangup()
		phone.Drop()
		drain()
		alice.Send("<message to='bob@example.com/web' " + chat)
		bob.Expect(message("{alice/web}", "{bob/web}", chat))
		nothing(t)
	})
}

func TestEligible(t *testing.T) {
	s := start(t)
	alice, bob, tablet := online(s, "alice/web"), online(s, "bob/web"), online(s, "bob/tablet")
	wants(t, tablet, enable)
	bob.Drain()
	tablet.Drain()
	const body = "<body>b</body>"
	for _, test := range []struct {
		name, typ, content string
		want               bool
	}{
		{"chat", "chat", "", true},
		{"normal with a body", "", body, true},
		{"normal by name", "normal", body, true},
		{"unknown type", "urgent", body, true},
		{"normal without a body", "", "<subject>s</subject>", false},
		{"a body of somebody else", "", "<body xmlns='urn:x'/>", false},
		{"chat state", "", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", true},
		{"receipt", "", "<received xmlns='urn:xmpp:receipts' id='1'/>", true},
		{"marker", "", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", true},
		{"groupchat", "groupchat", body, false},
		{"headline", "headline", body, false},
		{"invitation", "", "<x xmlns='jabber:x:conference' jid='r@h'/>", true},
		{"mediated invitation", "", "<x xmlns='http://jabber.org/protocol/muc#user'><invite/></x>", true},
		{"of a room", "", "<x xmlns='http://jabber.org/protocol/muc#user'/>", false},
		{"error with what it answers", "error", body + "<error type='cancel'/>", true},
		{"error", "error", "<error type='cancel'/>", false},
		{"private", "chat", body + "<private xmlns='urn:xmpp:carbons:2'/>", false},
		{"private to others", "chat", body + "<private xmlns='urn:x'/>", true},
		{"no-copy", "chat", body + "<no-copy xmlns='urn:xmpp:hints'/>", false},
		{"no-copy in an error", "error", body + "<no-copy xmlns='urn:xmpp:hints'/>", true},
		{"no-copy by a prefix", "chat' xmlns:h='urn:xmpp:hints", body + "<h:no-copy/>", false},
		{"private by a prefix", "chat' xmlns:c='urn:xmpp:carbons:&#x32;", body + "<c:private/>", false},
		{"chat state by a prefix", "normal' xmlns:s='http://jabber.org/protocol/chatstates", "<s:active/>", true},
		{"private to an invitation", "", "<x xmlns='http://jabber.org/protocol/muc#user'><invite/></x><private xmlns='urn:xmpp:carbons:2'/>", false},
		{"as if of a room", "chat", body + "<x xmlns='http://jabber.org/protocol/muc#user'/>", true},
		{"no-store", "chat", body + "<no-store xmlns='urn:xmpp:hints'/>", true},
		{"a copy made up", "chat", "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received>", false},
		{"a copy of what was sent made up", "chat", body + "<sent xmlns='urn:xmpp:carbons:2'/>", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			typ := ""
			if test.typ != "" {
				typ = " type='" + test.typ + "'"
			}
			alice.Send("<message to='bob@example.com/web'" + typ + ">" + test.content + "</message>")
			if got := bob.Next(); got.Tag != "message" {
				t.Fatalf("got <%s>", got.Tag)
			}
			if test.want {
				if got := tablet.Next(); got.FindElement("./received/forwarded/message") == nil {
					t.Error("no copy")
				}
			}
			tablet.ExpectNothing()
		})
	}
}

func TestRefusals(t *testing.T) {
	alice := start(t).Login("alice/web")
	for _, payload := range []string{enable, disable} {
		alice.Match("<iq type='error' from='alice@example.com' to='{alice}' id='{any}'><error type='modify'>"+
			"<bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></iq>", alice.Ask("get", "", payload))
		alice.Match("<iq type='error' from='bob@example.com' to='{alice}' id='{any}'>"+unheard+"</iq>", alice.Ask("set", "bob@example.com", payload))
	}
}

// What a server adds for the recipient is not in the sender's copies.
func TestExtra(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{carbons.New(), marker{}}})
	alice, phone, bob, tablet := online(s, "alice/web"), online(s, "alice/phone"), online(s, "bob/web"), online(s, "bob/tablet")
	for _, c := range []*servertest.Client{phone, tablet} {
		wants(t, c, enable)
		c.Drain()
	}
	bob.Drain()
	alice.Send("<message to='bob@example.com/web' type='chat'><body>b</body></message>")
	const before, after = "type='chat'><body>b</body>", "<mark xmlns='urn:mark'/></message>"
	bob.Expect(message("{alice/web}", "{bob/web}", before+after))
	tablet.Expect(carbon("received", "bob", tablet, "chat", message("{alice/web}", "{bob/web}", before+after)))
	phone.Expect(carbon("sent", "alice", phone, "chat", message("{alice/web}", "{bob/web}", before+"</message>")))
	// The sender's account is the recipient's.
	tab := online(s, "alice/tab")
	phone.Drain()
	alice.Drain()
	alice.Send("<message to='alice@example.com/tab' type='chat'><body>b</body></message>")
	tab.Expect(message("{alice/web}", "{alice/tab}", before+after))
	phone.Expect(carbon("sent", "alice", phone, "chat", message("{alice/web}", "{alice/tab}", before+after)))
}

// TestComponents: what goes to and comes from other hosts is copied like all else, but
// not what people in rooms there say in private, which the room sends to all clients
// (section 6.1).
func TestComponents(t *testing.T) {
	h := new(gateway)
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{carbons.New(), h}})
	alice, phone := online(s, "alice/web"), online(s, "alice/phone")
	wants(t, phone, enable)
	alice.Drain()
	phone.Drain()
	const chat, private = "type='chat'><body>b</body></message>", "type='chat'><x xmlns='http://jabber.org/protocol/muc#user'/><body>b</body></message>"
	for _, rest := range []string{chat, private} {
		alice.Send("<message to='room@gate.example.com/nick' " + rest)
		phone.Expect(carbon("sent", "alice", phone, "chat", message("{alice/web}", "room@gate.example.com/nick", rest)))
	}
	alice.Send("<message to='room@gate.example.com' type='groupchat'><body>b</body></message>")
	phone.ExpectNothing()
	h.send(t, "room@gate.example.com/nick", chat, alice)
	alice.Expect(message("room@gate.example.com/nick", "{alice/web}", chat))
	phone.Expect(carbon("received", "alice", phone, "chat", message("room@gate.example.com/nick", "{alice/web}", chat)))
	h.send(t, "room@gate.example.com/nick", private, alice)
	alice.Expect(message("room@gate.example.com/nick", "{alice/web}", private))
	phone.ExpectNothing()
	// What does not get there is news for all clients.
	h.gone = true
	alice.Send("<message to='gate.example.com' " + chat)
	alice.Next()
	phone.Expect(carbon("sent", "alice", phone, "chat", message("{alice/web}", "gate.example.com", chat)))
	phone.Expect(carbon("received", "alice", phone, "error", message("gate.example.com", "{alice/web}", "type='error'>"+unheard+"</message>")))
}

// What a lost connection was given is not copied to the user's others once more.
func TestCopiesAreNotGivenBack(t *testing.T) {
	s := start(t)
	alice, bob, tablet := online(s, "alice/web"), online(s, "bob/web"), online(s, "bob/tablet")
	wants(t, tablet, enable)
	alice.Send("<message to='bob@example.com/web' type='chat'><body>b</body></message>")
	bob.Drain()
	alice.Drain()
	tablet.Drain()
	tablet.Drop()
	bob.Drain()
	tablet.Session().Undelivered([]byte(carbon("received", "bob", tablet, "chat", "<message xmlns='jabber:client' from='alice@example.com/web'/>")))
	bob.ExpectNothing()
	alice.ExpectNothing()
}

func TestNodes(t *testing.T) {
	hub := memory.NewHub()
	one := servertest.New(t, servertest.Options{Directory: people(), Bus: hub.Bus("a"), Modules: []server.Module{carbons.New()}})
	alice, phone := online(one, "alice/web"), online(one, "alice/phone")
	wants(t, phone, enable) // before there is another node
	two := servertest.New(t, servertest.Options{
		Directory: one.Directory, Bus: hub.Bus("b"), Beside: one, Modules: []server.Module{carbons.New()},
	})
	bob, tablet := online(one, "bob/web"), two.Login("bob/tablet")
	far := two.Login("alice/far")
	wants(t, tablet, enable)
	wants(t, far, enable)
	meet(t, alice, tablet)
	meet(t, alice, far)
	for _, c := range []*servertest.Client{alice, phone, bob, tablet, far} {
		c.Drain()
	}
	const chat = "type='chat'><body>b</body></message>"
	alice.Send("<message to='bob@example.com/web' " + chat)
	bob.Expect(message("{alice/web}", "{bob/web}", chat))
	tablet.Expect(carbon("received", "bob", tablet, "chat", message("{alice/web}", "{bob/web}", chat)))
	for _, c := range []*servertest.Client{phone, far} {
		c.Expect(carbon("sent", "alice", c, "chat", message("{alice/web}", "{bob/web}", chat)))
	}
	// The other way: what the node knew before is known to the new one.
	tablet.Send("<message to='alice@example.com/far' " + chat)
	far.Expect(message("{bob/tablet}", "{alice/far}", chat))
	phone.Expect(carbon("received", "alice", phone, "chat", message("{bob/tablet}", "{alice/far}", chat)))
	// Those that get it anyway get no copy, at the other node either.
	far.Send("<presence/>")
	meet(t, far, alice)
	far.Drain()
	phone.Drain()
	bob.Send("<message to='alice@example.com' " + chat)
	far.Expect(message("{bob/web}", "alice@example.com", chat))
	phone.Expect(message("{bob/web}", "alice@example.com", chat))
	tablet.Expect(carbon("sent", "bob", tablet, "chat", message("{bob/web}", "alice@example.com", chat)))
	wants(t, tablet, disable)
	wants(t, far, disable)
	meet(t, tablet, alice)
	meet(t, far, alice)
	far.Drain()
	bob.Send("<message to='alice@example.com/web' " + chat)
	meet(t, bob, tablet)
	meet(t, bob, far)
	tablet.ExpectNothing()
	far.ExpectNothing()
}

// marker puts something into every message.
type marker struct{}

func (marker) Name() string { return "marker" }

func (marker) Start(h *server.Host) error {
	h.OnMessage(1, mark)
	return nil
}

// What another node tells and nobody can read costs nothing but a line in the log.
func TestUnreadable(t *testing.T) {
	hub := memory.NewHub()
	var log bytes.Buffer
	s := servertest.New(t, servertest.Options{
		Directory: people(), Bus: hub.Bus("a"), Modules: []server.Module{carbons.New()},
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	other := servertest.New(t, servertest.Options{Directory: s.Directory, Bus: hub.Bus("b"), Beside: s, Modules: []server.Module{new(liar)}})
	alice, bob := online(s, "alice/web"), online(other, "bob/web")
	meet(t, bob, alice)
	wants(t, alice, enable)
	other.Stop()
	s.Stop()
	if n := strings.Count(log.String(), "cannot be understood"); n < 6 {
		t.Errorf("%d complaints: %s", n, log.String())
	}
}
