package websocket_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"rollcall/c2s/websocket"
)

// TestConformanceHandshake is the opening handshake (RFC 6455 section 4.2, RFC
// 7395 section 3.1). Fields are replaced in a request that is right.
func TestConformanceHandshake(t *testing.T) {
	e := listen(t, func(c *websocket.Config) { c.Origins = []string{"https://chat.example.net"} })
	const yes = http.StatusSwitchingProtocols
	for _, c := range []struct {
		name   string
		fields []string
		want   []int
	}{
		{"as it should be", nil, []int{yes}},
		{"other fields", []string{"User-Agent: test", "Cookie: a=b", "Pragma: no-cache"}, []int{yes}},
		{"upgrade in other letters", []string{"Upgrade: WebSocket"}, []int{yes}},
		{"upgrade in lower case", []string{"Connection: upgrade"}, []int{yes}},
		{"connection of a browser", []string{"Connection: keep-alive, Upgrade"}, []int{yes}},
		{"no upgrade", []string{"Upgrade:"}, []int{400, 426}},
		{"another upgrade", []string{"Upgrade: h2c"}, []int{400, 426}},
		{"no connection", []string{"Connection:"}, []int{400, 426}},
		{"connection without upgrade", []string{"Connection: keep-alive"}, []int{400, 426}},
		{"no key", []string{"Sec-WebSocket-Key:"}, []int{400}},
		{"short key", []string{"Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="}, []int{400}},
		{"key that is no base64", []string{"Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="}, []int{400}},
		{"no version", []string{"Sec-WebSocket-Version:"}, []int{400, 426}},
		{"old version", []string{"Sec-WebSocket-Version: 8"}, []int{426}},
		{"version that is no number", []string{"Sec-WebSocket-Version: thirteen"}, []int{400, 426}},
		{"no subprotocol", []string{"Sec-WebSocket-Protocol:"}, []int{400}},
		{"another subprotocol", []string{"Sec-WebSocket-Protocol: mqtt"}, []int{400}},
		{"subprotocol in capitals", []string{"Sec-WebSocket-Protocol: XMPP"}, []int{400}},
		{"subprotocol that begins like ours", []string{"Sec-WebSocket-Protocol: xmpp2, xmppx"}, []int{400}},
		{"subprotocol among others", []string{"Sec-WebSocket-Protocol: mqtt, xmpp, soap"}, []int{yes}},
		{"subprotocol among others without spaces", []string{"Sec-WebSocket-Protocol: mqtt,xmpp"}, []int{yes}},
		{"subprotocol in a second line", []string{"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: xmpp"}, []int{yes}},
		{"extensions that are not offered", []string{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other"}, []int{yes}},
		{"own origin", []string{"Origin: http://" + e.address}, []int{yes}},
		{"allowed origin", []string{"Origin: https://chat.example.net"}, []int{yes}},
		{"allowed origin without TLS", []string{"Origin: http://chat.example.net"}, []int{403}},
		{"allowed origin with a port", []string{"Origin: https://chat.example.net:8443"}, []int{403}},
		{"other origin", []string{"Origin: https://evil.example.net"}, []int{403}},
		{"origin that ends like an allowed one", []string{"Origin: https://evilchat.example.net"}, []int{403}},
		{"origin that begins like an allowed one", []string{"Origin: https://chat.example.net.evil.example"}, []int{403}},
		{"own origin with another port", []string{"Origin: http://127.0.0.1:1"}, []int{403}},
		{"own origin with a longer port", []string{"Origin: http://" + e.address + "1"}, []int{403}},
		{"own origin with a user", []string{"Origin: http://" + e.address + "@evil.example"}, []int{403}},
		{"origin null", []string{"Origin: null"}, []int{403}},
		{"origin that is none", []string{"Origin: %%%"}, []int{403}},
		{"two origins", []string{"Origin: http://" + e.address + "\r\nOrigin: https://evil.example.net"}, []int{400, 403}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := e.dialRaw(t)
			r := p.handshake(e.request(c.fields...))
			if !slices.Contains(c.want, r.StatusCode) {
				t.Fatalf("got %s, want %d", r.Status, c.want)
			}
			p.checkResponse(r)
		})
	}
}

// checkResponse holds a response to what a browser asks of it, and a refusal to
// what tells the reason.
func (p *rawPeer) checkResponse(r *http.Response) {
	p.t.Helper()
	get := r.Header.Get
	if r.StatusCode == http.StatusSwitchingProtocols {
		if get("Sec-WebSocket-Accept") != rawAccept || get("Sec-WebSocket-Protocol") != "xmpp" ||
			!strings.EqualFold(get("Upgrade"), "websocket") || !strings.EqualFold(get("Connection"), "upgrade") ||
			len(r.Header.Values("Sec-WebSocket-Extensions")) > 0 {
			p.t.Errorf("response %v", r.Header)
		}
		p.signIn("alice")
		p.alive()
		return
	}
	if r.StatusCode == http.StatusUpgradeRequired && (get("Sec-WebSocket-Version") != "13" || !strings.EqualFold(get("Upgrade"), "websocket")) {
		p.t.Errorf("426 without the version and the upgrade: %v (RFC 6455 section 4.4, RFC 9110 section 15.5.22)", r.Header)
	}
}

// TestConformanceRequestLine refuses other methods and old HTTP (RFC 6455 section
// 4.1).
func TestConformanceRequestLine(t *testing.T) {
	e := listen(t, nil)
	for _, c := range []struct {
		line string
		want []int
	}{
		{"POST " + rawPath + " HTTP/1.1", []int{405}},
		{"HEAD " + rawPath + " HTTP/1.1", []int{400, 405, 426}},
		{"OPTIONS " + rawPath + " HTTP/1.1", []int{200, 204, 400, 405, 426}},
		{"GET " + rawPath + " HTTP/1.0", []int{400, 426, 505}},
		{"GET /elsewhere HTTP/1.1", []int{404}},
	} {
		t.Run(c.line, func(t *testing.T) {
			p := e.dialRaw(t)
			_, fields, _ := strings.Cut(e.request(), "\r\n")
			if r := p.handshake(c.line + "\r\n" + fields); !slices.Contains(c.want, r.StatusCode) {
				t.Errorf("got %s, want %d", r.Status, c.want)
			}
		})
	}
}

// TestConformanceEarlyFrames takes frames that come in the segment of the
// handshake.
func TestConformanceEarlyFrames(t *testing.T) {
	e := listen(t, nil)
	p := e.dialRaw(t)
	early := e.request() + string(rawFrame{op: opPing, payload: "early"}.bytes()) + string(textFrame(rawOpen).bytes())
	if r := p.handshake(early); r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(r.Status)
	}
	p.expectPong("early")
	p.expectText("<open ")
	p.expectText("<stream:features ")
}
