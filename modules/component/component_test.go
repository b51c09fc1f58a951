package component_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"rollcall/internal/servertest"
	"rollcall/modules/component"
	"rollcall/server"
	"rollcall/storage/memory"
)

// TestMessages go both ways, and come back where nobody takes them.
func TestMessages(t *testing.T) {
	p := start(t, options())
	alice := p.Online("alice/web")
	alice.Send("<message to='x@" + name + "/y' id='0'><body>early</body></message>")
	alice.Expect("<message type='error' from='x@echo.example.com/y' to='{alice}' id='0'><error type='cancel'>" +
		"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></message>")
	c := p.connect(t, name, secret)
	alice.Send("<message to='x@" + name + "/y' id='1' type='chat'><body>hi &amp; &lt;ho</body><x xmlns='urn:x'/></message>")
	c.expect("<message from='alice@example.com/web' to='x@echo.example.com/y' id='1' type='chat'><body>hi &amp; &lt;ho</body><x xmlns='urn:x'/></message>")
	c.send("<message from='x@echo.example.com/y' to='alice@example.com' id='2'><body>hey</body></message>")
	alice.Expect("<message from='x@echo.example.com/y' to='alice@example.com' id='2'><body>hey</body></message>")
	// In the namespace of clients, as some write.
	c.send("<message xmlns='jabber:client' from='echo.example.com' to='alice@example.com/web' type='odd'><body>full</body></message>")
	alice.Expect("<message from='echo.example.com' to='{alice}' type='{absent}'><body>full</body></message>")
	c.send("<message from='a@echo.example.com' to='nobody@example.com' id='3'><body>?</body></message>" +
		"<message from='a@echo.example.com' to='example.com' id='4'><body>?</body></message>" +
		"<message from='a@echo.example.com' to='somewhere.example.net' id='5'><body>?</body></message>" +
		"<message from='a@echo.example.com' to='bot.example.com' id='6'><body>?</body></message>" +
		"<message from='a@echo.example.com' to='b@echo.example.com' id='7'><body>to myself</body></message>")
	refusal := func(from, id, condition string) string {
		text := ""
		if id == "6" {
			text = "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>the component is not connected</text>"
		}
		return "<message from='" + from + "' to='a@echo.example.com' type='error' id='" + id + "'><error type='cancel'><" +
			condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" + text + "</error></message>"
	}
	c.expect(refusal("nobody@example.com", "3", "service-unavailable"), refusal("example.com", "4", "service-unavailable"),
		refusal("somewhere.example.net", "5", "remote-server-not-found"), refusal("bot.example.com", "6", "service-unavailable"),
		"<message from='a@echo.example.com' to='b@echo.example.com' id='7'><body>to myself</body></message>")
	alice.ExpectNothing()
}

