package private_test

import (
	"errors"
	"strings"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/modules/private"
	"rollcall/server"
	"rollcall/storage"
)

func ask(c *servertest.Client, typ, inner string) string {
	answer := c.Ask(typ, "", "<query xmlns='jabber:iq:private'>"+inner+"</query>")
	if el := answer.FindElement("./error"); el != nil {
		return el.ChildElements()[0].Tag
	}
	return answer.SelectAttrValue("type", "")
}

func start(t *testing.T, limit storage.DocumentLimit) (*servertest.Client, *servertest.Documents) {
	t.Helper()
	docs, dir := servertest.NewDocuments(), servertest.NewDirectory().AddUser("alice", "")
	return servertest.New(t, servertest.Options{
		Directory: dir,
		Modules:   []server.Module{private.New(private.Options{Documents: docs, Owners: dir, Limit: limit})},
	}).Login("alice/web"), docs
}

func TestBounds(t *testing.T) {
	c, _ := start(t, storage.DocumentLimit{Documents: 2, Bytes: 100})
	long := strings.Repeat("x", 3000)
	for _, tt := range []struct{ typ, inner, want string }{
		{"set", "<a xmlns='urn:a'>1</a>", "result"},
		{"set", "<b xmlns='urn:b'>" + long[:90] + "</b>", "policy-violation"}, // bytes
		{"set", "<b xmlns='urn:b'>1</b>", "result"},
		{"set", "<c xmlns='urn:c'>1</c>", "policy-violation"}, // documents
		{"set", "<a xmlns='urn:a'/>", "result"},
		{"set", "<c xmlns='urn:c' d='1'/>", "result"},
		{"set", "<a xmlns='urn:" + long + "'>1</a>", "not-acceptable"},
		{"get", "<a xmlns='urn:" + long + "'/>", "not-acceptable"},
		{"get", "<a xmlns='jabber:iq:private'/>", "not-acceptable"},
		{"set", strings.Repeat("<a xmlns='urn:a'>1</a>", 17), "not-acceptable"},
	} {
		if got := ask(c, tt.typ, tt.inner); got != tt.want {
			t.Errorf("%s %.60s: %s, want %s", tt.typ, tt.inner, got, tt.want)
		}
	}
}

// TestDeclarations: what is kept brings the prefixes along that were declared around it.
func TestDeclarations(t *testing.T) {
	c, _ := start(t, storage.DocumentLimit{})
	c.Send("<iq type='set' id='1'><query xmlns='jabber:iq:private' xmlns:p='urn:p'><p:a q='&apos;&quot;'><p:b/>&lt;</p:a></query></iq>")
	c.Expect("<iq type='result' id='1' from='alice@example.com' to='{alice}'/>")
	c.Match("<iq type='result' from='alice@example.com' to='{alice}' id='{any}'><query xmlns='jabber:iq:private'>"+
		"<a xmlns='urn:p' q='&apos;&quot;'><b/>&lt;</a></query></iq>",
		c.Ask("get", "", "<query xmlns='jabber:iq:private'><a xmlns='urn:p'/></query>"))
}

// TestInOrder: where there is room for some of a request, those are stored that come first.
func TestInOrder(t *testing.T) {
	for range 10 {
		c, docs := start(t, storage.DocumentLimit{Documents: 2})
		elements := "<c xmlns='urn:c'>1</c><a xmlns='urn:a'>1</a><b xmlns='urn:b'>1</b>"
		if got := ask(c, "set", elements); got != "policy-violation" {
			t.Fatal(got)
		}
		for key, want := range map[string]error{"private c urn:c": nil, "private a urn:a": nil, "private b urn:b": storage.ErrNotFound} {
			if _, err := docs.Document(t.Context(), "alice", key); !errors.Is(err, want) {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
}

// TestCharacters: what a client stores comes back as it was, with what XML would otherwise
// take for blanks (XML 1.0 sections 2.11 and 3.3.3).
func TestCharacters(t *testing.T) {
	c, docs := start(t, storage.DocumentLimit{})
	const el = "<a xmlns='urn:a' b='1&#10;2&#9;3&#13;4&apos;5&quot;6&lt;7&amp;8 9' xml:lang='de'>x&#13;y\n\t&apos;&quot;&gt;]]&gt;<![CDATA[<&]]><b xmlns=''/></a>"
	c.Send("<iq type='set' id='1'><query xmlns='jabber:iq:private'>" + el + "</query></iq>")
	c.Expect("<iq type='result' id='1' from='alice@example.com' to='{alice}'/>")
	c.Match("<iq type='result' from='alice@example.com' to='{alice}' id='{any}'><query xmlns='jabber:iq:private'>"+el+"</query></iq>",
		c.Ask("get", "", "<query xmlns='jabber:iq:private'><a xmlns='urn:a'/></query>"))
	kept, err := docs.Document(t.Context(), "alice", "private a urn:a")
	if err != nil || !strings.Contains(string(kept), "1&#xA;2&#x9;3&#xD;4") {
		t.Errorf("kept: %s, %v", kept, err)
	}
}

func TestTrouble(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{{storage.ErrUnavailable, "resource-constraint"}, {errors.New("disk"), "internal-server-error"}} {
		c, docs := start(t, storage.DocumentLimit{})
		docs.Fail(tt.err)
		for _, typ := range []string{"get", "set"} {
			if got := ask(c, typ, "<a xmlns='urn:a'>1</a>"); got != tt.want {
				t.Errorf("%s: %s, want %s", typ, got, tt.want)
			}
		}
	}
}

// TestRemoved: what a user kept goes with the user, and only then.
func TestRemoved(t *testing.T) {
	docs, dir := servertest.NewDocuments(), servertest.NewDirectory().AddUser("alice", "").AddUser("bob", "")
	s := servertest.New(t, servertest.Options{
		Directory: dir, Modules: []server.Module{private.New(private.Options{Documents: docs, Owners: dir})},
	})
	for _, user := range []string{"alice", "bob"} {
		if got := ask(s.Login(user+"/web"), "set", "<a xmlns='urn:a'>1</a>"); got != "result" {
			t.Fatal(got)
		}
	}
	dir.RemoveUser("alice")
	dir.Tell(storage.Change{Kind: storage.UserRemoved, User: "bob"}) // who may log in again
	kept := ""
	if err := docs.EachDocument(t.Context(), "private a urn:a", func(user string, _ []byte) { kept += user }); err != nil || kept != "bob" {
		t.Errorf("of %s something is kept, %v", kept, err)
	}
}

// TestRemovedMeanwhile: what a client still stores when its user was just removed goes
// with its session.
func TestRemovedMeanwhile(t *testing.T) {
	docs, dir := servertest.NewDocuments(), servertest.NewDirectory().AddUser("alice", "")
	s := servertest.New(t, servertest.Options{
		Directory: dir, Modules: []server.Module{private.New(private.Options{Documents: docs, Owners: dir})},
	})
	alice := s.Login("alice/web")
	turn := alice.Session().Begin()
	dir.RemoveUser("alice")
	if err := docs.PutDocument(t.Context(), "alice", "private a urn:a", []byte("<a/>"), storage.DocumentLimit{}); err != nil { // in its turn
		t.Error(err)
	}
	turn.End()
	alice.ExpectClosed(server.ReasonUserRemoved)
	alice.Session().Begin().End() // after the end
	if data, err := docs.Document(t.Context(), "alice", "private a urn:a"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("%s, %v", data, err)
	}
}
