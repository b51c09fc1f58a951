package websocket_test

import (
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"rollcall/c2s/websocket"
	"rollcall/conf"
)

// TestLogin also shows the forms that strophe.js looks for.
func TestLogin(t *testing.T) {
	for name, o := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // at the end the server waits for clients to leave
			talk(t, start(t, o))
		})
	}
}

// kinds are the ways for a connection to come about.
var kinds = map[string]options{
	"net/http":             {},
	"net/http, portable":   {Config: websocket.Config{Portable: true}},
	"net/http, TLS":        {cipher: true, tls: true},
	"front":                {front: true},
	"front, portable":      {front: true, Config: websocket.Config{Portable: true}},
	"front, TLS":           {front: true, cipher: true, tls: true},
	"front, TLS, portable": {front: true, cipher: true, tls: true, Config: websocket.Config{Portable: true}},
}

func talk(t *testing.T, h *house) {
	ann, ben := h.login("ann", "web"), h.login("ben", "web")
	long := strings.Repeat("x", 100_000)
	for _, body := range []string{"hi", strings.Repeat("y", 200), long} {
		ann.send("<message xmlns='jabber:client' to='ben@example.com/web' type='chat'><body>" + body + "</body></message>")
		ben.expect("<message xmlns='jabber:client' from='ann@example.com/web' to='ben@example.com/web' type='chat'><body>" + body + "</body></message>")
	}
	ann.send("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
	ann.expect(closing)
	ann.expectClosing(ws.StatusNormalClosure)
	h.expectClose("client")
	h.stop()
	ben.expect(streamError("system-shutdown"), closing)
	ben.expectClosing(ws.StatusGoingAway)
	h.expectClose("shutdown")
}

// TestHeader: RFC 7395 section 3.4.
func TestHeader(t *testing.T) {
	h := start(t, options{})
	p := h.dial()
	p.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.com' from='ann@example.com' version='1.0' xml:lang='de'/>")
	got := p.text()
	if !strings.HasPrefix(got, `<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" id="`) ||
		!strings.HasSuffix(got, `" from="example.com" to="ann@example.com" version="1.0" xml:lang="en"/>`) {
		t.Errorf("got %s", got)
	}
}

// TestBadMessages: what is no element, or the wrong one, ends the stream by XMPP's
// means.
func TestBadMessages(t *testing.T) {
	const message = "<message xmlns='jabber:client' to='ann@example.com/x'/>"
	for name, test := range map[string]struct {
		texts     []string // after a login unless the first is ""
		condition string
		code      ws.StatusCode
	}{
		"no open":                  {[]string{"", message}, "invalid-namespace", 1000},
		"open elsewhere":           {[]string{"", "<open to='example.com' version='1.0'/>"}, "invalid-namespace", 1000},
		"stream":                   {[]string{"", "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client' to='example.com' version='1.0'>"}, "not-well-formed", 1000},
		"white space":              {[]string{" "}, "not-well-formed", 1000},
		"nothing":                  {[]string{"\x00"}, "not-well-formed", 1000},
		"space before":             {[]string{" " + message}, "not-well-formed", 1000},
		"half":                     {[]string{"<message xmlns='jabber:client'><body>"}, "not-well-formed", 1000},
		"two":                      {[]string{message + message}, "not-well-formed", 1000},
		"text after":               {[]string{message + "x"}, "not-well-formed", 1000},
		"two declarations":         {[]string{"<?xml version='1.0'?><?xml version='1.0'?>" + message}, "restricted-xml", 1000},
		"comment":                  {[]string{"<!-- -->"}, "restricted-xml", 1000},
		"prefix not declared":      {[]string{"<message xmlns='jabber:client'><x:y/></message>"}, "not-well-formed", 1000},
		"stream prefix inherited":  {[]string{"<stream:error/>"}, "not-well-formed", 1000},
		"namespace left out":       {[]string{"<presence/>"}, "invalid-namespace", 1000},
		"opened again":             {[]string{open}, "policy-violation", 1000},
		"unknown":                  {[]string{"<y xmlns='urn:y'/>"}, "unsupported-stanza-type", 1000},
		"too long":                 {[]string{"<message xmlns='jabber:client'>" + strings.Repeat("x", 3000) + "</message>"}, "policy-violation", 1009},
		"too long before login":    {[]string{"", "<message xmlns='jabber:client'>" + strings.Repeat("x", 1000) + "</message>"}, "policy-violation", 1009},
		"as long as may be, twice": {[]string{"<message xmlns='jabber:client'>" + strings.Repeat("x", 1959) + "</message>", "<x/>"}, "invalid-namespace", 1000},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, options{limits: func(l *conf.Limits) { l.LoginBytes, l.StanzaBytes = 1000, 2000 }})
			p := h.dial()
			if test.texts[0] == "" {
				test.texts = test.texts[1:]
			} else {
				p.login("ann", "x")
			}
			p.send(test.texts...)
			got := p.text()
			for strings.HasPrefix(got, "<open ") || strings.HasPrefix(got, "<message") {
				got = p.text()
			}
			if want := streamError(test.condition); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			p.expect(closing)
			p.expectClosing(test.code)
			h.expectClose("stream-error")
		})
	}
}

// TestGoodMessages: what a document may have around its root.
func TestGoodMessages(t *testing.T) {
	h := start(t, options{})
	ann := h.login("ann", "x")
	for _, text := range []string{
		"<?xml version='1.0' encoding='UTF-8'?><message xmlns='jabber:client' to='ann@example.com/x' id='1'/>",
		"<?xml version='1.0'?>\n<message xmlns='jabber:client' to='ann@example.com/x' id='1'/>",
		"<message xmlns='jabber:client' to='ann@example.com/x' id='1'/>\r\n",
	} {
		ann.send(text)
		ann.expect("<message xmlns='jabber:client' from='ann@example.com/x' to='ann@example.com/x' id='1'/>")
	}
}

// TestLost: who leaves without <close/> was cut off.
func TestLost(t *testing.T) {
	for name, test := range map[string]struct {
		leave func(p *peer)
		code  ws.StatusCode // of the answer, if there is one
	}{
		"close frame": {func(p *peer) {
			p.raw(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway, "bye")))))
		}, ws.StatusGoingAway},
		"close frame without a code": {func(p *peer) { p.raw(frame(ws.OpClose, true, "")) }, 0},
		"end": {func(p *peer) {
			if err := p.Close(); err != nil {
				p.t.Error(err)
			}
		}, 9999},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, options{})
			p := h.login("ann", "x")
			test.leave(p)
			h.expectClose("lost")
			if test.code != 9999 {
				p.expectClosing(test.code)
			}
		})
	}
}

// TestSeeOther: RFC 7395 section 3.6.1.
func TestSeeOther(t *testing.T) {
	h := start(t, options{Config: websocket.Config{SeeOtherURI: "wss://b.example.com/?a=1&b=\"2\""}})
	p := h.dial()
	p.send(open)
	p.expect("<close " + framing + ` see-other-uri="wss://b.example.com/?a=1&amp;b=&quot;2&quot;" />`)
	p.expectClosing(ws.StatusNormalClosure)
	h.expectClose("stream-error")
}

// TestRestart: after SASL comes an <open/>, nothing else.
func TestRestart(t *testing.T) {
	h := start(t, options{})
	p := h.dial()
	p.send(open)
	p.expect("<open...", features+"...")
	p.send(plain("ann"), bind("x"))
	p.expect("<success...", "<open...", streamError("invalid-namespace"), closing)
	p.expectClosing(ws.StatusNormalClosure)
}