// TestRequests go both ways, with their answers.
func TestRequests(t *testing.T) {
	p := start(t, options())
	alice, c := p.Login("alice/web"), p.connect(t, name, secret)
	alice.Send("<iq type='get' id='1' to='" + name + "'><q xmlns='urn:q'/></iq>")
	c.expect("<iq from='alice@example.com/web' to='echo.example.com' type='get' id='1'><q xmlns='urn:q'/></iq>")
	c.send("<iq from='echo.example.com' to='alice@example.com/web' type='result' id='1'><q xmlns='urn:q'>5</q></iq>")
	alice.Expect("<iq from='echo.example.com' to='{alice}' type='result' id='1'><q xmlns='urn:q'>5</q></iq>")
	c.send("<iq from='echo.example.com' to='alice@example.com/web' type='set' id='2'><q xmlns='urn:q'/></iq>")
	alice.Expect("<iq from='echo.example.com' to='{alice}' type='set' id='2'><q xmlns='urn:q'/></iq>")
	alice.Send("<iq type='error' id='2' to='" + name + "'><error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
	c.expect("<iq from='alice@example.com/web' to='echo.example.com' type='error' id='2'><error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
	for _, tt := range []struct{ to, inner, want string }{
		{"example.com", "<ping xmlns='urn:xmpp:ping'/>", "<iq from='example.com' to='echo.example.com' type='result' id='3'/>"},
		{"alice@example.com", "<ping xmlns='urn:xmpp:ping'/>", "service-unavailable"},
		{"alice@example.com/gone", "<ping xmlns='urn:xmpp:ping'/>", "service-unavailable"},
		{"example.com", "<q xmlns='urn:q'/>", "service-unavailable"},
		{"example.com", "", "bad-request"},
		{"example.com", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "<feature var='urn:xmpp:ping'/>"},
		{"example.com", "<query xmlns='http://jabber.org/protocol/disco#items'/>", "<item jid='echo.example.com'/>"},
	} {
		c.send("<iq from='echo.example.com' to='" + tt.to + "' type='get' id='3'>" + tt.inner + "</iq>")
		if got := c.next(); !strings.Contains(got, tt.want) {
			t.Errorf("%s to %s: %s", tt.inner, tt.to, got)
		}
	}
	// The request of a client whose component goes is answered like any other to nobody.
	c.send("</stream:stream>")
	c.expect("end")
	p.absent(t, alice, name)
	alice.Match("<iq type='error' from='echo.example.com' to='{alice}' id='{any}'><error type='cancel'>"+
		"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></iq>", alice.Ask("get", name, "<q xmlns='urn:q'/>"))
}

// TestAbsentPresence: whoever enters a room of a component that is not there is told so.
func TestAbsentPresence(t *testing.T) {
	p := start(t, options())
	alice := p.Online("alice/web")
	alice.Send("<presence to='room@" + name + "/nick' id='1'><x xmlns='urn:muc'/></presence>")
	alice.Expect("<presence type='error' from='room@echo.example.com/nick' to='{alice}' id='1'><error type='cancel'>" +
		"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></presence>")
	alice.Send("<presence to='room@" + name + "/nick' type='unavailable'/>")
	alice.Send("<presence to='room@" + name + "' type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
	alice.ExpectNothing()
	c := p.connect(t, name, secret)
	alice.Send("<presence type='unavailable'/><message to='" + name + "' id='2'/>")
	c.expect("<message from='alice@example.com/web' to='echo.example.com' id='2'/>") // and no presence that it never got
}

// TestPresence: directed presence is taken back when the client goes, and what a
// component says reaches users.
func TestPresence(t *testing.T) {
	p := start(t, options())
	alice, c := p.Online("alice/web"), p.connect(t, name, secret)
	alice.Send("<presence to='room@" + name + "/nick'><x xmlns='urn:muc'/></presence>")
	c.expect("<presence from='alice@example.com/web' to='room@echo.example.com/nick'><x xmlns='urn:muc'/></presence>")
	c.send("<presence from='room@echo.example.com/other' to='alice@example.com/web'><show>busy</show></presence>" +
		"<presence from='room@echo.example.com/other' to='alice@example.com' type='unavailable'/>")
	alice.Expect("<presence from='room@echo.example.com/other' to='{alice}'><show>dnd</show></presence>")
	alice.Expect("<presence from='room@echo.example.com/other' to='{alice}' type='unavailable'/>")
	alice.Send("<presence to='user@" + name + "' type='subscribe'/>")
	c.expect("<presence from='alice@example.com/web' to='user@echo.example.com' type='subscribe'/>")
	c.send("<presence from='user@echo.example.com' to='alice@example.com' type='subscribed'/>" +
		"<presence from='user@echo.example.com' to='example.com'/>" +
		"<presence from='user@echo.example.com' to='alice@example.com'><priority>high</priority></presence>")
	alice.Expect("<presence from='user@echo.example.com' to='alice@example.com' type='subscribed'/>")
	if got := c.next(); !strings.Contains(got, "<bad-request") {
		t.Errorf("a wrong priority: %s", got)
	}
	alice.Drop()
	c.expect("<presence from='alice@example.com/web' to='room@echo.example.com/nick' type='unavailable'/>")
}

func TestRefusals(t *testing.T) {
	p := start(t, options())
	early := append([]string{"header from="}, failed("host-unknown")...)
	late := func(condition string) []string { return append([]string{"header from=" + name}, failed(condition)...) }
	tests := []struct {
		name, text string
		want       []string
	}{
		{"another host", header("example.com"), early},
		{"no host", header(""), early},
		{"a client", strings.Replace(header(name), "jabber:component:accept", "jabber:client", 1), append([]string{"header from="}, failed("invalid-namespace")...)},
		{"another prefix", strings.ReplaceAll(header(name), "stream:", "s:"), append([]string{"header from="}, failed("invalid-namespace")...)},
		{"no XML", "GET / HTTP/1.1\r\n\r\n", append([]string{"header from="}, failed("not-well-formed")...)},
		{"a stanza first", header(name) + "<message from='echo.example.com' to='alice@example.com'/>", late("not-authorized")},
		{"a wrong secret", header(name) + "<handshake>0000000000000000000000000000000000000000</handshake>", late("not-authorized")},
		{"no secret", header(name) + "<handshake/>", late("not-authorized")},
		{"too much", header(name) + "<handshake>" + strings.Repeat("0", 5000), late("policy-violation")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := p.dial(t)
			c.send(tt.text)
			if tt.name == "another prefix" {
				got := c.next()
				if !strings.HasPrefix(got, "header") {
					t.Fatal(got)
				}
				return
			}
			c.expect(tt.want...)
		})
	}
}

// TestRules ends streams that break them.
func TestRules(t *testing.T) {
	tests := []struct{ name, text, condition string }{
		{"another's address", "<message from='alice@example.com' to='bob@example.com'/>", "invalid-from"},
		{"a host below", "<message from='a.echo.example.com' to='bob@example.com'/>", "invalid-from"},
		{"nonsense", "<message from='a b@echo.example.com' to='bob@example.com'/>", "invalid-from"},
		{"from nobody", "<message to='bob@example.com'/>", "improper-addressing"},
		{"to nobody", "<message from='echo.example.com'/>", "improper-addressing"},
		{"to nonsense", "<message from='echo.example.com' to='a b@example.com'/>", "improper-addressing"},
		{"no stanza", "<route from='echo.example.com' to='example.com'/>", "unsupported-stanza-type"},
		{"of another namespace", "<message xmlns='jabber:server' from='echo.example.com' to='example.com'/>", "unsupported-stanza-type"},
		{"handshake again", "<handshake>x</handshake>", "unsupported-stanza-type"},
		{"bad XML", "<message", ""},
		{"restricted XML", "<!-- hello -->", "restricted-xml"},
		{"long", "<message from='echo.example.com' to='bob@example.com'>" + strings.Repeat("x", 20000) + "</message>", "policy-violation"},
	}
	p := start(t, options())
	alice := p.Login("alice/web")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := p.connect(t, name, secret)
			c.send(tt.text)
			if tt.condition == "" {
				c.send("<")
				tt.condition = "not-well-formed"
			}
			c.expect(failed(tt.condition)...)
			p.absent(t, alice, name)
		})
	}
}

