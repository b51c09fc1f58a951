package roster_test

import (
	"testing"

	"rollcall/internal/servertest"
	"rollcall/modules/roster"
	"rollcall/server"
	"rollcall/storage"
)

const get = "<query xmlns='jabber:iq:roster'/>"

func start(t testing.TB, dir *servertest.Directory) *servertest.Server {
	t.Helper()
	return servertest.New(t, servertest.Options{
		Directory: dir,
		Modules:   []server.Module{roster.New(roster.Options{Projects: dir, Users: dir})},
		Hosts:     []string{"example.com", "other.example"},
	})
}

// house has two overlapping projects and one apart.
func house() *servertest.Directory {
	return servertest.NewDirectory().
		AddUser("alice", "Alice").AddUser("bob", "Bob <& 'Co'>").AddUser("carol", "").AddUser("dave", "Dave").
		AddProject("apollo", "Apollo", "alice", "bob").
		AddProject("gemini", "", "alice", "bob", "carol").
		AddProject("mercury", "Mercury", "dave")
}

// pushed is what a roster push looks like.
func pushed(user, item string) string {
	return "<iq type='set' from='" + user + "@example.com' to='{" + user + "}' id='{any}'>" +
		"<query xmlns='jabber:iq:roster' ver='{any}'>" + item + "</query></iq>"
}

// login binds and asks for the roster.
func login(s *servertest.Server, address string) *servertest.Client {
	c := s.Login(address)
	c.Ask("get", "", get)
	return c
}

func TestGet(t *testing.T) {
	tests := []struct {
		login, to string
		items     string
	}{
		{"alice/web", "", `
			<item jid='bob@example.com' name="Bob &lt;&amp; 'Co'&gt;" subscription='both'>
				<group>Apollo</group><group>gemini</group></item>
			<item jid='carol@example.com' subscription='both'><group>gemini</group></item>`},
		{"alice/web", "alice@example.com", `...`},
		{"carol@other.example/x", "", `
			<item jid='alice@other.example' name='Alice' subscription='both'><group>gemini</group></item>
			<item jid='bob@other.example' name="{any}" subscription='both'><group>gemini</group></item>`},
		{"dave/x", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.login+" "+tt.to, func(t *testing.T) {
			s := start(t, house())
			c := s.Login(tt.login)
			got := c.Ask("get", tt.to, get)
			c.Match("<iq type='result' from='{any}' to='"+c.JID.String()+"' id='{any}'>"+
				"<query xmlns='jabber:iq:roster' ver='{any}'>"+tt.items+"</query></iq>", got)
			c.ExpectNothing()
		})
	}
}

func TestGroupsAreNeverTwice(t *testing.T) {
	dir := servertest.NewDirectory().
		AddProject("a", "Same", "alice", "bob").AddProject("b", "Same", "alice", "bob").AddProject("c", "  ", "alice", "bob")
	c := start(t, dir).Login("alice/web")
	c.Match(`<iq type='result' from='alice@example.com' to='{alice}' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'>
		<item jid='bob@example.com' subscription='both'><group>Same</group><group>c</group></item></query></iq>`,
		c.Ask("get", "", get))
}

func TestErrors(t *testing.T) {
	set := func(items string) string { return "<query xmlns='jabber:iq:roster'>" + items + "</query>" }
	tests := []struct {
		name, typ, to, payload string
		kind, condition        string
	}{
		{"change", "set", "", set("<item jid='bob@example.com' name='B'/>"), "cancel", "not-allowed"},
		{"add", "set", "alice@example.com", set("<item jid='eve@example.com'/>"), "cancel", "not-allowed"},
		{"remove", "set", "", set("<item jid='bob@example.com' subscription='remove'/>"), "cancel", "not-allowed"},
		{"no item", "set", "", set(""), "modify", "bad-request"},
		{"two items", "set", "", set("<item jid='a@b'/><item jid='c@d'/>"), "modify", "bad-request"},
		{"no address", "set", "", set("<item name='x'/>"), "modify", "bad-request"},
		{"bad address", "set", "", set("<item jid='@'/>"), "modify", "bad-request"},
		{"another's", "get", "bob@example.com", get, "auth", "forbidden"},
		{"a stranger's", "get", "nobody@example.com", get, "auth", "forbidden"},
		{"set another's", "set", "bob@example.com", set("<item jid='a@b'/>"), "auth", "forbidden"},
		{"the server's", "get", "example.com", get, "cancel", "service-unavailable"},
	}
	s := start(t, house())
	c := s.Login("alice/web")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.Match("<iq type='error' from='{any}' to='{alice}' id='{any}'><error type='"+tt.kind+"'><"+tt.condition+
				" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></iq>", c.Ask(tt.typ, tt.to, tt.payload))
		})
	}
	c.ExpectNothing()
}

func TestStoreDown(t *testing.T) {
	dir := house()
	s := start(t, dir)
	c := s.Login("alice/web")
	dir.Fail(storage.ErrUnavailable)
	c.Match(`<iq type='error' from='alice@example.com' to='{alice}' id='{any}'><error type='wait'>
		<internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></iq>`, c.Ask("get", "", get))
	dir.Fail(nil)
	dir.Join("apollo", "dave")
	c.ExpectNothing() // the failed request was none
	c.Match(`<iq type='result' from='{any}' to='{any}' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'>
		<item jid='dave@example.com' name='Dave' subscription='both'>...</item>...</query></iq>`, c.Ask("get", "", get))
}

func TestSubscriptions(t *testing.T) {
	s := start(t, house())
	alice, bob := s.Online("alice/web"), s.Online("bob/web")
	alice.Send("<presence to='bob@example.com' type='subscribe' id='s'/>")
	alice.Expect("<presence from='bob@example.com' to='alice@example.com' type='subscribed'/>")
	alice.Send("<presence to='dave@example.com' type='subscribe'/>")
	alice.Expect("<presence from='dave@example.com' to='alice@example.com' type='unsubscribed'/>")
	alice.Send("<presence to='alice@example.com' type='subscribe'/>")
	alice.Expect("<presence from='alice@example.com' to='alice@example.com' type='unsubscribed'/>")
	alice.Send("<presence to='bob@other.example' type='subscribe'/>")
	alice.Expect("<presence from='bob@other.example' to='alice@example.com' type='unsubscribed'/>")
	for _, typ := range []string{"subscribed", "unsubscribe", "unsubscribed"} {
		alice.Send("<presence to='bob@example.com' type='" + typ + "'/>")
	}
	s.Directory.Fail(storage.ErrUnavailable)
	alice.Send("<presence to='bob@example.com' type='subscribe'/>")
	alice.Expect("<presence from='bob@example.com' to='alice@example.com' type='unsubscribed'/>")
	alice.ExpectNothing()
	bob.ExpectNothing()
}

// A roster that is in memory costs no read.
func TestReads(t *testing.T) {
	dir := house()
	s := start(t, dir)
	alice := login(s, "alice/web")
	before := dir.Reads()
	alice.Ask("get", "", get)
	if n := dir.Reads() - before; n != 0 {
		t.Errorf("%d reads for a second get", n)
	}
	bob := s.Login("bob/web")
	before = dir.Reads()
	bob.Ask("get", "", get)
	if n := dir.Reads() - before; n != 1 {
		t.Errorf("%d reads for a roster whose projects are in memory, want 1", n)
	}
	alice.Drop()
	bob.Drop()
	again := s.Login("alice/web")
	before = dir.Reads()
	again.Ask("get", "", get)
	if n := dir.Reads() - before; n != 3 {
		t.Errorf("%d reads after everybody left, want 3: nothing may be kept", n)
	}
}
