package websocket_test

import (
	"bytes"
	"compress/flate"
	"io"
	"slices"
	"strings"
	"testing"

	"rollcall/c2s/websocket"
	"rollcall/conf"
)

// deflated is a text message as RFC 7692 section 7.2.1 has it.
func deflated(t testing.TB, text string) rawFrame {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	payload := strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
	return rawFrame{op: opText, payload: payload, reserved: 4}
}

// TestConformanceDeflateHandshake offers permessage-deflate (RFC 7692 section 7.1).
func TestConformanceDeflateHandshake(t *testing.T) {
	e := listen(t, func(c *websocket.Config) { c.Compression = true })
	for _, c := range []struct {
		offer  string
		agreed bool
	}{
		{"permessage-deflate", true},
		{"permessage-deflate; client_max_window_bits", true},
		{"permessage-deflate; server_no_context_takeover; client_no_context_takeover", true},
		{"x-webkit-deflate-frame, permessage-deflate", true},
		{"permessage-deflate; unknown=1, permessage-deflate", true},
		{"permessage-deflate; unknown=1", false},
		{"permessage-deflate; server_max_window_bits=99", false},
		{"x-webkit-deflate-frame", false},
		{"", false},
	} {
		t.Run(c.offer, func(t *testing.T) {
			p := e.dialRaw(t)
			r := p.handshake(e.request("Sec-WebSocket-Extensions:" + c.offer))
			answer := strings.Join(r.Header.Values("Sec-WebSocket-Extensions"), "|")
			if agreed := strings.HasPrefix(answer, "permessage-deflate"); r.StatusCode != 101 || agreed != c.agreed || !agreed && answer != "" {
				t.Errorf("%s, extensions %q", r.Status, answer)
			}
		})
	}
}

// TestConformanceDeflate is sections 12 and 13: compressed messages, and what is
// none (RFC 7692 section 6).
func TestConformanceDeflate(t *testing.T) {
	e := listen(t, func(c *websocket.Config) { c.Compression = true })
	request := "<iq xmlns='jabber:client' type='get' id='deflated'><ping xmlns='urn:xmpp:ping'/></iq>"
	whole := deflated(t, request)
	cut := func(f rawFrame, at int) (a, b rawFrame) {
		return rawFrame{op: f.op, payload: f.payload[:at], reserved: f.reserved, more: true}, rawFrame{payload: f.payload[at:]}
	}
	first, second := cut(whole, 30)
	marked := second
	marked.reserved = 4
	bomb := deflated(t, "<iq xmlns='jabber:client' id='"+strings.Repeat("x", 4*int(conf.Default().Limits.StanzaBytes))+"'/>")
	for _, c := range []struct {
		name   string
		frames []rawFrame
		code   []int // nil for an answer
	}{
		{"one frame", []rawFrame{whole}, nil},
		{"not compressed", []rawFrame{textFrame(request)}, nil},
		{"two frames", []rawFrame{first, second}, nil},
		{"two frames around a ping", []rawFrame{first, {op: opPong}, second}, nil},
		{"fragments not compressed", fragments(request[:20], request[20:]), nil},
		{"RSV1 on a continuation", []rawFrame{first, marked}, []int{1002}},
		{"RSV1 on a ping", []rawFrame{{op: opPing, reserved: 4}}, []int{1002}},
		{"RSV1 on a close", []rawFrame{{op: opClose, reserved: 4}}, []int{1002}},
		{"RSV2", []rawFrame{{op: opText, payload: whole.payload, reserved: 2}}, []int{1002}},
		{"RSV1 and RSV3", []rawFrame{{op: opText, payload: whole.payload, reserved: 5}}, []int{1002}},
		{"no deflate", []rawFrame{{op: opText, payload: "\xff\xff\xff\xff", reserved: 4}}, []int{1002, 1007}},
		{"half of it", []rawFrame{{op: opText, payload: whole.payload[:len(whole.payload)/2], reserved: 4}}, []int{1002, 1007}},
		{"compressed bytes that are no UTF-8", []rawFrame{deflated(t, "<message>\xff</message>")}, []int{1007}},
		{"bomb", []rawFrame{bomb}, []int{1009}},
	} {
		for _, how := range []chop{0, 1} {
			t.Run(c.name, func(t *testing.T) {
				p := e.upgrade(t, "Sec-WebSocket-Extensions: permessage-deflate")
				p.signIn("alice")
				p.send(how, c.frames...)
				if c.code == nil {
					p.expectAnswer("deflated")
					p.alive()
					return
				}
				if end := p.last(); !slices.Contains(c.code, end.code) || len(end.texts) > 0 {
					t.Errorf("ended with %+v, want %d", end, c.code)
				}
			})
		}
	}
}
