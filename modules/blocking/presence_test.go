package blocking_test

import (
	"testing"

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
