package server_test

import (
	"errors"
	"testing"

	"rollcall/internal/jid"
	"rollcall/internal/servertest"
	"rollcall/server"
)

// prove has the transport say who the client is.
func prove(t *testing.T, c *servertest.Client, address string) server.Outcome {
	t.Helper()
	account, err := jid.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	turn := c.Session().Begin()
	defer turn.End()
	return turn.Authenticated(account)
}

func TestAuthenticatedByTransport(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	c := s.Dial()
	c.Open("example.com")
	if got := prove(t, c, "alice@example.com"); got != server.Restart {
		t.Fatalf("the outcome is %v", got)
	}
	c.ExpectNothing() // the transport knows already
	c.Match("<stream:features xmlns:stream='http://etherx.jabber.org/streams'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"+limits(262144)+"</stream:features>", c.Open("example.com"))
	c.Bind("web")
	if got := c.JID.String(); got != "alice@example.com/web" {
		t.Errorf("bound %s", got)
	}
	s.Stop()
}

func TestAuthenticatedIsRefused(t *testing.T) {
	dir := people()
	s := servertest.New(t, servertest.Options{Directory: dir, Hosts: []string{"example.com", "example.org"}})
	failure := func(condition string) string {
		return "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><" + condition + "/></failure>"
	}
	c := s.Dial()
	c.Open("example.com")
	for _, address := range []string{"nobody@example.com", "alice@example.org", "alice@example.com/web", "example.com"} {
		if got := prove(t, c, address); got != server.More {
			t.Errorf("%s: the outcome is %v", address, got)
		}
		c.Expect(failure("not-authorized"))
	}
	dir.Fail(errors.New("no store"))
	if got := prove(t, c, "alice@example.com"); got != server.Done { // the fifth attempt
		t.Errorf("without a store: the outcome is %v", got)
	}
	c.Expect(failure("temporary-auth-failure"))
	c.ExpectClosed(server.ReasonAuth)
	dir.Fail(nil)
	if got := prove(t, c, "alice@example.com"); got != server.Done {
		t.Errorf("after the end: the outcome is %v", got)
	}
}

// It comes once, and after the stream's header.
func TestAuthenticatedOutOfTurn(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	early := s.Dial()
	if got := prove(t, early, "alice@example.com"); got != server.Done {
		t.Errorf("before the header: the outcome is %v", got)
	}
	if got := early.ExpectClosed(server.ReasonStream); got.Condition() != "not-authorized" {
		t.Errorf("before the header: %s", got.Condition())
	}
	for _, login := range []func(*servertest.Client){
		func(c *servertest.Client) { c.Open("example.com"); prove(t, c, "alice@example.com") },
		func(c *servertest.Client) {
			c.Open("example.com")
			c.Authenticate("alice", servertest.Password)
			c.Open("example.com")
			c.Bind("web")
		},
	} {
		c := s.Dial()
		login(c)
		if got := prove(t, c, "bob@example.com"); got != server.Done {
			t.Errorf("twice: the outcome is %v", got)
		}
		if got := c.ExpectClosed(server.ReasonStream); got.Condition() != "policy-violation" {
			t.Errorf("twice: %s", got.Condition())
		}
	}
}

// Whoever is removed between the proof and binding stays out.
func TestAuthenticatedUserIsRemoved(t *testing.T) {
	dir := people()
	s := servertest.New(t, servertest.Options{Directory: dir})
	c := s.Dial()
	c.Open("example.com")
	if got := prove(t, c, "alice@example.com"); got != server.Restart {
		t.Fatalf("the outcome is %v", got)
	}
	dir.RemoveUser("alice")
	c.Open("example.com")
	c.Send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	c.ExpectClosed(server.ReasonUserRemoved)
}
