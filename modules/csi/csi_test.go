package csi_test

import (
	"testing"

	"rollcall/internal/servertest"
	"rollcall/modules/csi"
	"rollcall/server"
)

const (
	inactive = "<inactive xmlns='urn:xmpp:csi:0'/>"
	active   = "<active xmlns='urn:xmpp:csi:0'/>"
)

// start has alice at two places; what one says the other sees.
func start(t *testing.T) (phone, web *servertest.Client) {
	s := servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", ""), Modules: []server.Module{csi.New()},
	})
	phone = s.Online("alice/phone")
	web = s.Login("alice/web")
	web.Send("<presence/>")
	phone.Drain()
	web.Drain()
	return phone, web
}

func presence(show string) string {
	return "<presence from='{alice/web}' to='{alice/phone}'><show>" + show + "</show></presence>"
}

// TestState: while a client is inactive, the latest presence waits for it (section 4.2).
func TestState(t *testing.T) {
	phone, web := start(t)
	say := func(shows ...string) {
		for _, show := range shows {
			web.Send("<presence><show>" + show + "</show></presence>")
		}
	}
	say("away")
	phone.Expect(presence("away")) // a stream begins as active
	phone.Send(inactive)
	say("dnd", "xa")
	phone.ExpectNothing()
	phone.Send(inactive) // says nothing new
	phone.ExpectNothing()
	phone.Send(active)
	phone.Expect(presence("xa"))
	phone.ExpectNothing()
	phone.Send(active)
	say("away", "dnd")
	phone.Expect(presence("away"))
	phone.Expect(presence("dnd"))
	// What does not wait brings along what does.
	phone.Send(inactive)
	say("away", "xa")
	web.Send("<message to='alice@example.com/phone' id='1'/>")
	phone.Expect(presence("xa"))
	phone.Expect("<message from='{alice/web}' to='{alice/phone}' id='1'/>")
	say("chat")
	phone.ExpectNothing()
	// In order: the answer comes after what waited (section 5.1).
	phone.Send(active + "<iq type='get' id='2' to='example.com'><x xmlns='urn:x'/></iq>")
	phone.Expect(presence("chat"))
	phone.Expect("<iq type='error' id='2' from='example.com' to='{alice/phone}'>...</iq>")
	phone.ExpectNothing()
}

func TestOffered(t *testing.T) {
	s := servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", ""), Modules: []server.Module{csi.New()},
	})
	c := s.Dial()
	if c.Open(servertest.Host).FindElement("./csi") != nil {
		t.Error("offered before authentication")
	}
	c.Authenticate("alice", servertest.Password)
	if el := c.Open(servertest.Host).FindElement("./csi"); el == nil || el.NamespaceURI() != "urn:xmpp:csi:0" {
		t.Error("not offered")
	}
	c.Bind("web")
	c.Send("<asleep xmlns='urn:xmpp:csi:0'/>")
	c.ExpectClosed(server.ReasonStream)
}
