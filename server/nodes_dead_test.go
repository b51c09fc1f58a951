package server_test

import (
	"testing"

	"rollcall/internal/servertest"
	"rollcall/storage/memory"
)

// A node that was killed takes its connections with it.
func TestNodeDies(t *testing.T) {
	hub := memory.NewHub()
	nodes := nodesOf(t, hub, servertest.Options{}, "a", "b")
	web, phone, bob := nodes[0].Online("alice/web"), nodes[1].Online("alice/phone"), nodes[1].Online("bob/web")
	phone.Expect("<presence from='{alice/web}' to='{alice/phone}'>...</presence>")
	web.Expect("<presence from='{alice/phone}' to='{alice/web}'>...</presence>")
	meet(t, web, bob)
	hub.Kill("b")
	web.Send("<message type='chat' to='bob@example.com' id='1'/>")
	web.Expect("<message type='error' from='bob@example.com' to='{alice/web}' id='1'>...</message>")
	web.Send("<iq type='get' to='bob@example.com/web' id='2'><ping xmlns='urn:xmpp:ping'/></iq>")
	web.Expect("<iq type='error' from='{bob}' to='{alice/web}' id='2'>...</iq>")
	// A chat message to the dead resource goes to the living one.
	web.Send("<message type='chat' to='alice@example.com/phone' id='3'/>")
	web.Expect("<message type='chat' from='{alice/web}' to='{alice/phone}' id='3'/>")
	hub.Expire("b")
	web.Expect("<presence type='unavailable' from='{alice/phone}' to='{alice/web}'/>")
	web.Send("<message type='chat' to='bob@example.com/web' id='4'/>")
	web.Expect("<message type='error' from='{bob}' to='{alice/web}' id='4'>...</message>")
	web.ExpectNothing()
}

// Directed presence of those who went with their node is taken back, once.
func TestDirectedPresenceOfTheDead(t *testing.T) {
	hub := memory.NewHub()
	nodes := nodesOf(t, hub, servertest.Options{}, "a", "b")
	alice, bob := nodes[0].Login("alice/web"), nodes[1].Online("bob/web")
	meet(t, alice, bob)
	for _, show := range []string{"chat", "dnd"} {
		alice.Send("<presence to='bob@example.com'><show>" + show + "</show></presence>")
		bob.Expect("<presence from='{alice}' to='{bob}'><show>" + show + "</show></presence>")
	}
	alice.Send("<presence to='bob@example.com/web'/><presence type='unavailable' to='bob@example.com/web'/>")
	bob.Expect("<presence from='{alice}' to='{bob}'/>")
	bob.Expect("<presence type='unavailable' from='{alice}' to='{bob}'/>")
	hub.Kill("a")
	hub.Expire("a")
	bob.Expect("<presence type='unavailable' from='{alice}' to='{bob}'/>")
	bob.ExpectNothing()
}
