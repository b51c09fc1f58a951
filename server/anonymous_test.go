package server_test

import (
	"strings"
	"testing"

	"rollcall/internal/auth"
	"rollcall/internal/servertest"
	"rollcall/server"
)

const beAnonymous = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>"

// guest logs in without an account.
func guest(t *testing.T, s *servertest.Server) *servertest.Client {
	t.Helper()
	c := s.Dial()
	c.Open(servertest.Host)
	c.Send(beAnonymous)
	c.Expect("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	c.Open(servertest.Host)
	c.Bind("web")
	return c
}

func TestAnonymous(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), Anonymous: 2})
	one, two := guest(t, s), guest(t, s)
	if !auth.IsAnonymous(one.JID.Local()) || one.JID.Bare() == two.JID.Bare() || !one.Session().Anonymous() {
		t.Errorf("guests are %s and %s", one.JID, two.JID)
	}
	three := s.Dial()
	three.Open(servertest.Host)
	three.Send(beAnonymous)
	three.Expect("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><temporary-auth-failure/></failure>")
	alice := s.Login("alice/web") // does not count
	if alice.Session().Anonymous() {
		t.Error("alice has an account")
	}
	one.Drop()
	three.Send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'>=</auth>")
	three.Expect("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	three.Drop() // before it has bound
	guest(t, s)
}

func TestAnonymousIsOff(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	c := s.Dial()
	for _, m := range c.Open(servertest.Host).FindElements("./mechanisms/mechanism") {
		if m.Text() == "ANONYMOUS" {
			t.Error("it is offered")
		}
	}
	c.Send(beAnonymous)
	c.Expect("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><invalid-mechanism/></failure>")
}

// TestAnonymousNeedsTLS: where TLS comes first, it does for guests too.
func TestAnonymousNeedsTLS(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), Anonymous: 2})
	c := s.DialWith(server.Info{Kind: "test"}, server.Listener{RequireTLS: true})
	if el := c.Open(servertest.Host).FindElement("./mechanisms"); el != nil {
		t.Error("mechanisms are offered")
	}
	c.Send(beAnonymous)
	c.Expect("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><encryption-required/></failure>")
	open := s.DialWith(server.Info{Kind: "test"}, server.Listener{})
	if el := open.Open(servertest.Host).FindElement("./mechanisms"); el == nil || strings.TrimSpace(el.ChildElements()[0].Text()) != "ANONYMOUS" {
		t.Error("a guest needs no password")
	}
}

// A guest's stream can be managed and not resumed: the next login has another address.
func TestAnonymousIsNotResumed(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), Anonymous: 1})
	c := s.DialWith(manageable, server.Listener{})
	c.Open(servertest.Host)
	c.Send(beAnonymous)
	c.Expect("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	c.Open(servertest.Host)
	c.Bind("web")
	c.Send("<enable " + sm + " resume='true'/>")
	c.Expect("<enabled " + sm + "/>")
	c.Drop()
	guest(t, s) // there is room for one
}
