package websocket_test

import (
	"fmt"
	"strings"
	"testing"
)

// chat is a message from the peer to itself, around a body.
func (p *rawPeer) chat(body string) (before, after string) {
	p.next++
	return fmt.Sprintf("<message xmlns='jabber:client' to='%s' id='m%d'><body>", p.full, p.next), "</body></message>"
}

// expectChat reads the message with this body.
func (p *rawPeer) expectChat(body string) {
	p.t.Helper()
	if got := p.expectText("<message "); !strings.Contains(got, "<body>"+body+"</body>") {
		p.t.Fatalf("got %q, want the body %q", got, body)
	}
}

// TestConformanceText is section 6: text is UTF-8 (RFC 6455 sections 5.6 and
// 8.1), however it is cut.
func TestConformanceText(t *testing.T) {
	valid := []struct{ number, name, body string }{
		{"6.1", "several scripts", "κόσμε Hello-µ@ßöäüàá-UTF-8!! 日本"},
		{"6.2", "first of two bytes", "\u0080"},
		{"6.3", "last of two bytes", "\u07ff"},
		{"6.4", "first of three bytes", "\u0800"},
		{"6.5", "before the surrogates", "\ud7ff"},
		{"6.6", "after the surrogates", "\ue000"},
		{"6.7", "last of three bytes in XML", "\ufffd"},
		{"6.8", "first of four bytes", "\U00010000"},
		{"6.9", "no character, of four bytes", "\U0001ffff"},
		{"6.10", "last of all", "\U0010ffff"},
		{"6.11", "byte order mark in the middle", "a\ufeffb"},
	}
	e := listen(t, nil)
	for _, c := range valid {
		for _, how := range []chop{0, 1} {
			t.Run(fmt.Sprintf("%s %s/%d", c.number, c.name, how), func(t *testing.T) {
				p := e.login(t)
				before, after := p.chat(c.body)
				p.send(how, textFrame(before+c.body+after))
				p.expectChat(c.body)
				for i := range len(c.body) + 1 { // two fragments, cut everywhere
					p.send(how, fragments(before+c.body[:i], c.body[i:]+after)...)
					p.expectChat(c.body)
				}
				p.send(how, fragments(append(append([]string{before}, bytewise(c.body)...), after)...)...)
				p.expectChat(c.body)
				p.alive()
			})
		}
	}
	runCases(t, invalidText())
}

func bytewise(s string) []string {
	var pieces []string
	for i := range len(s) {
		pieces = append(pieces, s[i:i+1])
	}
	return pieces
}

// invalidText is what no text message may hold.
func invalidText() []rawCase {
	invalid := []struct{ number, name, body string }{
		{"6.20", "continuation byte alone", "\x80"},
		{"6.21", "continuation bytes", "\xbf\x80\xbf\x80"},
		{"6.22", "every lone lead of two bytes", "\xc2 \xdf "},
		{"6.23", "lead of three bytes, then a space", "\xe1 "},
		{"6.24", "lead of four bytes, then a space", "\xf1 "},
		{"6.25", "two of three bytes", "\xe1\x80"},
		{"6.26", "three of four bytes", "\xf1\x80\x80"},
		{"6.27", "overlong slash of two bytes", "\xc0\xaf"},
		{"6.28", "overlong slash of three bytes", "\xe0\x80\xaf"},
		{"6.29", "overlong slash of four bytes", "\xf0\x80\x80\xaf"},
		{"6.30", "largest overlong of two bytes", "\xc1\xbf"},
		{"6.31", "largest overlong of three bytes", "\xe0\x9f\xbf"},
		{"6.32", "largest overlong of four bytes", "\xf0\x8f\xbf\xbf"},
		{"6.33", "overlong zero", "\xc0\x80"},
		{"6.34", "first high surrogate", "\xed\xa0\x80"},
		{"6.35", "last low surrogate", "\xed\xbf\xbf"},
		{"6.36", "pair of surrogates", "\xed\xa0\x80\xed\xb0\x80"},
		{"6.37", "above U+10FFFF", "\xf4\x90\x80\x80"},
		{"6.38", "lead F5", "\xf5\x80\x80\x80"},
		{"6.39", "five bytes", "\xf8\x88\x80\x80\x80"},
		{"6.40", "six bytes", "\xfc\x84\x80\x80\x80\x80"},
		{"6.41", "FE", "\xfe"},
		{"6.42", "FF", "\xff"},
		{"6.43", "valid, then invalid", "κόσμε\xed\xa0\x80edited"},
	}
	var cases []rawCase
	for _, c := range invalid {
		cases = append(cases,
			rawCase{c.number + ".1", c.name, func(p *rawPeer, how chop) {
				before, after := p.chat(c.body)
				p.send(how, textFrame(before+c.body+after))
				p.expectFailure(1007)
			}},
			rawCase{c.number + ".2", c.name + " in fragments", func(p *rawPeer, how chop) {
				before, after := p.chat(c.body)
				p.send(how, fragments(append(append([]string{before}, bytewise(c.body)...), after)...)...)
				p.expectFailure(1007)
			}},
			rawCase{c.number + ".3", c.name + " as an attribute", func(p *rawPeer, how chop) {
				p.send(how, textFrame("<iq xmlns='jabber:client' type='get' id='"+c.body+"'/>"))
				p.expectFailure(1007)
			}},
			rawCase{c.number + ".4", c.name + " as the whole message", fails(1007, textFrame(c.body))},
		)
	}
	return append(cases,
		rawCase{"6.50", "a message that ends within a character", fails(1007, textFrame("<message><body>\xe2\x82"))},
		rawCase{"6.51", "a last fragment that ends within a character", fails(1007, fragments("<message><body>\xe2", "\x82")...)},
		rawCase{"6.52", "a character across a ping", func(p *rawPeer, how chop) {
			before, after := p.chat("€")
			f := fragments(before+"\xe2\x82", "\xac"+after)
			p.send(how, f[0], rawFrame{op: opPing, payload: "\xff"}, f[1])
			p.expectPong("\xff")
			p.expectChat("€")
			p.alive()
		}},
		// U+FFFE is UTF-8, but not XML (XML 1.0 section 2.2).
		rawCase{"6.53", "UTF-8 that is not XML", func(p *rawPeer, how chop) {
			before, after := p.chat("")
			p.send(how, textFrame(before+"\xef\xbf\xbe"+after))
			p.expectStreamError("not-well-formed")
		}},
		rawCase{"6.54", "zero byte", func(p *rawPeer, how chop) {
			before, after := p.chat("")
			p.send(how, textFrame(before+"\x00"+after))
			p.expectStreamError("not-well-formed")
		}},
	)
}
