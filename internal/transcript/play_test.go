package transcript

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"
)

// targets returns the fake server over each transport.
func targets(t *testing.T, tap func(Event)) map[string]Target {
	t.Helper()
	insecure := &tls.Config{InsecureSkipVerify: true} // the fake's certificate is its own
	common := Target{Kind: KindTCP, Host: "localhost", Timeout: 5 * time.Second}
	plain, startTLS, direct, bosh, ws, wss := common, common, common, common, common, common
	plain.Address = newFakeServer(t, tap).listen(t, false, false)
	startTLS.Address, startTLS.TLS = newFakeServer(t, tap).listen(t, true, false), insecure
	direct.Address, direct.TLS, direct.DirectTLS = newFakeServer(t, tap).listen(t, false, true), insecure, true
	bosh.Kind, bosh.URL = KindBOSH, newFakeServer(t, tap).bosh(t)
	ws.Kind, ws.URL = KindWebSocket, newFakeServer(t, tap).webSocket(t, false)
	wss.Kind, wss.URL, wss.TLS = KindWebSocket, newFakeServer(t, tap).webSocket(t, true), insecure
	return map[string]Target{
		"plain": plain, "starttls": startTLS, "direct tls": direct, "bosh": bosh, "websocket": ws, "websocket tls": wss,
	}
}

const cast = `# a test
alice: alice@localhost/web password=secret
bob: bob@localhost password=secret mechanism=PLAIN
eve: alice@localhost/web password=secret
`

const everything = cast + `
alice connects
bob connects
alice receives nothing
bob sends:
    <message to='{alice}' id='m1'><body>a &lt;b&gt; {lbrace}bob}</body></message>
    <message to='{alice}' id='m2'/>
alice receives:
    <message from='{bob}' to='alice@localhost/web' id='m1'><body>a &lt;b> {text}</body></message>
    <message from='{bob}' to='alice@localhost/web' id='{second}'/>
alice sends:
    <iq type='get' id='{second}' to='{bob}'><query xmlns='some:thing'/></iq>
alice receives:
    <iq type='error' id='m2' from='{bob}'>...</iq>
alice sends:
    <presence/>
bob receives:
    <presence from='alice@localhost/web' to='{bob}'><x xmlns='urn:rollcall:project:1' rev='{any}'/></presence>
alice receives:
    <presence from='alice@localhost/web' to='{alice}'>...</presence>
eve connects
alice is closed with conflict
bob receives:
    <presence type='unavailable' from='alice@localhost/web' to='{bob}'/>
bob disconnects
eve receives:
    <presence type='unavailable' from='{bob}' to='{eve}'/>
alice opens
alice sends:
    <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHdyb25n</auth>
alice receives:
    <failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>
alice sends:
    <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>
alice receives:
    <success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>
alice restarts
alice sends:
    <iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind></iq>
alice receives:
    <iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>alice@localhost/r</jid></bind></iq>
alice receives nothing
do greet
alice drops
eve receives:
    <presence type='unavailable' from='alice@localhost/r' to='{eve}'/>
`

func TestPlay(t *testing.T) {
	for name, target := range targets(t, nil) {
		t.Run(name, func(t *testing.T) {
			greeted := 0
			target.Actions = map[string]func(context.Context) error{"greet": func(context.Context) error { greeted++; return nil }}
			script, err := Parse("everything.txt", everything)
			if err != nil {
				t.Fatal(err)
			}
			Run(t, target, script)
			if greeted != 1 {
				t.Errorf("the action was called %d times", greeted)
			}
		})
	}
}

