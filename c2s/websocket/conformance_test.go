package websocket_test

import (
	"strings"
	"testing"
)

// rawCase is one case of the list after the sections of the Autobahn test suite.
// The suite's echo is a request whose answer tells its id, or a message to
// oneself.
type rawCase struct {
	number string
	name   string
	// run acts and expects, on a session that is logged in. how is how its
	// frames are written.
	run func(p *rawPeer, how chop)
}

// runCases runs each case with its frames in one write, in one write each, and
// byte by byte; and once more each over other ways to the server.
func runCases(t *testing.T, cases []rawCase) {
	t.Helper()
	for _, run := range []struct {
		way way
		how chop
	}{
		{usual, 0}, {usual, -1}, {usual, 1},
		{way{name: "front with TLS", front: true, tls: true}, -1},
		{way{name: "front with TLS", front: true, tls: true}, 0},
		{way{name: "front, portable", front: true, portable: true}, 0},
		{way{name: "net-http"}, 0},
		{way{name: "net-http with TLS", tls: true}, -1},
	} {
		how := map[chop]string{0: "at once", -1: "frame by frame", 1: "byte by byte"}[run.how]
		t.Run(run.way.name+", "+how, func(t *testing.T) {
			e := run.way.listen(t, nil)
			for _, c := range cases {
				t.Run(c.number+" "+c.name, func(t *testing.T) { c.run(e.login(t), run.how) })
			}
		})
	}
}

// answered is a case of frames that a request is among, answered as if alone.
func answered(frames func(request string) []rawFrame) func(*rawPeer, chop) {
	return func(p *rawPeer, how chop) {
		p.t.Helper()
		request, id := p.ping(100)
		p.send(how, frames(request)...)
		p.expectAnswer(id)
		p.alive()
	}
}

// fails is a case of frames that end the connection with this code.
func fails(code int, frames ...rawFrame) func(*rawPeer, chop) {
	return func(p *rawPeer, how chop) {
		p.t.Helper()
		p.send(how, frames...)
		p.expectFailure(code)
	}
}

// sized is a message of so many bytes.
func sized(size, width int) func(*rawPeer, chop) {
	return func(p *rawPeer, how chop) {
		p.t.Helper()
		request, id := p.ping(size)
		if len(request) != size {
			p.t.Fatalf("the request has %d bytes", len(request))
		}
		if how == 1 && size > 1000 {
			how = 997 // one byte each is slow and shows nothing more
		}
		p.send(how, rawFrame{op: opText, payload: request, width: width})
		p.expectAnswer(id)
		p.alive()
	}
}

// TestConformanceFraming is section 1: the lengths of frames (RFC 6455 section 5.2).
func TestConformanceFraming(t *testing.T) {
	request := "<iq xmlns='jabber:client' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"
	runCases(t, []rawCase{
		{"1.1", "shortest request", func(p *rawPeer, how chop) {
			request, id := p.ping(0)
			p.send(how, textFrame(request))
			p.expectAnswer(id)
		}},
		{"1.2", "124 bytes", sized(124, 0)},
		{"1.3", "125 bytes", sized(125, 0)},
		{"1.4", "126 bytes", sized(126, 0)},
		{"1.5", "127 bytes", sized(127, 0)},
		{"1.6", "128 bytes", sized(128, 0)},
		{"1.7", "65535 bytes", sized(65535, 0)},
		{"1.8", "65536 bytes", sized(65536, 0)},
		{"1.9", "65537 bytes", sized(65537, 0)},
		{"1.10", "two requests", func(p *rawPeer, how chop) {
			first, id1 := p.ping(0)
			second, id2 := p.ping(200)
			p.send(how, textFrame(first), textFrame(second))
			p.expectAnswer(id1)
			p.expectAnswer(id2)
		}},
		{"1.11", "length 78 in two bytes", fails(1002, rawFrame{op: opText, payload: request, width: 2})},
		{"1.12", "length 78 in eight bytes", fails(1002, rawFrame{op: opText, payload: request, width: 8})},
		{"1.13", "length 300 in eight bytes", fails(1002, rawFrame{op: opText, payload: strings.Repeat("x", 300), width: 8})},
		{"1.14", "length with the highest bit", fails(1002, rawFrame{op: opText, width: 8, claim: 1<<63 + 5})},
		{"1.15", "not masked", fails(1002, rawFrame{op: opText, payload: request, unmasked: true})},
		{"1.16", "ping not masked", fails(1002, rawFrame{op: opPing, payload: "x", unmasked: true})},
		{"1.17", "close not masked", fails(1002, rawFrame{op: opClose, unmasked: true})},
		{"1.18", "binary message", fails(1003, rawFrame{op: opBinary, payload: request})},
		{"1.19", "empty binary message", fails(1003, rawFrame{op: opBinary})},
	})
}

