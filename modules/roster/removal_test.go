package roster_test

import (
	"testing"

	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// TestRemovedMeanwhile: what a client still wants of its roster when its user was just
// removed is not the next one's matter, nor anybody else's.
func TestRemovedMeanwhile(t *testing.T) {
	for _, tt := range []struct{ name, stanza string }{
		{"set", "<iq xmlns='jabber:client' type='set' id='1'>" + set("bob@example.com", "name='Bob'") + "</iq>"},
		{"subscribe", "<presence xmlns='jabber:client' to='bob@example.com' type='subscribe'/>"},
		{"subscribed", "<presence xmlns='jabber:client' to='bob@example.com' type='subscribed'/>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "alice", "bob")
			s := w.start()
			alice := reader(s, "alice/a")
			turn := alice.Session().Begin()
			w.dir.RemoveUser("alice") // and the session ends when it is its turn
			eventually(t, func() bool { return w.rosters.removed() == 1 })
			el := new(xmlscan.Element)
			scan := xmlscan.New(xmlscan.Limits{Bytes: 1000, Depth: 10, Attrs: 10})
			scan.Scope(nil)
			if _, err := scan.Next([]byte(tt.stanza), el); err != nil {
				t.Fatal(err)
			}
			turn.Element(el)
			turn.End()
			alice.ExpectClosed(server.ReasonUserRemoved)
			eventually(t, func() bool {
				return w.says("alice", "bob@example.com") == "-" && w.says("bob", "alice@example.com") == "-"
			})
		})
	}
}

// TestWatchedRemovedMeanwhile: a user is removed while somebody asks to see it.
func TestWatchedRemovedMeanwhile(t *testing.T) {
	w := newWorld(t, "alice", "bob")
	s := w.start()
	bob := reader(s, "bob/b")
	w.rosters.before = func(user string) {
		if user != "alice" {
			return
		}
		w.rosters.before = nil
		w.dir.RemoveUser("alice")
		eventually(t, func() bool { return w.rosters.removed() == 1 })
	}
	bob.Send("<presence to='alice@example.com' type='subscribe'/>")
	eventually(t, func() bool { return w.says("alice", "bob@example.com") == "-" })
}