// TestConflict: there is one of each name, until it goes.
func TestConflict(t *testing.T) {
	p := start(t, options())
	first := p.connect(t, name, secret)
	bot := p.connect(t, "bot.example.com", "9876543210")
	second := p.dial(t)
	second.send(header(name))
	second.expect("header from=" + name)
	second.send(second.handshake(secret))
	second.expect(failed("conflict")...)
	first.send("<message from='echo.example.com' to='bot.example.com'><body>still here</body></message>")
	bot.expect("<message from='echo.example.com' to='bot.example.com'><body>still here</body></message>")
	if n := p.Metric("rollcall_components"); n != 2 {
		t.Errorf("%v are connected", n)
	}
	if err := first.conn.Close(); err != nil {
		t.Fatal(err)
	}
	p.absent(t, p.Login("alice/web"), name)
	p.connect(t, name, secret)
}

// TestSlow: a component that takes nothing is disconnected, and holds up nobody.
func TestSlow(t *testing.T) {
	o := options()
	o.OutboxBytes = 20000
	p := start(t, o)
	p.connect(t, name, secret) // and reads no more
	alice := p.Login("alice/web")
	body := strings.Repeat("x", 15000)
	for deadline := time.Now().Add(20 * time.Second); p.Metric("rollcall_components") > 0; {
		alice.Send("<message to='" + name + "'><body>" + body + "</body></message>")
		if time.Now().After(deadline) {
			t.Fatal("it is still connected")
		}
	}
	p.absent(t, alice, name)
}