func TestPlayOnTCP(t *testing.T) {
	script, err := Parse("tcp.txt", cast+`
alice dials
alice streams:
    <?xml version='1.0'?>\n<stream:stream to='localhost' version='1.0' xmlns='jabber:client'
    \x20xmlns:stream='http://etherx.jabber.org/streams'>
alice receives:
    <stream:stream from='localhost' id='{id}' version='1.0'/>
    <stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>
alice streams 3 times:
    <a>
alice streams:
    </b>
alice is closed with not-well-formed
bob opens to example.com
bob is closed with host-unknown
bob connects
bob drops
eve opens
eve disconnects
`)
	if err != nil {
		t.Fatal(err)
	}
	Run(t, targets(t, nil)["plain"], script)
}

// TestPlayFails plays scripts that the server does not follow.
func TestPlayFails(t *testing.T) {
	const login = cast + "alice connects\nbob connects\n"
	for _, tc := range []struct{ name, script, want string }{
		{"wrong value", login + "alice sends:\n  <iq type='get' id='1' to='localhost'/>\nalice receives:\n  <iq type='error' id='2'>...</iq>\n", `f.txt:9: alice receives:: /iq: attribute id="1", want "2"`},
		{"something at the end", login + "bob sends:\n  <message to='{alice}'/>\n", "f.txt:7: the end: alice: unexpected <message"},
		{"something instead of nothing", login + "bob sends:\n  <message to='{alice}'/>\nalice receives nothing\n", "f.txt:9: alice receives nothing: unexpected <message"},
		{"something before the end of the stream", login + "bob sends:\n  <message to='{alice}'/>\nalice disconnects\n", "f.txt:9: alice disconnects: unexpected <message"},
		{"something before the drop", login + "bob sends:\n  <message to='{alice}'/>\nalice drops\n", "f.txt:9: alice drops: unexpected <message"},
		{"any order", login + "bob sends:\n  <message to='{alice}' id='1'/><message to='{alice}' id='2'/>\nalice receives in any order:\n  <message id='2'>...</message><message id='3'>...</message>\n", `id="1", want "3"`},
		{"not closed", login + "bob sends:\n  <message to='{alice}' id='1'/>\nalice is closed with conflict\n", "unexpected <message"},
		{"closed otherwise", cast + "alice opens\nalice sends:\n  <presence/>\nalice is closed with conflict\n", `closed with "not-authorized"`},
		{"no session", cast + "alice opens\nalice receives nothing\n", "only who is logged in"},
		{"not there", cast + "alice sends:\n  <presence/>\n", "is not connected"},
		{"there already", login + "alice connects\n", "is connected already"},
		{"unknown hole", login + "alice sends:\n  <presence to='{nobody}'/>\n", "nothing was captured for {nobody}"},
		{"no such action", cast + "do it\n", `no action "it"`},
		{"wrong password", strings.ReplaceAll(cast, "=secret", "=wrong") + "alice connects\n", "<not-authorized"},
		{"no such mechanism", strings.ReplaceAll(cast, "=PLAIN", "=SCRAM-SHA-1") + "bob connects\n", `no mechanism "SCRAM-SHA-1"`},
	} {
		for name, target := range targets(t, nil) {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				script, err := Parse("f.txt", tc.script)
				if err != nil {
					t.Fatal(err)
				}
				err = Play(t.Context(), target, script)
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v\nwant %s", err, tc.want)
				}
			})
		}
	}
}

// TestPlayTimesOut gives up on what does not arrive, and shows what was said.
func TestPlayTimesOut(t *testing.T) {
	for name, target := range targets(t, nil) {
		t.Run(name, func(t *testing.T) {
			target.Timeout = 200 * time.Millisecond
			script, err := Parse("f.txt", cast+"alice opens\nalice receives:\n  <presence/>\n")
			if err != nil {
				t.Fatal(err)
			}
			err = Play(t.Context(), target, script)
			var failure *Failure
			if !errors.As(err, &failure) || failure.Step.Line != 6 {
				t.Fatalf("got %v", err)
			}
			for _, want := range []string{"nothing arrived in 200ms", "expected <presence", "alice    <- ", "PLAIN"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not tell %q", err, want)
				}
			}
		})
	}
}