// TestConformancePings is section 2 (RFC 6455 sections 5.5.2 and 5.5.3).
func TestConformancePings(t *testing.T) {
	ping := func(payload string) rawFrame { return rawFrame{op: opPing, payload: payload} }
	ponged := func(payloads ...string) func(*rawPeer, chop) {
		return func(p *rawPeer, how chop) {
			p.t.Helper()
			var frames []rawFrame
			for _, payload := range payloads {
				frames = append(frames, ping(payload))
			}
			p.send(how, frames...)
			for _, payload := range payloads {
				p.expectPong(payload)
			}
			p.alive()
		}
	}
	silent := func(frames ...rawFrame) func(*rawPeer, chop) {
		return func(p *rawPeer, how chop) {
			p.t.Helper()
			p.send(how, frames...)
			p.alive()
		}
	}
	runCases(t, []rawCase{
		{"2.1", "without payload", ponged("")},
		{"2.2", "with payload", ponged("Hello, world!")},
		{"2.3", "with bytes that are no UTF-8", ponged("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")},
		{"2.4", "125 bytes", ponged(strings.Repeat("\xfe", 125))},
		{"2.5", "126 bytes", fails(1002, ping(strings.Repeat("x", 126)))},
		{"2.6", "in two frames", fails(1002, rawFrame{op: opPing, payload: "a", more: true}, rawFrame{op: opContinuation, payload: "b"})},
		{"2.7", "unsolicited pong", silent(rawFrame{op: opPong})},
		{"2.8", "unsolicited pong with payload", silent(rawFrame{op: opPong, payload: "unsolicited"})},
		{"2.9", "unsolicited pong, then ping", func(p *rawPeer, how chop) {
			p.send(how, rawFrame{op: opPong, payload: "unsolicited"}, ping("ping"))
			p.expectPong("ping")
			p.alive()
		}},
		{"2.10", "ten pings", ponged("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")},
		{"2.11", "long pong", fails(1002, rawFrame{op: opPong, payload: strings.Repeat("x", 126)})},
		{"2.12", "pong in two frames", fails(1002, rawFrame{op: opPong, payload: "a", more: true})},
		{"2.13", "short ping with a long length", fails(1002, rawFrame{op: opPing, payload: "x", width: 2})},
	})
}

// TestConformanceReserved is sections 3 and 4: reserved bits without an extension
// and reserved opcodes fail the connection (RFC 6455 section 5.2).
func TestConformanceReserved(t *testing.T) {
	request := "<iq xmlns='jabber:client' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"
	afterRequest := func(bad rawFrame) func(*rawPeer, chop) {
		return func(p *rawPeer, how chop) {
			p.t.Helper()
			request, id := p.ping(0)
			p.send(how, textFrame(request), bad, rawFrame{op: opPing})
			p.expectAnswer(id)
			p.expectFailure(1002)
		}
	}
	cases := []rawCase{}
	for bits := byte(1); bits < 8; bits++ {
		number := "3." + string('0'+bits)
		cases = append(cases,
			rawCase{number + ".1", "RSV on text", fails(1002, rawFrame{op: opText, payload: request, reserved: bits})},
			rawCase{number + ".2", "RSV after a request", afterRequest(rawFrame{op: opText, payload: request, reserved: bits})},
			rawCase{number + ".3", "RSV on ping", fails(1002, rawFrame{op: opPing, reserved: bits})},
			rawCase{number + ".4", "RSV on close", fails(1002, rawFrame{op: opClose, reserved: bits})},
			rawCase{number + ".5", "RSV on a continuation", fails(1002,
				rawFrame{op: opText, payload: "<iq", more: true}, rawFrame{op: opContinuation, payload: "/>", reserved: bits})},
		)
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		number := "4." + string("0123456789abcdef"[op])
		cases = append(cases,
			rawCase{number + ".1", "opcode without payload", fails(1002, rawFrame{op: op})},
			rawCase{number + ".2", "opcode with payload", fails(1002, rawFrame{op: op, payload: "reserved"})},
			rawCase{number + ".3", "opcode after a request", afterRequest(rawFrame{op: op})},
			rawCase{number + ".4", "opcode inside a message", fails(1002, rawFrame{op: opText, payload: "<iq", more: true}, rawFrame{op: op})},
		)
	}
	runCases(t, cases)
}

