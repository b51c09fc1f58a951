package blocking_test

import (
	"path/filepath"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/modules/blocking"
	"rollcall/modules/roster"
	"rollcall/server"
	"rollcall/storage/sqlite"
)

// contact takes a push of a roster item.
func contact(t *testing.T, c *servertest.Client, at, subscription string) {
	t.Helper()
	el := c.Next()
	i := el.FindElement("./query/item")
	if i == nil || i.SelectAttrValue("jid", "") != at || i.SelectAttrValue("subscription", "") != subscription {
		t.Fatalf("%s got <%s> %v", c.JID, el.Tag, el.Attr)
	}
}

// TestContacts: who is blocked may leave all the same, and the user hears nothing of it
// from them.
func TestContacts(t *testing.T) {
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "x.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := world()
	s := servertest.New(t, servertest.Options{Directory: dir, Modules: []server.Module{
		blocking.New(blocking.Options{Contacts: 10, Documents: servertest.NewDocuments(), Owners: dir}),
		roster.New(roster.Options{Projects: dir, Users: dir, Rosters: store, Owners: dir, Items: 10}),
	}})
	c := online(s, "alice/web", "dave/web")
	alice, dave := c[0], c[1]
	for _, x := range c {
		x.Ask("get", "", "<query xmlns='jabber:iq:roster'/>")
	}
	alice.Send("<presence type='subscribed' to='dave@example.com'/>") // in advance
	dave.Send("<presence type='subscribed' to='alice@example.com'/><presence type='subscribe' to='alice@example.com'/>")
	alice.Send("<presence type='subscribe' to='dave@example.com'/>")
	drain(c...)
	set(t, alice, "block", "dave@example.com")
	alice.Expect(gone(dave, alice))
	dave.Expect(gone(alice, dave))
	dave.Send("<presence type='unsubscribe' to='alice@example.com'/>")
	contact(t, dave, "alice@example.com", "from")
	contact(t, alice, "dave@example.com", "to")
	dave.Send("<presence type='unsubscribed' to='alice@example.com'/>")
	contact(t, dave, "alice@example.com", "none")
	contact(t, alice, "dave@example.com", "none")
	dave.Send("<presence type='subscribe' to='alice@example.com'/>")
	nothing(t, c...)
}
