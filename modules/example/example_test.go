package example_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/modules/disco"
	"rollcall/modules/example"
	"rollcall/server"
)

const (
	greeting = "Hello & welcome"
	hello    = "<message from='example.com' to='{alice}' type='headline'><body>Hello &amp; welcome</body></message>"
	echo     = "<presence from='{alice}' to='{alice}'/>"
	ask      = "<greeted xmlns='urn:rollcall:example:1'/>"
)

// start runs the module in the real core: no network, no mocks. Package
// servertest tells what its clients can do.
func start(t *testing.T, more ...server.Module) *servertest.Server {
	t.Helper()
	return servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", "Alice").AddUser("bob", "Bob"),
		Modules:   append([]server.Module{example.New(example.Options{Greeting: greeting})}, more...),
	})
}

func TestGreetsOncePerArrival(t *testing.T) {
	s := start(t)
	alice := s.Login("alice/web")
	alice.ExpectNothing() // logging in is not being available
	alice.Send("<presence/>")
	alice.Expect(hello)
	alice.Expect(echo)
	alice.Send("<presence><show>away</show></presence>")
	alice.Next()
	alice.ExpectNothing() // still here
	alice.Send("<presence type='unavailable'/><presence/>")
	alice.Next() // the echo of unavailable
	alice.Expect(hello)
	alice.Expect(echo)
	alice.ExpectNothing()
	if n := s.Metric("rollcall_example_greetings_total"); n != 2 {
		t.Errorf("%v greetings were counted, want 2", n)
	}
}

func TestCount(t *testing.T) {
	s := start(t)
	alice := s.Login("alice/web")
	answer := "<iq type='result' from='example.com' to='{alice}' id='{any}'><greeted xmlns='urn:rollcall:example:1' count='"
	alice.Match(answer+"0'/></iq>", alice.Ask("get", "example.com", ask))
	s.Login("bob/web").Send("<presence/>")
	alice.Match(answer+"1'/></iq>", alice.Ask("get", "example.com", ask))
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, typ, to, condition string
	}{
		{"set", "set", "example.com", "not-allowed"},
		{"asking a user", "get", "bob@example.com", "service-unavailable"},
		{"asking oneself", "get", "", "service-unavailable"},
	}
	s := start(t)
	alice := s.Login("alice/web")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			alice.Match("<iq type='error' from='{any}' to='{alice}' id='{any}'><error type='cancel'>"+
				"<"+tt.condition+" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></iq>",
				alice.Ask(tt.typ, tt.to, ask))
		})
	}
}

func TestFeatures(t *testing.T) {
	alice := start(t, disco.New()).Login("alice/web")
	alice.Match(`<iq type='result' from='example.com' to='{alice}' id='{any}'>
		<query xmlns='http://jabber.org/protocol/disco#info'>
			<feature var='urn:rollcall:example:1'/>
			<feature var='urn:rollcall:example:1#greets'/>...</query></iq>`,
		alice.Ask("get", "example.com", "<query xmlns='http://jabber.org/protocol/disco#info'/>"))
}

func TestStop(t *testing.T) {
	var log bytes.Buffer
	s := servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", ""),
		Modules:   []server.Module{example.New(example.Options{Greeting: greeting})},
		Log:       slog.New(slog.NewTextHandler(&log, nil)),
	})
	s.Login("alice/web").Send("<presence/>")
	s.Stop()
	if !strings.Contains(log.String(), "module=example greeted=1") {
		t.Errorf("log: %s", log.String())
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		greeting string
		ok       bool
	}{
		{greeting, true},
		{"", false},
		{" \n", false},
		{strings.Repeat("x", 1000), true},
		{strings.Repeat("x", 1001), false},
	}
	for _, tt := range tests {
		if err := example.New(example.Options{Greeting: tt.greeting}).Validate(); (err == nil) != tt.ok {
			t.Errorf("%.20q (%d bytes): %v", tt.greeting, len(tt.greeting), err)
		}
	}
}