// TestConformanceFragmentation is section 5 (RFC 6455 section 5.4).
func TestConformanceFragmentation(t *testing.T) {
	ping := rawFrame{op: opPing, payload: "between"}
	withPing := func(frames func(request string) []rawFrame, pongs int) func(*rawPeer, chop) {
		return func(p *rawPeer, how chop) {
			p.t.Helper()
			request, id := p.ping(100)
			p.send(how, frames(request)...)
			for range pongs {
				p.expectPong("between")
			}
			p.expectAnswer(id)
			p.alive()
		}
	}
	runCases(t, []rawCase{
		{"5.1", "two fragments", answered(func(r string) []rawFrame { return fragments(r[:50], r[50:]) })},
		{"5.2", "first fragment empty", answered(func(r string) []rawFrame { return fragments("", r) })},
		{"5.3", "last fragment empty", answered(func(r string) []rawFrame { return fragments(r, "") })},
		{"5.4", "empty fragments all over", answered(func(r string) []rawFrame { return fragments("", "", r[:9], "", r[9:], "", "") })},
		{"5.5", "one byte each", answered(func(r string) []rawFrame { return fragments(strings.Split(r, "")...) })},
		{"5.6", "ping between fragments", withPing(func(r string) []rawFrame {
			f := fragments(r[:50], r[50:])
			return []rawFrame{f[0], ping, f[1]}
		}, 1)},
		{"5.7", "a ping after each fragment", withPing(func(r string) []rawFrame {
			var all []rawFrame
			for _, f := range fragments(r[:10], r[10:20], r[20:30], r[30:]) {
				all = append(all, ping, f)
			}
			return all
		}, 4)},
		{"5.8", "pong between fragments", answered(func(r string) []rawFrame {
			f := fragments(r[:50], r[50:])
			return []rawFrame{f[0], {op: opPong, payload: "x"}, f[1]}
		})},
		{"5.9", "two messages of two fragments", func(p *rawPeer, how chop) {
			first, id1 := p.ping(80)
			second, id2 := p.ping(90)
			p.send(how, append(fragments(first[:40], first[40:]), fragments(second[:40], second[40:])...)...)
			p.expectAnswer(id1)
			p.expectAnswer(id2)
			p.alive()
		}},
		{"5.10", "continuation of nothing, the last", fails(1002, rawFrame{op: opContinuation, payload: "x"})},
		{"5.11", "continuation of nothing, not the last", fails(1002, rawFrame{op: opContinuation, payload: "x", more: true})},
		{"5.12", "continuation after a whole message", func(p *rawPeer, how chop) {
			request, id := p.ping(0)
			p.send(how, textFrame(request), rawFrame{op: opContinuation, payload: "x"})
			p.expectAnswer(id)
			p.expectFailure(1002)
		}},
		{"5.13", "continuation after a message of fragments", func(p *rawPeer, how chop) {
			request, id := p.ping(0)
			p.send(how, append(fragments(request[:20], request[20:]), rawFrame{op: opContinuation, payload: "x", more: true})...)
			p.expectAnswer(id)
			p.expectFailure(1002)
		}},
		{"5.14", "text inside a message", fails(1002, rawFrame{op: opText, payload: "<iq ", more: true}, textFrame("<iq/>"))},
		{"5.15", "first fragment inside a message", fails(1002,
			rawFrame{op: opText, payload: "<iq ", more: true}, rawFrame{op: opText, payload: "<iq ", more: true})},
		{"5.16", "binary inside a message", fails(1002, rawFrame{op: opText, payload: "<iq ", more: true}, rawFrame{op: opBinary, payload: "x"})},
		{"5.17", "empty fragments, then another message", fails(1002, rawFrame{op: opText, more: true}, textFrame("<iq/>"))},
		{"5.18", "binary in fragments", fails(1003,
			rawFrame{op: opBinary, payload: "<iq ", more: true}, rawFrame{op: opContinuation, payload: "/>"})},
	})
}
