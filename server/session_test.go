package server_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/conf"
	"rollcall/internal/servertest"
	"rollcall/server"
)

const stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"

func plain(user, password string) string {
	return "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)) + "</auth>"
}

func TestHeaders(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), Hosts: []string{"example.com", "example.org"}})
	for _, test := range []struct {
		header server.StreamHeader
		from   string
		want   string // condition of the error
	}{
		{server.StreamHeader{To: "example.org", Version: "1.0"}, "example.org", ""},
		{server.StreamHeader{To: "EXAMPLE.com", Version: "1.1", From: "alice@example.com"}, "example.com", ""},
		{server.StreamHeader{To: "example.com", Version: "2.0"}, "example.com", ""},
		{server.StreamHeader{Version: "1.0"}, "example.com", "improper-addressing"},
		{server.StreamHeader{To: "example.net", Version: "1.0"}, "example.com", "host-unknown"},
		{server.StreamHeader{To: "alice@example.com", Version: "1.0"}, "example.com", "host-unknown"},
		{server.StreamHeader{To: "..", Version: "1.0"}, "example.com", "host-unknown"},
		{server.StreamHeader{To: "example.com"}, "example.com", "unsupported-version"},
		{server.StreamHeader{To: "example.com", Version: "one"}, "example.com", "unsupported-version"},
		{server.StreamHeader{To: "example.com", Version: "0.9"}, "example.com", "unsupported-version"},
		{server.StreamHeader{To: "example.com", Version: "1.0", Lang: strings.Repeat("x", 36)}, "example.com", "policy-violation"},
	} {
		c := s.Dial()
		c.OpenHeader(test.header)
		if got := c.Headers()[0]; got.From != test.from || got.Version != "1.0" || len(got.ID) < 26 || got.To != test.header.From {
			t.Errorf("%+v: answered %+v", test.header, got)
		}
		if test.want == "" {
			c.Next() // features
			continue
		}
		if got := c.ExpectClosed(server.ReasonStream); got.Condition() != test.want {
			t.Errorf("%+v: %s, want %s", test.header, got.Condition(), test.want)
		}
	}
}

// limits are the feature of XEP-0478.
func limits(bytes int) string {
	return fmt.Sprintf("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>%d</max-bytes></limits>", bytes)
}

func TestFeatures(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	open := func(secure bool, l server.Listener) *servertest.Client {
		return s.DialWith(server.Info{Kind: "test", Secure: secure}, l)
	}
	const plainOnly = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
	for _, test := range []struct {
		secure   bool
		listener server.Listener
		want     string
	}{
		{true, server.Listener{RequireTLS: true}, plainOnly},
		{false, server.Listener{}, ""},
		{false, server.Listener{PlainWithoutTLS: true}, plainOnly},
		{false, server.Listener{RequireTLS: true}, ""},
	} {
		c := open(test.secure, test.listener)
		c.Match("<stream:features xmlns:stream='http://etherx.jabber.org/streams'>"+test.want+limits(65536)+"</stream:features>", c.Open("example.com"))
	}
	c := open(true, server.Listener{AdvertiseSession: true})
	c.Open("example.com")
	c.Send(plain("alice", servertest.Password))
	c.Expect("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	c.Match("<stream:features xmlns:stream='http://etherx.jabber.org/streams'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>"+limits(262144)+"</stream:features>", c.Open("example.com"))
}

func TestAuthenticationAttempts(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	failed := func(c *servertest.Client, condition string) {
		t.Helper()
		c.Expect("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><" + condition + "/></failure>")
	}
	c := s.Dial()
	c.Open("example.com")
	c.Send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>eA==</response>")
	failed(c, "malformed-request")
	c.Send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>")
	c.Expect("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	c.Send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	failed(c, "aborted")
	c.Send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X-NONE'/>")
	failed(c, "invalid-mechanism")
	c.Send(plain("nobody", "x"))
	failed(c, "not-authorized")
	c.Send(plain("alice", "wrong"))
	failed(c, "not-authorized")
	if got := c.ExpectClosed(server.ReasonAuth); got.Condition() != "policy-violation" {
		t.Errorf("condition %q", got.Condition())
	}

	c = s.Dial()
	c.Open("example.com")
	c.Send(plain("alice", "wrong"))
	failed(c, "not-authorized")
	c.Send(plain("alice", servertest.Password))
	c.Expect("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")

	c = s.DialWith(server.Info{}, server.Listener{RequireTLS: true})
	c.Open("example.com")
	c.Send(plain("alice", servertest.Password))
	failed(c, "encryption-required")
}

func TestLoginTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := servertest.New(t, servertest.Options{Directory: people()})
		limit := conf.Default().Limits.LoginTime
		silent, slow, quick := s.Dial(), s.Dial(), s.Login("alice/web")
		time.Sleep(limit - time.Millisecond)
		slow.Open("example.com")
		slow.Authenticate("bob", servertest.Password)
		synctest.Wait()
		if silent.Closed() || slow.Closed() {
			t.Error("closed too early")
		}
		time.Sleep(time.Millisecond)
		for _, c := range []*servertest.Client{silent, slow} {
			if got := c.ExpectClosed(server.ReasonLoginTime); got.Condition() != "connection-timeout" {
				t.Errorf("condition %q", got.Condition())
			}
		}
		if len(silent.Headers()) != 1 {
			t.Error("no header before the error")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if quick.Closed() {
			t.Error("a bound session was closed")
		}
	})
}

