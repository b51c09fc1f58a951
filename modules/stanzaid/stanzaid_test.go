package stanzaid_test

import (
	"testing"

	"rollcall/internal/msgid"
	"rollcall/internal/servertest"
	"rollcall/modules/disco"
	"rollcall/modules/stanzaid"
	"rollcall/server"
)

func start(t testing.TB) *servertest.Server {
	return servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", "").AddUser("bob", ""),
		Modules:   []server.Module{stanzaid.New(), disco.New()},
	})
}

func TestMark(t *testing.T) {
	const ours = "<stanza-id xmlns='urn:xmpp:sid:0' id='{any}' by='bob@example.com'/>"
	s := start(t)
	alice, other := s.Online("alice/web"), s.Online("bob/phone")
	for _, test := range []struct{ attrs, inner, want string }{
		{"type='chat'", "<body>x</body>", "<body>x</body>" + ours},
		{"", "<subject>y</subject><body>x</body>", "<subject>y</subject><body>x</body>" + ours},
		{"type='chat'", "<active xmlns='http://jabber.org/protocol/chatstates'/>", "<active xmlns='http://jabber.org/protocol/chatstates'/>"},
		{"type='headline'", "<body>x</body>", "<body>x</body>"},
		{"type='chat'", "<origin-id xmlns='urn:xmpp:sid:0' id='1'/><body>x</body>", "<origin-id xmlns='urn:xmpp:sid:0' id='1'/><body>x</body>" + ours},
		// forged
		{"type='chat'", "<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' id='1' by=\"bob@example.com\"/>", "<body>x</body>" + ours},
		{"type='chat'", "<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='B&#x6f;b@EXAMPLE.com'>?</stanza-id><body>x</body>", "<body>x</body>" + ours},
		{"type='headline'", "<body>x</body><s:stanza-id xmlns:s='urn:xmpp:sid:0' id='1' by='bob@example.com'/>", "<body>x</body>"},
		{"xmlns:s='urn:xmpp:sid:0'", "<body>x</body><s:stanza-id id='1' by='bob@example.com'/>", "<body>x</body>" + ours},
		// others' are not ours to touch
		{"xmlns:s='urn:other'", "<body>x</body><s:stanza-id id='1' by='bob@example.com'/>",
			"<body>x</body><s:stanza-id xmlns:s='urn:other' id='1' by='bob@example.com'/>" + ours},
		{"type='chat'", "<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' id='1' by='room@muc.example.com'/>",
			"<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' id='1' by='room@muc.example.com'/>" + ours},
		{"type='chat'", "<body>stanza-id</body><x xmlns='y'><stanza-id xmlns='urn:xmpp:sid:0' id='1' by='bob@example.com'/></x>",
			"<body>stanza-id</body><x xmlns='y'><stanza-id xmlns='urn:xmpp:sid:0' id='1' by='bob@example.com'/></x>" + ours},
		{"type='chat'", "<body>x</body><stanza-id xmlns='z' id='1' by='bob@example.com'/>",
			"<body>x</body><stanza-id xmlns='z' id='1' by='bob@example.com'/>" + ours},
	} {
		alice.Send("<message to='bob@example.com' " + test.attrs + ">" + test.inner + "</message>")
		got := other.Next()
		want := "<message from='{alice}' to='bob@example.com'"
		if typ := got.SelectAttrValue("type", ""); typ != "" {
			want += " type='" + typ + "'"
		}
		other.Match(want+">"+test.want+"</message>", got)
		for _, id := range got.SelectElements("stanza-id") {
			if by := id.SelectAttrValue("by", ""); by == "bob@example.com" && id.NamespaceURI() == "urn:xmpp:sid:0" {
				if _, ok := msgid.Time(id.SelectAttrValue("id", "")); !ok {
					t.Errorf("%s: id %q", test.inner, id.SelectAttrValue("id", ""))
				}
			}
		}
	}
}

// TestFeature: clients look whether forged ids are taken away.
func TestFeature(t *testing.T) {
	s := start(t)
	alice := s.Login("alice/web")
	found := false
	for _, f := range alice.Ask("get", "alice@example.com", "<query xmlns='http://jabber.org/protocol/disco#info'/>").FindElements("query/feature") {
		found = found || f.SelectAttrValue("var", "") == "urn:xmpp:sid:0"
	}
	if !found {
		t.Error("not among the features of an account")
	}
}

// BenchmarkMark is a message to a bare address, without and with the module.
func BenchmarkMark(b *testing.B) {
	for name, modules := range map[string][]server.Module{"without": nil, "with": {stanzaid.New()}} {
		b.Run(name, func(b *testing.B) {
			s := servertest.New(b, servertest.Options{
				Directory: servertest.NewDirectory().AddUser("alice", "").AddUser("bob", ""), Modules: modules,
			})
			alice, bob := s.Online("alice/web"), s.Online("bob/phone")
			bob.Discard()
			b.ReportAllocs()
			for b.Loop() {
				alice.Send("<message to='bob@example.com' type='chat' id='m-17'><body>a sentence or two, as people write them</body></message>")
			}
		})
	}
}
