package blocking_test

import (
	"testing"

	"rollcall/internal/servertest"
	"rollcall/modules/blocking"
	"rollcall/modules/carbons"
	"rollcall/server"
)

// TestCopies: to who is blocked, and to their other clients, the user looks like somebody
// who is not there; none of the user's clients gets anything (XEP-0280).
func TestCopies(t *testing.T) {
	dir := world()
	s := servertest.New(t, servertest.Options{Directory: dir, Modules: []server.Module{
		blocking.New(blocking.Options{Contacts: 10, Documents: servertest.NewDocuments(), Owners: dir}), carbons.New(),
	}})
	c := online(s, "alice/web", "alice/tab", "bob/web", "bob/tab")
	alice, tab, bob, phone := c[0], c[1], c[2], c[3]
	for _, x := range c {
		x.Ask("set", "", "<enable xmlns='urn:xmpp:carbons:2'/>")
	}
	set(t, alice, "block", "bob@example.com")
	drain(c...)
	copied := func(kind, typ, inner string) string {
		return "<message from='bob@example.com' to='{bob/tab}' type='" + typ + "'><" + kind + " xmlns='urn:xmpp:carbons:2'>" +
			"<forwarded xmlns='urn:xmpp:forward:0'>" + inner + "</forwarded></" + kind + "></message>"
	}
	for _, to := range []string{"alice@example.com", "alice@example.com/web", "nobody@example.com"} {
		bob.Send("<message to='" + to + "' type='chat'><body>b</body></message>")
		answer := "<message xmlns='jabber:client' from='" + to + "' to='{bob/web}' type='error'>" + unheard + "</message>"
		bob.Expect(answer)
		phone.Expect(copied("sent", "chat", "<message xmlns='jabber:client' from='{bob/web}' to='"+to+"' type='chat'><body>b</body></message>"))
		phone.Expect(copied("received", "error", answer))
		bob.Send("<message to='" + to + "' type='error'><body>b</body></message>")
		bob.Send("<message to='" + to + "' type='headline'><body>b</body></message>")
		nothing(t, alice, tab, bob)
		phone.Drain()
	}
	// What is refused because of one's own list went nowhere.
	alice.Send("<message to='bob@example.com' type='chat'><body>b</body></message>")
	alice.Next()
	nothing(t, c...)
}
