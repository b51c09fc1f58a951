package ping_test

import (
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/modules/ping"
	"rollcall/server"
)

const pinged = "<iq type='get' from='example.com' to='{alice}' id='{any}'><ping xmlns='urn:xmpp:ping'/></iq>"

func start(t *testing.T, o ping.Options) *servertest.Server {
	t.Helper()
	return servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", "").AddUser("bob", ""),
		Modules:   []server.Module{ping.New(o)},
	})
}

// after lets time pass, and everything happen that happens by then.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAnswers(t *testing.T) {
	s := start(t, ping.Options{})
	alice := s.Login("alice/web")
	for _, to := range []string{"example.com", "", "alice@example.com"} {
		from := to
		if from == "" {
			from = "alice@example.com"
		}
		alice.Match("<iq type='result' from='"+from+"' to='{alice}' id='{any}'/>",
			alice.Ask("get", to, "<ping xmlns='urn:xmpp:ping'/>"))
	}
	// Others' accounts say the same whether they exist or not (RFC 6121 section
	// 8.5.1).
	for _, to := range []string{"bob@example.com", "nobody@example.com"} {
		alice.Match("<iq type='error' from='"+to+"' to='{alice}' id='{any}'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
			alice.Ask("get", to, "<ping xmlns='urn:xmpp:ping'/>"))
	}
	// Stock load generators write their own bare address into it.
	alice.Send("<iq from='alice@example.com' to='example.com' id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
	alice.Expect("<iq type='result' from='example.com' to='{alice}' id='1'/>")
}

func TestSilentClientIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, ping.Options{Interval: time.Minute, Timeout: 30 * time.Second})
		alice := s.Login("alice/web")
		after(59 * time.Second)
		alice.ExpectNothing()
		after(time.Second)
		alice.Expect(pinged)
		after(29 * time.Second)
		alice.ExpectNothing()
		if alice.Closed() {
			t.Fatal("closed before the timeout")
		}
		after(time.Second)
		if c := alice.ExpectClosed(server.ReasonPing); c.Condition() != "connection-timeout" {
			t.Errorf("condition %q", c.Condition())
		}
		if n := s.Metric("rollcall_pings_total"); n != 1 {
			t.Errorf("%v pings", n)
		}
	})
}

func TestSignsOfLife(t *testing.T) {
	tests := []struct {
		name string
		say  func(*servertest.Client)
	}{
		{"result", func(c *servertest.Client) { c.Send("<iq type='result' id='ping-1' to='example.com'/>") }},
		{"error", func(c *servertest.Client) {
			c.Send("<iq type='error' id='ping-1' to='example.com'><error type='cancel'/></iq>")
		}},
		{"another stanza", func(c *servertest.Client) { c.Send("<message to='bob@example.com' type='headline'/>") }},
		{"white space", func(c *servertest.Client) { c.Session().Touch() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, ping.Options{Interval: time.Minute, Timeout: 5 * time.Second})
				alice := s.Login("alice/web")
				for range 3 {
					after(time.Minute)
					alice.Expect(pinged)
					after(time.Second)
					tt.say(alice)
					after(14 * time.Second)
					alice.ExpectNothing()
				}
				after(time.Minute)
				alice.Expect(pinged)
				after(15 * time.Second)
				alice.ExpectClosed(server.ReasonPing)
			})
		})
	}
}

func TestTalkativeClientIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, ping.Options{Interval: time.Minute, Timeout: 30 * time.Second})
		alice := s.Login("alice/web")
		for range 20 {
			after(50 * time.Second)
			alice.Send("<presence/>")
			alice.Next()
		}
		alice.ExpectNothing()
	})
}

// A timeout shorter than the time between two looks still gives a client the
// chance to answer.
func TestNobodyIsClosedUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, ping.Options{Interval: time.Minute, Timeout: time.Second})
		after(time.Second) // out of step with the looks
		alice := s.Login("alice/web")
		after(76 * time.Second)
		if alice.Closed() {
			t.Fatal("closed unasked")
		}
		alice.Expect(pinged)
		after(15 * time.Second)
		alice.ExpectClosed(server.ReasonPing)
	})
}

// Load generators do not answer.
func TestListenerWithoutPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, ping.Options{Interval: time.Minute, Timeout: 30 * time.Second})
		bob := s.DialWith(server.Info{Kind: "test", Secure: true}, server.Listener{NoPings: true})
		bob.Open("example.com")
		bob.Authenticate("bob", servertest.Password)
		bob.Open("example.com")
		bob.Bind("load")
		alice := s.Login("alice/web")
		after(time.Minute)
		alice.Expect(pinged)
		after(10 * time.Hour)
		alice.ExpectClosed(server.ReasonPing)
		bob.ExpectNothing()
		if bob.Closed() {
			t.Error("closed for not answering what was not asked")
		}
	})
}

func TestNeverPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, ping.Options{})
		alice := s.Login("alice/web")
		after(1000 * time.Hour)
		alice.ExpectNothing()
		if alice.Closed() {
			t.Error("closed")
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := servertest.New(t, servertest.Options{
			Directory: servertest.NewDirectory().AddUser("alice", ""), Hosts: []string{"example.com", "b.example"},
			Modules: []server.Module{ping.New(ping.Options{Interval: time.Minute, Timeout: time.Second})},
		})
		var clients []*servertest.Client
		for range 10 {
			clients = append(clients, s.Login("alice"), s.Login("alice@b.example"))
		}
		after(time.Minute)
		for _, c := range clients {
			c.Expect("<iq type='get' from='" + c.JID.Domain() + "' to='" + c.JID.String() + "' id='{any}'>...</iq>")
			c.ExpectNothing()
		}
		s.Stop()
		for _, c := range clients {
			c.ExpectClosed(server.ReasonShutdown)
		}
	})
}

func TestValidate(t *testing.T) {
	tests := []struct {
		o  ping.Options
		ok bool
	}{
		{ping.Options{}, true},
		{ping.Options{Interval: time.Minute, Timeout: time.Second}, true},
		{ping.Options{Interval: time.Minute}, false},
		{ping.Options{Interval: time.Minute, Timeout: time.Minute}, false},
		{ping.Options{Interval: -1}, false},
		{ping.Options{Timeout: time.Second}, true},
	}
	for _, tt := range tests {
		if err := ping.New(tt.o).Validate(); (err == nil) != tt.ok {
			t.Errorf("%+v: %v", tt.o, err)
		}
	}
}

// A session that can be resumed loses its connection, and is not pinged without one.
func TestPingDetaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, ping.Options{Interval: time.Minute, Timeout: 5 * time.Second})
		c := s.DialWith(server.Info{Kind: "test", Secure: true, Manageable: true}, server.Listener{})
		c.Open("example.com")
		c.Authenticate("alice", servertest.Password)
		c.Open("example.com")
		c.Bind("phone")
		c.Send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
		c.Next()
		after(time.Minute)
		c.Expect(pinged)
		after(15 * time.Second)
		if end := c.ExpectClosed(server.ReasonPing); !end.Cut {
			t.Error("the stream has ended")
		}
		after(4 * time.Minute)
		if n := s.Metric("rollcall_detached_sessions"); n != 1 {
			t.Errorf("%v sessions wait", n)
		}
		if n := s.Metric("rollcall_pings_total"); n != 1 {
			t.Errorf("%v pings", n)
		}
		after(time.Minute)
		if n := s.Metric("rollcall_detached_sessions"); n != 0 {
			t.Errorf("%v sessions wait", n)
		}
	})
}
