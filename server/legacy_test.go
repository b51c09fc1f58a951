package server_test

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"rollcall/conf"
	"rollcall/internal/servertest"
	"rollcall/server"
)

// oldClient opens a stream on a connection in the clear.
func oldClient(s *servertest.Server, l server.Listener) *servertest.Client {
	c := s.DialWith(server.Info{Kind: "test"}, l)
	c.Open("example.com")
	return c
}

// bench is a listener as load generators want it.
func bench() server.Listener {
	return server.Listener{PlainWithoutTLS: true, LegacyAuth: true, NoPings: true}
}

// fill is a request of XEP-0078 with the fields as they are.
func fill(id, fields string) string {
	return "<iq id='" + id + "' type='set' ><query xmlns='jabber:iq:auth'>" + fields + "</query></iq>"
}

const (
	askFields = "<iq id='1' type='get' ><query xmlns='jabber:iq:auth'><username>alice</username></query></iq>"
	rightWord = "<username>alice</username><resource>tsung</resource><password>" + servertest.Password + "</password>"
)

// denied is the answer to a request that failed.
func denied(id string, code int, typ, condition string) string {
	return fmt.Sprintf("<iq type='error' from='example.com' id='%s'><error code='%d' type='%s'><%s xmlns='%s'/></error></iq>",
		id, code, typ, condition, stanzas)
}

func TestLegacyAuth(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	c := oldClient(s, bench())
	c.Send(askFields)
	c.Expect("<iq type='result' from='example.com' id='1'><query xmlns='jabber:iq:auth'><username/><password/><digest/><resource/></query></iq>")
	c.Send(fill("2", rightWord))
	c.Expect("<iq type='result' from='example.com' to='alice@example.com/tsung' id='2'/>")
	if got := c.Session().JID().String(); got != "alice@example.com/tsung" {
		t.Errorf("bound to %q", got)
	}
	// It is a session like any other, and the request of RFC 3921 is answered.
	c.Send("<iq type='set' id='3'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq><presence/>")
	c.Expect("<iq type='result' from='example.com' to='alice@example.com/tsung' id='3'/>")
	c.Expect("<presence from='alice@example.com/tsung' to='alice@example.com/tsung'>...</presence>")
	bob := s.Online("bob/web")
	bob.Send("<message to='alice@example.com/tsung' id='4'><body>hello</body></message>")
	c.Expect("<message from='{bob}' to='alice@example.com/tsung' id='4'><body>hello</body></message>")
}

func TestLegacyDigest(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	c := oldClient(s, server.Listener{LegacyAuth: true})
	// The password itself is not for a connection that others can read.
	c.Send(askFields)
	c.Expect("<iq type='result' from='example.com' id='1'><query xmlns='jabber:iq:auth'><username/><digest/><resource/></query></iq>")
	c.Send(fill("2", rightWord))
	c.Expect(denied("2", 401, "auth", "not-authorized"))
	sum := sha1.Sum([]byte(c.Headers()[0].ID + servertest.Password))
	right := hex.EncodeToString(sum[:])
	digest := func(user, digest string) string {
		return "<username>" + user + "</username><resource>r</resource><digest>" + digest + "</digest>"
	}
	c.Send(fill("3", digest("alice", strings.Repeat("0", 40))))
	c.Expect(denied("3", 401, "auth", "not-authorized"))
	c.Send(fill("4", digest("nobody", right)))
	c.Expect(denied("4", 401, "auth", "not-authorized"))
	c.Send(fill("5", digest("alice", right)))
	c.Expect("<iq type='result' from='example.com' to='alice@example.com/r' id='5'/>")
}

// TestLegacyDigestWithoutPasswords: there is nothing to check a digest with.
func TestLegacyDigestWithoutPasswords(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), NoDigests: true})
	c := oldClient(s, bench())
	c.Send(askFields)
	c.Expect("<iq type='result' from='example.com' id='1'><query xmlns='jabber:iq:auth'><username/><password/><resource/></query></iq>")
	sum := sha1.Sum([]byte(c.Headers()[0].ID + servertest.Password))
	c.Send(fill("2", "<username>alice</username><resource>r</resource><digest>"+hex.EncodeToString(sum[:])+"</digest>"))
	c.Expect(denied("2", 401, "auth", "not-authorized"))
	// The stream goes on.
	c.Send(fill("3", rightWord))
	c.Expect("<iq type='result' from='example.com' to='alice@example.com/tsung' id='3'/>")
}

// TestLegacyErrors are those of XEP-0078 section 3.1.
func TestLegacyErrors(t *testing.T) {
	for _, test := range []struct {
		name, fields string
		code         int
		typ, want    string
	}{
		{"wrong password", "<username>alice</username><resource>r</resource><password>wrong</password>", 401, "auth", "not-authorized"},
		{"unknown user", "<username>nobody</username><resource>r</resource><password>secret</password>", 401, "auth", "not-authorized"},
		{"no user's name", "<username>a@b</username><resource>r</resource><password>secret</password>", 401, "auth", "not-authorized"},
		{"no name", "<resource>r</resource><password>secret</password>", 406, "modify", "not-acceptable"},
		{"no resource", "<username>alice</username><password>secret</password>", 406, "modify", "not-acceptable"},
		{"no secret", "<username>alice</username><resource>r</resource>", 406, "modify", "not-acceptable"},
		{"a vendor's way", "<username>alice@example.com</username><resource>r</resource><x xmlns='xmpp:assert' version='1.0'/>", 406, "modify", "not-acceptable"},
		{"nothing", "", 406, "modify", "not-acceptable"},
		{"fields of another namespace", "<username xmlns='x'>alice</username><resource>r</resource><password>secret</password>", 406, "modify", "not-acceptable"},
		{"bad resource", "<username>alice</username><resource>" + strings.Repeat("r", 1024) + "</resource><password>" + servertest.Password + "</password>", 400, "modify", "jid-malformed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := servertest.New(t, servertest.Options{Directory: people()})
			c := oldClient(s, bench())
			c.Send(fill("1", test.fields))
			c.Expect(denied("1", test.code, test.typ, test.want))
			c.Send(fill("2", rightWord))
			c.Expect("<iq type='result' from='example.com' to='alice@example.com/tsung' id='2'/>")
		})
	}
}

