package caps_test

import (
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"testing"

	"github.com/beevik/etree"

	"rollcall/internal/servertest"
	"rollcall/modules/caps"
	"rollcall/modules/disco"
	"rollcall/modules/version"
	"rollcall/server"
)

const info = "http://jabber.org/protocol/disco#info"

// features logs in and returns what the stream offers after authentication.
func features(s *servertest.Server) (*servertest.Client, *etree.Element) {
	c := s.Dial()
	c.Open(servertest.Host)
	c.Authenticate("alice", servertest.Password)
	f := c.Open(servertest.Host)
	c.Bind("web")
	return c, f
}

// reconstruct is the verification string of an answer, made anew (section 5.4).
func reconstruct(t *testing.T, answer *etree.Element) string {
	t.Helper()
	s := ""
	for _, is := range answer.FindElements("./query/identity") {
		s += is.SelectAttrValue("category", "") + "/" + is.SelectAttrValue("type", "") + "/" +
			is.SelectAttrValue("xml:lang", "") + "/" + is.SelectAttrValue("name", "") + "<"
	}
	var list []string
	for _, f := range answer.FindElements("./query/feature") {
		list = append(list, f.SelectAttrValue("var", ""))
	}
	if len(list) == 0 {
		t.Error("no features")
	}
	slices.Sort(list)
	for _, f := range list {
		s += f + "<"
	}
	sum := sha1.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// TestVerification: what the stream features say is what discovery says, by the node and
// without it, whatever modules there are.
func TestVerification(t *testing.T) {
	s := servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", ""), Modules: []server.Module{disco.New(), caps.New()},
	})
	var before string
	for i := range 2 {
		c, f := features(s)
		el := f.FindElement("./c")
		if el == nil || el.NamespaceURI() != "http://jabber.org/protocol/caps" || el.SelectAttrValue("hash", "") != "sha-1" {
			t.Fatal("no caps are offered")
		}
		ver, node := el.SelectAttrValue("ver", ""), el.SelectAttrValue("node", "")
		whole := c.Ask("get", "example.com", "<query xmlns='"+info+"'/>")
		if want := reconstruct(t, whole); ver != want {
			t.Errorf("ver is %s, want %s", ver, want)
		}
		if whole.FindElement("./query/feature[@var='http://jabber.org/protocol/caps']") == nil {
			t.Error("caps are no feature")
		}
		query := "<query xmlns='" + info + "' node='" + node + "#" + ver + "'/>"
		byNode := c.Ask("get", "example.com", query)
		if got := reconstruct(t, byNode); got != ver || byNode.FindElement("./query").SelectAttrValue("node", "") != node+"#"+ver {
			t.Errorf("the node %s#%s answers with what is %s", node, ver, got)
		}
		for _, other := range []string{
			"<query xmlns='" + info + "' node='" + node + "#x'/>", "<query xmlns='" + info + "' node='" + node + "'/>",
			"<query xmlns='http://jabber.org/protocol/disco#items' node='" + node + "#" + ver + "'/>",
		} {
			if c.Ask("get", "example.com", other).FindElement("./error/item-not-found") == nil {
				t.Errorf("%s is answered", other)
			}
		}
		if c.Ask("get", "", query).FindElement("./error/item-not-found") == nil {
			t.Error("an account answers for the server")
		}
		switch i {
		case 0:
			before = ver
			if err := s.Start(t.Context(), version.New(version.Options{Version: "1"})); err != nil {
				t.Fatal(err)
			}
		case 1:
			if ver == before {
				t.Error("another module, the same ver")
			}
		}
	}
}

// The example of section 5.2 is known to be right; so is reconstruct by it.
func TestExample(t *testing.T) {
	doc := etree.NewDocument()
	err := doc.ReadFromString("<iq><query><identity category='client' type='pc' name='Exodus 0.9.1'/>" +
		"<feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/>" +
		"<feature var='http://jabber.org/protocol/muc'/><feature var='http://jabber.org/protocol/caps'/></query></iq>")
	if err != nil {
		t.Fatal(err)
	}
	if got := reconstruct(t, doc.Root()); got != "QgayPKawpkPSDYmwT/WM94uAlu0=" {
		t.Errorf("got %s", got)
	}
}

func TestOffered(t *testing.T) {
	s := servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", ""), Modules: []server.Module{disco.New(), caps.New()},
	})
	if s.Dial().Open(servertest.Host).FindElement("./c") != nil {
		t.Error("offered before authentication")
	}
	// What clients say of themselves passes through as it is.
	alice := s.Login("alice/web")
	const c = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://x.example' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>"
	alice.Send("<presence>" + c + "</presence>")
	alice.Expect("<presence from='{alice}' to='{alice}'>" + c + "</presence>")
}
