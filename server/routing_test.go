package server_test

import (
	"testing"

	"rollcall/internal/servertest"
)

// The session request of RFC 3921 is for the own server or account; one for
// somebody else is answered like any other request.
func TestSessionRequestsForOthers(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), Hosts: []string{"example.com", "example.org"}})
	alice := s.Login("alice/web")
	const session = "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>"
	for _, to := range []string{"", " to='example.com'", " to='alice@example.com'"} {
		alice.Send("<iq type='set' id='s'" + to + ">" + session + "</iq>")
		alice.Expect("<iq type='result' id='s' from='example.com' to='{alice}'/>")
	}
	for to, condition := range map[string]string{
		"bob@example.com": "service-unavailable", "example.org": "service-unavailable", "example.net": "remote-server-not-found",
	} {
		alice.Send("<iq type='set' id='s' to='" + to + "'>" + session + "</iq>")
		alice.Expect("<iq type='error' id='s' from='" + to + "' to='{alice}'><error type='cancel'><" + condition + " xmlns='" + stanzas + "'/></error></iq>")
	}
}

// A type that means nothing is not handed on: clients of the kind that drop the
// connection over a stanza they cannot read drop it over this too.
func TestUnknownTypesAreNotHandedOn(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	alice, bob := s.Online("alice/web"), s.Online("bob/web")
	for _, typ := range []string{"", "news", "CHAT"} {
		alice.Send("<message to='bob@example.com/web' id='1' type='" + typ + "'/>")
		bob.Expect("<message from='{alice}' to='{bob}' id='1'/>")
		alice.Send("<message to='bob@example.com' id='2' type='" + typ + "'/>")
		bob.Expect("<message from='{alice}' to='bob@example.com' id='2'/>")
	}
	alice.Send("<presence to='bob@example.com/web' type=''/>")
	bob.Expect("<presence from='{alice}' to='{bob}'/>")
	alice.Send("<message to='bob@example.com/web' type='normal'/>")
	bob.Expect("<message from='{alice}' to='{bob}' type='normal'/>")
}

// Directed presence to the own account is taken back once, not once more for the
// connection's own state.
func TestDirectedPresenceToOneself(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	phone, web, silent := s.Online("alice/phone"), s.Login("alice/web"), s.Login("alice/silent")
	web.Send("<presence/>")
	web.Drain()
	for _, to := range []string{"alice@example.com", "alice@example.com/phone", "alice@example.com/silent", "alice@example.com/web"} {
		web.Send("<presence to='" + to + "'/>")
	}
	phone.Drain()
	silent.Expect("<presence from='{alice/web}' to='{alice/silent}'/>")
	web.Drop()
	phone.Expect("<presence type='unavailable' from='{alice/web}' to='{alice/phone}'/>")
	phone.ExpectNothing()
	silent.Expect("<presence type='unavailable' from='{alice/web}' to='{alice/silent}'/>")
	silent.ExpectNothing()
}

// Without a state of its own, a connection takes back what it directed to its own
// account.
func TestDirectedPresenceToOneselfOnly(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	phone, web := s.Online("alice/phone"), s.Login("alice/web")
	web.Send("<presence to='alice@example.com'/>")
	phone.Expect("<presence from='{alice/web}' to='{alice/phone}'/>")
	web.Drop()
	phone.Expect("<presence type='unavailable' from='{alice/web}' to='{alice/phone}'/>")
	phone.ExpectNothing()
}
