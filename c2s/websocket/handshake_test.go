package websocket_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"rollcall/c2s/websocket"
)

// ask sends a request and returns the answer with its body.
func (h *house) ask(request string) (*http.Response, string) {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { nc.Close() })
	if _, err := io.WriteString(nc, request); err != nil {
		h.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res, ""
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return res, string(body)
}

// TestRefusalsExplain: people who set up a proxy read them.
func TestRefusalsExplain(t *testing.T) {
	h := start(t, options{})
	for _, test := range []struct {
		request string
		status  int
		header  string // that has to be there
		says    string
	}{
		{handshake + "\r\n", 400, "", "Sec-WebSocket-Protocol: xmpp"},
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426, "Upgrade", "Connection: Upgrade"},
		{strings.Replace(handshake, "HTTP/1.1", "HTTP/1.0", 1) + "Sec-WebSocket-Protocol: xmpp\r\n\r\n", 426, "Upgrade", "HTTP/1.1"},
		{strings.Replace(handshake, "13", "12", 1) + "Sec-WebSocket-Protocol: xmpp\r\n\r\n", 426, "Sec-WebSocket-Version", "13"},
		{strings.Replace(handshake, "GET", "PUT", 1) + "Sec-WebSocket-Protocol: xmpp\r\n\r\n", 405, "Allow", "GET"},
		{handshake + "Content-Length: 1\r\nSec-WebSocket-Protocol: xmpp\r\n\r\nx", 400, "", "body"},
		{handshake + "Origin: https://evil.example\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n", 403, "", "origin"},
	} {
		res, body := h.ask(test.request)
		if res.StatusCode != test.status || test.header != "" && res.Header.Get(test.header) == "" || !strings.Contains(body, test.says) {
			t.Errorf("%q: %s %v %q, want %d", test.request, res.Status, res.Header, body, test.status)
		}
	}
}

// TestOrigins: the default is the server's own origin and none.
func TestOrigins(t *testing.T) {
	for _, test := range []struct {
		config  websocket.Config
		headers string
		status  int
	}{
		{websocket.Config{}, "", 101},
		{websocket.Config{}, "Origin: https://EXAMPLE.com\r\n", 101},
		{websocket.Config{}, "Origin: http://example.com:80\r\n", 101},
		{websocket.Config{}, "Origin: https://example.com:8443\r\n", 403},
		{websocket.Config{}, "Origin: example.com\r\n", 403},
		{websocket.Config{}, "Origin: null\r\n", 403},
		{websocket.Config{}, "Origin: ftp://example.com\r\n", 403},
		{websocket.Config{}, "X-Forwarded-Host: other.example\r\nOrigin: https://other.example\r\n", 403},
		{websocket.Config{TrustedProxies: loopback}, "X-Forwarded-Host: other.example\r\nOrigin: https://other.example\r\n", 101},
		{websocket.Config{Origins: []string{"https://a.example"}}, "Origin: https://A.example\r\n", 101},
		{websocket.Config{Origins: []string{"https://a.example"}}, "Origin: https://example.com\r\n", 101},
		{websocket.Config{Origins: []string{"https://a.example"}}, "Origin: https://b.example\r\n", 403},
		{websocket.Config{Origins: []string{"*"}}, "Origin: https://b.example\r\n", 101},
		{websocket.Config{Bench: true}, "Origin: 10.0.0.1\r\n", 101},
		{websocket.Config{Bench: true}, "Origin: https://b.example\r\n", 403},
		{websocket.Config{Bench: true}, "Origin: null\r\n", 403},
	} {
		h := start(t, options{Config: test.config})
		if res, body := h.ask(handshake + test.headers + "Sec-WebSocket-Protocol: xmpp\r\n\r\n"); res.StatusCode != test.status {
			t.Errorf("%+v %q: %s %s, want %d", test.config, test.headers, res.Status, body, test.status)
		}
	}
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// TestSecure: only proxies that are trusted may say that TLS ends there.
func TestSecure(t *testing.T) {
	for _, test := range []struct {
		proxies []netip.Prefix
		proto   string
		offered bool
	}{{nil, "https", false}, {loopback, "https", true}, {loopback, "http", false}} {
		h := start(t, options{tls: true, Config: websocket.Config{TrustedProxies: test.proxies}})
		p := h.dial("Sec-WebSocket-Protocol: xmpp", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: "+test.proto)
		p.send(open)
		p.expect("<open...")
		if got := p.text(); strings.Contains(got, "<mechanisms") != test.offered {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

// TestCompressionOffers: RFC 7692 section 7.1.
func TestCompressionOffers(t *testing.T) {
	const granted = "permessage-deflate;server_no_context_takeover;client_no_context_takeover"
	h := start(t, options{Config: websocket.Config{Compression: true}})
	for offer, want := range map[string]string{
		"permessage-deflate":                         granted,
		"permessage-deflate; client_max_window_bits": granted,
		"permessage-deflate; server_no_context_takeover; client_no_context_takeover": granted,
		"x-other, permessage-deflate":                                       granted,
		"permessage-deflate; server_max_window_bits=15":                     granted + ";server_max_window_bits=15",
		"permessage-deflate; server_max_window_bits=10":                     "",
		"permessage-deflate; server_max_window_bits=10, permessage-deflate": granted,
		"permessage-deflate; server_max_window_bits=16":                     "",
		"permessage-deflate; unknown":                                       "",
		"permessage-deflate, permessage-deflate":                            granted,
		"x-webkit-deflate-frame":                                            "",
	} {
		res, _ := h.ask(handshake + "Sec-WebSocket-Protocol: xmpp\r\nSec-WebSocket-Extensions: " + offer + "\r\n\r\n")
		got := strings.ReplaceAll(strings.Join(res.Header.Values("Sec-WebSocket-Extensions"), ","), " ", "")
		if res.StatusCode != 101 || got != want {
			t.Errorf("%s: %s %q, want %q", offer, res.Status, got, want)
		}
	}
	if res, _ := h.ask(handshake + "Sec-WebSocket-Protocol: xmpp\r\nSec-WebSocket-Extensions: ;;\r\n\r\n"); res.StatusCode != 400 {
		t.Errorf("no list of extensions: %s", res.Status)
	}
}

// TestCompressed: long stanzas are compressed, short ones are not.
func TestCompressed(t *testing.T) {
	h := start(t, options{Config: websocket.Config{Compression: true}})
	p := h.dial("Sec-WebSocket-Protocol: xmpp", "Sec-WebSocket-Extensions: permessage-deflate")
	p.compressed = true
	p.login("ann", "x")
	const message = "<message xmlns='jabber:client' to='ann@example.com/x'><body>%s</body></message>"
	p.send(fmt.Sprintf(message, "short"))
	p.expect("<message...")
	p.send(fmt.Sprintf(message, strings.Repeat("long", 1000)))
	f, err := websocket.ReadFrame(p.in)
	if err != nil || !f.Header.Rsv1() || len(f.Payload) > 200 {
		t.Errorf("%+v %v", f.Header, err)
	}
	// "Hello", which is no element (RFC 7692 section 7.2.3.1).
	hello := ws.NewTextFrame([]byte("\xf2\x48\xcd\xc9\xc9\x07\x00"))
	hello.Header.Rsv = ws.Rsv(true, false, false)
	p.raw(ws.MustCompileFrame(ws.MaskFrame(hello)))
	p.expect(streamError("not-well-formed"), closing)
	p.expectClosing(ws.StatusNormalClosure)
}
