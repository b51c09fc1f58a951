package websocket_test

import (
	"strings"
	"testing"

	"rollcall/conf"
)

// refused reads to the end of who sent too much: 1009, or the stream error that
// says so with any code for an orderly end.
func (p *rawPeer) refused() {
	p.t.Helper()
	end := p.last()
	told := end.condition == "policy-violation" && end.closed && (end.code == 1000 || end.code == 1008)
	if end.code != 1009 && !told || len(end.texts) > 0 {
		p.t.Errorf("ended with %+v, want 1009 or policy-violation", end)
	}
}

// TestConformanceLimits is section 9: sizes.
func TestConformanceLimits(t *testing.T) {
	limits := conf.Default().Limits
	stanza := int(limits.StanzaBytes)
	e := listen(t, nil)
	run := func(name string, f func(p *rawPeer)) {
		t.Run(name, func(t *testing.T) { f(e.login(t)) })
	}
	for _, how := range []chop{0, 4099} {
		run("9.1 as long as allowed", func(p *rawPeer) { sized(stanza, 0)(p, how) })
		run("9.2 one byte longer", func(p *rawPeer) {
			request, _ := p.ping(stanza + 1)
			p.send(how, textFrame(request))
			p.refused()
		})
		run("9.3 twice as long in fragments", func(p *rawPeer) {
			request, _ := p.ping(2 * stanza)
			var pieces []string
			for len(request) > 0 {
				n := min(1000, len(request))
				pieces = append(pieces, request[:n])
				request = request[n:]
			}
			p.send(how, fragments(pieces...)...)
			p.refused()
		})
	}
	run("9.4 as long as allowed, one byte a fragment", func(p *rawPeer) {
		request, id := p.ping(20_000)
		p.send(0, fragments(strings.Split(request, "")...)...)
		p.expectAnswer(id)
		p.alive()
	})
}

// TestConformanceClaims is section 9 for lengths that are only claimed, and for
// many small things.
func TestConformanceClaims(t *testing.T) {
	e := listen(t, nil)
	run := func(name string, f func(p *rawPeer)) {
		t.Run(name, func(t *testing.T) { f(e.login(t)) })
	}
	// Nothing of it has to come: the length says enough.
	run("9.5 a length of gigabytes", func(p *rawPeer) {
		p.send(0, rawFrame{op: opText, payload: "<iq", claim: 1 << 40})
		p.refused()
	})
	run("9.6 a length of 63 bits", func(p *rawPeer) {
		p.send(0, rawFrame{op: opText, payload: "<iq", claim: 1<<63 - 1})
		p.refused()
	})
	run("9.7 a length of gigabytes in a fragment", func(p *rawPeer) {
		p.send(0, rawFrame{op: opText, payload: "<iq", more: true}, rawFrame{op: opContinuation, payload: "x", claim: 1<<63 - 1})
		p.refused()
	})
	run("9.8 a thousand pings inside a message", func(p *rawPeer) {
		request, id := p.ping(0)
		f := fragments(request[:20], request[20:])
		frames := []rawFrame{f[0]}
		for range 1000 {
			frames = append(frames, rawFrame{op: opPing, payload: "flood"})
		}
		p.send(0, append(frames, f[1])...)
		for range 1000 {
			p.expectPong("flood")
		}
		p.expectAnswer(id)
		p.alive()
	})
	run("9.9 a thousand requests in one write", func(p *rawPeer) {
		var frames []rawFrame
		var ids []string
		for range 1000 {
			request, id := p.ping(0)
			frames, ids = append(frames, textFrame(request)), append(ids, id)
		}
		p.send(0, frames...)
		for _, id := range ids {
			p.expectAnswer(id)
		}
		p.alive()
	})
}

// TestConformanceLimitsBeforeLogin bounds what strangers may send.
func TestConformanceLimitsBeforeLogin(t *testing.T) {
	login := int(conf.Default().Limits.LoginBytes)
	e := listen(t, nil)
	long := "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + strings.Repeat("A", login) + "</auth>"
	for _, c := range []struct {
		name   string
		frames []rawFrame
	}{
		{"one message", []rawFrame{textFrame(long)}},
		{"a length", []rawFrame{{op: opText, payload: "<auth", claim: uint64(len(long))}}},
		{"fragments", fragments(long[:login/2], long[login/2:login], long[login:])},
		{"fragments without an end", endless(long[:100], login)},
	} {
		t.Run(c.name+" before the stream", func(t *testing.T) {
			p := e.upgrade(t)
			p.send(0, c.frames...)
			p.expectText("<open ") // the error is told after a header (RFC 6120 section 4.9.1.2)
			p.refused()
		})
		t.Run(c.name+" before authentication", func(t *testing.T) {
			p := e.upgrade(t)
			p.say(rawOpen)
			p.expectText("<open ")
			p.expectText("<stream:features ")
			p.send(0, c.frames...)
			p.refused()
		})
	}
}

// endless is a message that goes on past so many bytes.
func endless(start string, size int) []rawFrame {
	pieces := []string{start}
	for range size / 100 {
		pieces = append(pieces, strings.Repeat("A", 100))
	}
	return fragments(append(pieces, "the last is left out")...)[:len(pieces)]
}