func TestHandshakeTime(t *testing.T) {
	o := options()
	o.HandshakeTime = 50 * time.Millisecond
	c := start(t, o).dial(t)
	c.expect(append([]string{"header from="}, failed("connection-timeout")...)...)
}

// TestNodes: a component is connected to one node, and users to another.
func TestNodes(t *testing.T) {
	hub := memory.NewHub()
	here := start(t, options(), func(o *servertest.Options) { o.Bus = hub.Bus("here") })
	c := here.connect(t, name, secret)
	there := start(t, options(), func(o *servertest.Options) {
		o.Bus, o.Directory, o.Beside = hub.Bus("there"), here.Directory, here.Server
	})
	alice := there.Online("alice/web")
	present(t, alice, c)
	c.send("<iq from='echo.example.com' to='alice@example.com/web' type='get' id='1'><q xmlns='urn:q'/></iq>")
	alice.Expect("<iq from='echo.example.com' to='{alice}' type='get' id='1'><q xmlns='urn:q'/></iq>")
	alice.Send("<iq to='echo.example.com' type='result' id='1'/>")
	c.expect("<iq from='alice@example.com/web' to='echo.example.com' type='result' id='1'/>")
	alice.Send("<presence to='room@echo.example.com/nick'/>")
	c.expect("<presence from='alice@example.com/web' to='room@echo.example.com/nick'/>")
	c.send("<presence from='room@echo.example.com/other' to='alice@example.com'><show>away</show></presence>" +
		"<presence from='room@echo.example.com/other' to='alice@example.com/web' type='error'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
	alice.Expect("<presence from='room@echo.example.com/other' to='{alice}'><show>away</show></presence>")
	alice.Expect("<presence from='room@echo.example.com/other' to='{alice}' type='error'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
	alice.Send("<presence type='unavailable'/>")
	alice.Expect("<presence from='{alice}' to='{alice}' type='unavailable'/>")
	c.expect("<presence from='alice@example.com/web' to='room@echo.example.com/nick' type='unavailable'/>")
	if err := c.conn.Close(); err != nil {
		t.Fatal(err)
	}
	// No message is sent to find out: one that is on its way while the news is, too, may come
	// to whoever connects next.
	there.forgotten(t, name)
	alice.Send("<presence to='room@echo.example.com/nick' id='p'/>")
	alice.Expect("<presence type='error' from='room@echo.example.com/nick' to='{alice}' id='p'><error type='cancel'>" +
		"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></presence>")
	present(t, alice, here.connect(t, name, secret))
}

// forgotten waits until the server knows of no other node that a component is connected to.
func (p *place) forgotten(t *testing.T, name string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(p.module.NodesOf(name)) > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s is still known to be at another node", name)
		}
	}
}

// present returns when the client's messages reach the component, and takes them.
func present(t *testing.T, c *servertest.Client, p *peer) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		c.Send("<message to='" + name + "' id='present'/>")
		refused := false
		for _, el := range c.Drain() {
			refused = refused || el.SelectAttrValue("id", "") == "present"
		}
		if !refused {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the component is not known at the other node")
		}
	}
	p.expect("<message from='alice@example.com/web' to='echo.example.com' id='present'/>")
}

func TestValidate(t *testing.T) {
	with := func(f func(*component.Options)) component.Options {
		o := options()
		f(&o)
		return o
	}
	for _, tt := range []struct {
		name string
		o    component.Options
		ok   bool
	}{
		{"whole", options(), true},
		{"no secret", with(func(o *component.Options) { o.Components[0].Secret = "" }), false},
		{"twice", with(func(o *component.Options) { o.Components[1].Name = name }), false},
		{"no time", with(func(o *component.Options) { o.HandshakeTime = 0 }), false},
	} {
		if err := component.New(tt.o).Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	taken := component.New(with(func(o *component.Options) { o.Components[0].Name = servertest.Host }))
	s := servertest.New(t, servertest.Options{})
	if err := s.Start(t.Context(), []server.Module{taken}...); err == nil {
		t.Error("a component took the host of the server")
	}
}
