package websocket_test

import (
	"fmt"
	"strings"
	"testing"
)

// expectHandshake reads to the end: the answer to our close frame and nothing
// else.
func (p *rawPeer) expectHandshake(codes ...int) {
	p.t.Helper()
	end := p.last()
	for _, code := range codes {
		if end.code == code && end.condition == "" && !end.closed && len(end.texts) == 0 {
			return
		}
	}
	p.t.Errorf("ended with %+v, want the code %d", end, codes)
}

// echoes is a close frame that is answered with the same code.
func echoes(code uint16, reason string) func(*rawPeer, chop) {
	return func(p *rawPeer, how chop) {
		p.t.Helper()
		p.send(how, closeFrame(code, reason))
		p.expectHandshake(int(code))
	}
}

// TestConformanceClose is section 7 (RFC 6455 sections 5.5.1 and 7).
func TestConformanceClose(t *testing.T) {
	normal := closeFrame(1000, "")
	runCases(t, []rawCase{
		{"7.1.1", "after a request", func(p *rawPeer, how chop) {
			request, id := p.ping(0)
			p.send(how, textFrame(request), normal)
			p.expectAnswer(id)
			p.expectHandshake(1000)
		}},
		{"7.1.2", "twice", func(p *rawPeer, how chop) {
			p.send(how, normal, normal)
			p.expectHandshake(1000)
		}},
		{"7.1.3", "then a ping", func(p *rawPeer, how chop) {
			p.send(how, normal, rawFrame{op: opPing, payload: "late"})
			p.expectHandshake(1000)
		}},
		{"7.1.4", "then a request", func(p *rawPeer, how chop) {
			request, _ := p.ping(0)
			p.send(how, normal, textFrame(request))
			p.expectHandshake(1000)
		}},
		{"7.1.5", "then what is no frame", func(p *rawPeer, how chop) {
			p.send(how, normal, rawFrame{op: 7, payload: strings.Repeat("x", 1000), unmasked: true, reserved: 7})
			p.expectHandshake(1000)
		}},
		{"7.1.6", "inside a message", func(p *rawPeer, how chop) {
			p.send(how, rawFrame{op: opText, payload: "<iq xmlns='jabber", more: true}, normal)
			p.expectHandshake(1000)
		}},
		{"7.1.7", "after a long message", func(p *rawPeer, how chop) {
			request, id := p.ping(200_000)
			if how == 1 {
				how = 4099
			}
			p.send(how, textFrame(request), normal)
			p.expectAnswer(id)
			p.expectHandshake(1000)
		}},
		{"7.3.1", "empty", func(p *rawPeer, how chop) {
			p.send(how, rawFrame{op: opClose})
			p.expectHandshake(1005, 1000)
		}},
		{"7.3.2", "one byte", fails(1002, rawFrame{op: opClose, payload: "\x03"})},
		{"7.3.3", "code alone", echoes(1000, "")},
		{"7.3.4", "reason", echoes(1000, "the user went home")},
		{"7.3.5", "longest reason", echoes(1000, strings.Repeat("*", 123))},
		{"7.3.6", "reason too long", fails(1002, closeFrame(1000, strings.Repeat("*", 124)))},
		{"7.3.7", "in two frames", fails(1002, rawFrame{op: opClose, payload: "\x03\xe8", more: true})},
		{"7.5.1", "reason that is no UTF-8", func(p *rawPeer, how chop) {
			p.send(how, closeFrame(1000, "caf\xe9"))
			p.expectFailure(1007, 1002)
		}},
		{"7.5.2", "reason that ends within a character", func(p *rawPeer, how chop) {
			p.send(how, closeFrame(1000, "\xe2\x82"))
			p.expectFailure(1007, 1002)
		}},
	})
}

// TestConformanceCloseCodes is section 7 for the codes (RFC 6455 section 7.4).
func TestConformanceCloseCodes(t *testing.T) {
	var cases []rawCase
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		cases = append(cases, rawCase{fmt.Sprintf("7.7.%d", code), "code for use", echoes(code, "")})
	}
	for _, code := range []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		cases = append(cases, rawCase{fmt.Sprintf("7.9.%d", code), "code not for use", fails(1002, closeFrame(code, ""))})
	}
	runCases(t, cases)
}

// TestCloseBeforeLogin answers a closing handshake at every stage before a session
// is bound.
func TestCloseBeforeLogin(t *testing.T) {
	e := listen(t, nil)
	for _, stage := range []struct {
		name  string
		reach func(p *rawPeer)
	}{
		{"no stream", func(*rawPeer) {}},
		{"stream", func(p *rawPeer) {
			p.say(rawOpen)
			p.expectText("<open ")
			p.expectText("<stream:features ")
		}},
	} {
		t.Run(stage.name, func(t *testing.T) {
			p := e.upgrade(t)
			stage.reach(p)
			p.send(0, closeFrame(1001, ""))
			p.expectHandshake(1001)
		})
	}
}
