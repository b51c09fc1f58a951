package blocking_test

import (
	"testing"

	"github.com/beevik/etree"

	"rollcall/internal/servertest"
)

// TestDirected: who was told by directed presence is told of the end as well, whether
// they may see the user otherwise or not.
func TestDirected(t *testing.T) {
	for _, item := range []string{"dave@example.com", "dave@example.com/web", "example.com"} {
		t.Run(item, func(t *testing.T) {
			s := start(t, servertest.NewDocuments())
			c := online(s, "alice/web", "dave/web", "alice/tab")
			alice, dave, tab := c[0], c[1], c[2]
			hidden := s.Login("alice/hidden")
			tab.Send("<presence to='dave@example.com'/>")
			dave.Expect(there(tab, dave))
			hidden.Send("<presence to='dave@example.com/web'/>")
			dave.Expect(there(hidden, dave))
			dave.Send("<presence to='alice@example.com/web'/>")
			alice.Expect(there(dave, alice))
			alice.Send("<presence to='alice@example.com/hidden'/>")
			hidden.Expect(there(alice, hidden))
			alice.Send(blockAll(item))
			dave.ExpectAnyOrder(gone(tab, dave), gone(hidden, dave))
			alice.ExpectAnyOrder("<iq type='result' id='b' from='alice@example.com' to='{alice/web}'/>", gone(dave, alice))
			// Nothing more when they leave.
			tab.Hangup()
			hidden.Hangup()
			dave.ExpectNothing()
			dave.Hangup()
			alice.Next() // tab
			nothing(t, alice)
		})
	}
}

func blockAll(item string) string {
	return "<iq type='set' id='b'>" + items("block", item) + "</iq>"
}

// TestQueries: who is blocked is told that the user is offline by all who are asked.
func TestQueries(t *testing.T) {
	c := online(start(t, servertest.NewDocuments()), "alice/web", "bob/web", "carol/web")
	alice, bob, carol := c[0], c[1], c[2]
	set(t, alice, "block", "bob@example.com")
	drain(c...)
	const space = "xmlns='urn:rollcall:project:1'"
	for _, test := range []struct {
		name, to, ask string
		hidden        func(*etree.Element, string) bool
	}{
		{"status", "wtmuc.example.com", "<status " + space + "><user jid='alice@example.com'/><user jid='bob@example.com'/></status>",
			func(el *etree.Element, who string) bool {
				return el.FindElement("./status/user[@jid='"+who+"']").SelectAttrValue("status", "") == "0"
			}},
		{"online", "p@wtmuc.example.com", "<online " + space + "/>", func(el *etree.Element, who string) bool {
			hidden := el.FindElement("./online/user[@jid='"+who+"']") == nil
			return hidden && el.FindElement("./online").SelectAttrValue("total", "") == "2"
		}},
		{"items", "p@wtmuc.example.com", "<query xmlns='http://jabber.org/protocol/disco#items' node='online'/>", func(el *etree.Element, who string) bool {
			return el.FindElement("./query/item[@jid='"+who+"']") == nil
		}},
		{"projects", "wtmuc.example.com", "<projects " + space + "/>", func(el *etree.Element, _ string) bool {
			return el.FindElement("./projects/project").SelectAttrValue("online", "") == "2"
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !test.hidden(bob.Ask("get", test.to, test.ask), "alice@example.com") {
				t.Error("bob sees alice")
			}
			if !test.hidden(alice.Ask("get", test.to, test.ask), "bob@example.com") {
				t.Error("alice sees bob")
			}
			if test.hidden(carol.Ask("get", test.to, test.ask), "alice@example.com") {
				t.Error("carol does not see alice")
			}
		})
	}
}