func TestLoginBytes(t *testing.T) {
	limits := conf.Default().Limits
	limits.LoginBytes = 1000
	s := servertest.New(t, servertest.Options{Directory: people(), Limits: &limits})
	c := s.Dial()
	turn := c.Session().Begin()
	before := turn.MaxElement()
	turn.End()
	c.Open("example.com")
	c.Send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X-NONE'/>")
	turn = c.Session().Begin()
	after := turn.MaxElement()
	turn.End()
	if before != 1000 || after >= 950 || after < 800 {
		t.Errorf("limits %d, then %d", before, after)
	}
	c.Next()
	flood := s.Dial()
	flood.Open("example.com")
	turn = flood.Session().Begin()
	if got := turn.Skipped(1000); got != server.More {
		t.Errorf("1000 bytes of white space: %v", got)
	}
	if got := turn.Skipped(1); got != server.Done {
		t.Errorf("one more: %v", got)
	}
	turn.End()
	if got := flood.ExpectClosed(server.ReasonStream); got.Condition() != "policy-violation" {
		t.Errorf("condition %q", got.Condition())
	}
	c.Authenticate("alice", servertest.Password)
	turn = c.Session().Begin()
	defer turn.End()
	if n := turn.MaxElement(); n != int(limits.StanzaBytes) {
		t.Errorf("limit %d after authentication", n)
	}
}