func TestLegacyAttempts(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	c := oldClient(s, bench())
	for range conf.Default().Auth.Attempts {
		c.Send(fill("1", "<username>alice</username><resource>r</resource><password>wrong</password>"))
	}
	c.ExpectClosed(server.ReasonAuth)
}

// TestLegacyAfterSASL: section 6 wants the stream to end.
func TestLegacyAfterSASL(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	c := oldClient(s, bench())
	c.Send(plain("alice", "wrong"))
	c.Expect("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>")
	c.Send(fill("1", rightWord))
	if got := c.ExpectClosed(server.ReasonStream); got.Condition() != "policy-violation" {
		t.Errorf("closed with %s", got.Condition())
	}
}

// TestLegacyConflict: the policy for resources is that of binding.
func TestLegacyConflict(t *testing.T) {
	for _, policy := range []conf.ResourceConflict{conf.ConflictReplace, conf.ConflictRefuse, conf.ConflictRename} {
		t.Run(string(policy), func(t *testing.T) {
			session := conf.Default().Session
			session.ResourceConflict = policy
			s := servertest.New(t, servertest.Options{Directory: people(), Session: &session})
			first := s.Login("alice/tsung")
			c := oldClient(s, bench())
			c.Send(fill("1", rightWord))
			switch policy {
			case conf.ConflictReplace:
				c.Expect("<iq type='result' from='example.com' to='alice@example.com/tsung' id='1'/>")
				first.ExpectClosed(server.ReasonReplaced)
			case conf.ConflictRefuse:
				c.Expect(denied("1", 409, "cancel", "conflict"))
				c.Send(fill("2", strings.ReplaceAll(rightWord, "tsung", "other")))
				c.Expect("<iq type='result' from='example.com' to='alice@example.com/other' id='2'/>")
			case conf.ConflictRename:
				answer := c.Next()
				if to := answer.SelectAttrValue("to", ""); answer.SelectAttrValue("type", "") != "result" ||
					to != c.Session().JID().String() || strings.HasSuffix(to, "/tsung") {
					t.Errorf("bound to %s", to)
				}
			}
		})
	}
}

// TestLegacyRefused: a listener that does not allow it says so (section 3.1).
func TestLegacyRefused(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), NoDigests: true})
	for name, l := range map[string]server.Listener{
		"off":         {PlainWithoutTLS: true},
		"no TLS":      {LegacyAuth: true, RequireTLS: true, PlainWithoutTLS: true},
		"nothing fit": {LegacyAuth: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.DialWith(server.Info{Kind: "test"}, l)
			if f := c.Open("example.com"); f.FindElement("./auth") != nil {
				t.Error("it is offered")
			}
			for _, ask := range []string{askFields, fill("1", rightWord)} {
				c.Send(ask)
				c.Expect("<iq type='error' from='example.com' id='1'><error type='cancel'><service-unavailable xmlns='" + stanzas + "'/></error></iq>")
			}
		})
	}
}

// TestLegacyOffer is the stream feature of section 4, which goes when somebody has
// logged in.
func TestLegacyOffer(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	c := s.DialWith(server.Info{Kind: "test"}, bench())
	c.Match("<stream:features xmlns:stream='http://etherx.jabber.org/streams'>...<auth xmlns='http://jabber.org/features/iq-auth'/></stream:features>", c.Open("example.com"))
	c.Authenticate("alice", servertest.Password)
	if f := c.Open("example.com"); f.FindElement("./auth") != nil {
		t.Error("it is offered to somebody who has logged in")
	}
	// Nor is it taken any more.
	c.Send(fill("1", rightWord))
	if got := c.ExpectClosed(server.ReasonStream); got.Condition() != "not-authorized" {
		t.Errorf("closed with %s", got.Condition())
	}
}

// TestLegacyHeader is a client from before XMPP 1.0: no version, and no features (RFC
// 6120 section 4.7.5).
func TestLegacyHeader(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	c := s.DialWith(server.Info{Kind: "test"}, bench())
	c.OpenHeader(server.StreamHeader{To: "example.com"})
	if h := c.Headers()[0]; h.Version != "" || h.ID == "" {
		t.Errorf("answered %+v", h)
	}
	c.ExpectNothing()
	c.Send(fill("1", rightWord))
	c.Expect("<iq type='result' from='example.com' to='alice@example.com/tsung' id='1'/>")
}

// TestLimits are those of XEP-0478: what may be sent next.
func TestLimits(t *testing.T) {
	l := conf.Default().Limits
	l.LoginBytes, l.StanzaBytes = 5000, 20000
	s := servertest.New(t, servertest.Options{Directory: people(), Limits: &l})
	c := s.Dial()
	const offer = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>...%s</stream:features>"
	c.Match(fmt.Sprintf(offer, limits(5000)), c.Open("example.com"))
	c.Authenticate("alice", servertest.Password)
	c.Match(fmt.Sprintf(offer, limits(20000)), c.Open("example.com"))
}