func TestBind(t *testing.T) {
	bind := func(resource string) string {
		if resource != "" {
			resource = "<resource>" + resource + "</resource>"
		}
		return "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>" + resource + "</bind></iq>"
	}
	result := func(full string) string {
		return "<iq type='result' id='b' from='{any}' to='{any}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>" + full + "</jid></bind></iq>"
	}
	refused := func(condition string) string {
		return "<iq type='error' id='b' from='{any}' to='{any}'><error type='{any}'><" + condition + " xmlns='" + stanzas + "'/></error></iq>"
	}
	authenticated := func(s *servertest.Server) *servertest.Client {
		c := s.Dial()
		c.Open("example.com")
		c.Authenticate("alice", servertest.Password)
		return c
	}
	for _, test := range []struct {
		policy conf.ResourceConflict
		want   string
		old    bool // the older session goes on
	}{
		{conf.ConflictReplace, result("alice@example.com/web"), false},
		{conf.ConflictRefuse, refused("conflict"), true},
		{conf.ConflictRename, result("alice@example.com/{any}"), true},
	} {
		t.Run(string(test.policy), func(t *testing.T) {
			session := conf.Default().Session
			session.ResourceConflict = test.policy
			s := servertest.New(t, servertest.Options{Directory: people(), Session: &session})
			old := s.Login("alice/web")
			c := authenticated(s)
			c.Send(bind("web"))
			got := c.Next()
			c.Match(test.want, got)
			if test.policy == conf.ConflictRename && strings.HasSuffix(got.FindElement("//jid").Text(), "/web") {
				t.Error("the resource was not renamed")
			}
			if !test.old {
				if got := old.ExpectClosed(server.ReasonReplaced); got.Condition() != "conflict" {
					t.Errorf("condition %q", got.Condition())
				}
				return
			}
			if test.policy == conf.ConflictRefuse {
				c.Send(bind("other")) // may try again
				c.Expect(result("alice@example.com/other"))
			}
			old.ExpectNothing()
			old.Ask("get", "example.com", "<ping xmlns='urn:xmpp:ping'/>")
		})
	}
	t.Run("details", func(t *testing.T) {
		limits := conf.Default().Limits
		limits.Resources = 2
		s := servertest.New(t, servertest.Options{Directory: people(), Limits: &limits})
		c := authenticated(s)
		c.Send(bind("&#x200E;\u00a0" + strings.Repeat("x", 1024)))
		c.Expect(refused("bad-request"))
		c.Send("<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>")
		c.Expect("<iq type='result' id='s' from='example.com' to='alice@example.com'/>")
		c.Send(bind("one</resource><resource>two"))
		c.Expect(refused("bad-request"))
		c.Send(bind(""))
		c.Expect(result("alice@example.com/{any}"))
		s.Login("alice/second")
		c = authenticated(s)
		c.Send(bind("third"))
		c.Expect(refused("resource-constraint"))
	})
}

func TestSlowReaderIsClosedAlone(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	alice, bob := s.Online("alice/web"), s.Online("bob/web")
	bob.Stall()
	alice.Send("<message to='bob@example.com/web' type='chat' id='1'/>")
	if got := bob.ExpectClosed(server.ReasonSlowReader); got.Condition() != "resource-constraint" {
		t.Errorf("condition %q", got.Condition())
	}
	alice.Send("<message to='bob@example.com/web' type='chat' id='2'><body>x</body></message>")
	alice.Expect("<message type='error' id='2' from='bob@example.com/web' to='{alice}'><error type='cancel'><service-unavailable xmlns='" + stanzas + "'/></error></message>")
}

func TestDirectedPresenceIsBounded(t *testing.T) {
	limits := conf.Default().Limits
	limits.Directed = 2
	s := servertest.New(t, servertest.Options{Directory: people(), Limits: &limits})
	alice, bob := s.Login("alice/web"), s.Login("bob/web")
	for i := range 3 {
		alice.Send(fmt.Sprintf("<presence id='%d' to='nobody%d@example.com'/>", i, i))
	}
	alice.Expect("<presence type='error' id='2' from='nobody2@example.com' to='{alice}'><error type='wait'><resource-constraint xmlns='" + stanzas + "'/><text xmlns='" + stanzas + "' xml:lang='en'>{any}</text></error></presence>")
	alice.Send("<presence type='unavailable' to='nobody1@example.com'/>")
	alice.Send("<presence to='bob@example.com/web'/>")
	bob.Expect("<presence from='{alice}' to='{bob}'/>")
	alice.Drop()
	bob.Expect("<presence type='unavailable' from='{alice}' to='{bob}'/>")
}

func TestLanguageOfTheStream(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	bob := s.Login("bob/web")
	c := s.Dial()
	c.OpenHeader(server.StreamHeader{To: "example.com", Version: "1.0", Lang: "de"})
	c.Next()
	c.Send(plain("alice", servertest.Password))
	c.Next()
	c.OpenHeader(server.StreamHeader{To: "example.com", Version: "1.0", Lang: "de"})
	c.Next()
	c.Bind("web")
	c.Send("<message to='bob@example.com/web' id='1'/><message to='bob@example.com/web' id='2' xml:lang='fr'/>")
	bob.Expect("<message from='{any}' to='{bob}' id='1' xml:lang='de'/>")
	bob.Expect("<message from='{any}' to='{bob}' id='2' xml:lang='fr'/>")
}
