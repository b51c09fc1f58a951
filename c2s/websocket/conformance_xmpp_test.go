package websocket_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"rollcall/c2s/websocket"
)

// TestFramingBytes holds <open/> and <close/> to the bytes that strophe.js looks
// for, and all else to namespaces of its own (RFC 7395 sections 3.3 and 3.4).
func TestFramingBytes(t *testing.T) {
	e := listen(t, nil)
	p := e.upgrade(t)
	header := regexp.MustCompile(`^<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" id="[A-Z0-9]{26}" from="example\.com" version="1\.0" xml:lang="en"/>$`)
	features := regexp.MustCompile(`^<stream:features xmlns:stream=['"]http://etherx\.jabber\.org/streams['"]>`)
	p.say(rawOpen)
	if got := p.expectText("<open "); !header.MatchString(got) {
		t.Errorf("got %s", got)
	}
	if got := p.expectText("<stream:features "); !features.MatchString(got) {
		t.Errorf("got %s", got)
	}
	p.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>")
	if got := p.expectText("<success "); got != "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" {
		t.Errorf("got %s", got)
	}
	p.say(rawOpen)
	if got := p.expectText("<open "); !header.MatchString(got) {
		t.Errorf("after authentication: %s", got)
	}
	p.expectText("<stream:features ")
	p.say("<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	if got := p.expectText("<iq "); !strings.Contains(got, " xmlns='jabber:client'") {
		t.Errorf("got %s", got)
	}
	p.say("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
	if got := p.expectText("<close "); got != exactClose {
		t.Errorf("got %s", got)
	}
	if end := p.last(); end.code != 1000 || end.condition != "" || end.closed {
		t.Errorf("ended with %+v", end)
	}
}

const framingNS = "xmlns='urn:ietf:params:xml:ns:xmpp-framing'"

// TestFramingRefuses is what a message of RFC 7395 may not be, on a session that
// is logged in.
func TestFramingRefuses(t *testing.T) {
	e := listen(t, nil)
	const iq = "<iq xmlns='jabber:client' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"
	for _, c := range []struct{ name, message, condition string }{
		{"nothing", "", "not-well-formed"},
		{"white space", " ", "not-well-formed"},
		{"line feeds", "\n\n", "not-well-formed"},
		{"white space before", " " + iq, "not-well-formed"},
		{"text", "hello", "not-well-formed"},
		{"text before", "hello" + iq, "not-well-formed"},
		{"text after", iq + "hello", "not-well-formed"},
		{"two elements", iq + iq, "not-well-formed"},
		{"an element and a half", iq + "<iq", "not-well-formed"},
		{"half an element", iq[:30], "not-well-formed"},
		{"an element without its end", "<message xmlns='jabber:client'>", "not-well-formed"},
		{"an end alone", "</iq>", "not-well-formed"},
		{"other end", "<iq xmlns='jabber:client'></message>", "not-well-formed"},
		{"comment", "<!-- comment -->" + iq, "restricted-xml"},
		{"comment inside", "<message xmlns='jabber:client'><!-- x --></message>", "restricted-xml"},
		{"processing instruction", "<?php echo ?>" + iq, "restricted-xml"},
		{"XML declaration inside", "<x xmlns='a'><?xml version='1.0'?>" + iq, "restricted-xml"},
		{"document type", "<!DOCTYPE iq>" + iq, "restricted-xml"},
		{"entity", "<message xmlns='jabber:client'><body>&x;</body></message>", "restricted-xml"},
		{"no namespace", "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "invalid-namespace"},
		{"prefix of a header that was never there", "<stream:features/>", "not-well-formed"},
		{"stream header of TCP", "<stream:stream to='example.com' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", "not-well-formed"},
		{"end of a stream of TCP", "</stream:stream>", "not-well-formed"},
		{"<open/> in mid-stream", rawOpen, "policy-violation"},
		{"unknown element of the framing", "<ping " + framingNS + "/>", "unsupported-stanza-type"},
		{"another stanza", "<x xmlns='some:thing'/>", "unsupported-stanza-type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := e.login(t)
			p.say(c.message)
			p.expectStreamError(c.condition)
		})
	}
}

// TestFramingAccepts is what a message may be besides the plain form.
func TestFramingAccepts(t *testing.T) {
	e := listen(t, nil)
	for _, c := range []struct{ name, message string }{
		{"XML declaration", "<?xml version='1.0' encoding='UTF-8'?><iq xmlns='jabber:client' type='get' id='#'><a xmlns='b'/></iq>"},
		{"white space after", "<iq xmlns='jabber:client' type='get' id='#'><a xmlns='b'/></iq>\r\n"},
		{"quotes", `<iq xmlns="jabber:client" type="get" id="#"><a xmlns="b"/></iq>`},
		{"CDATA", "<iq xmlns='jabber:client' type='get' id='#'><a xmlns='b'><![CDATA[<x>]]></a></iq>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := e.login(t)
			p.say(strings.ReplaceAll(c.message, "#", "accepted"))
			p.expectAnswer("accepted")
			p.alive()
		})
	}
}

// TestFramingHeader is the first message.
func TestFramingHeader(t *testing.T) {
	e := listen(t, nil)
	for _, c := range []struct {
		name, message string
		condition     string // "" for features
	}{
		{"prefix", "<f:open xmlns:f='urn:ietf:params:xml:ns:xmpp-framing' to='example.com' version='1.0'/>", ""},
		{"quotes and an end tag", `<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="example.com" version="1.0"></open>`, ""},
		{"other domain", "<open " + framingNS + " to='other.example' version='1.0'/>", "host-unknown"},
		{"no domain", "<open " + framingNS + " version='1.0'/>", "improper-addressing"},
		{"no version", "<open " + framingNS + " to='example.com'/>", "unsupported-version"},
		{"other namespace", "<open xmlns='jabber:client' to='example.com' version='1.0'/>", "invalid-namespace"},
		{"no namespace", "<open to='example.com' version='1.0'/>", "invalid-namespace"},
		{"stanza", "<presence xmlns='jabber:client'/>", "invalid-namespace"},
		{"stream header of TCP", "<stream:stream to='example.com' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", "not-well-formed"},
		{"half", "<open " + framingNS, "not-well-formed"},
		{"white space", " ", "not-well-formed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := e.upgrade(t)
			p.say(c.message)
			// A stream error comes after a header (RFC 6120 section 4.9.1.2).
			p.expectText("<open ")
			if c.condition != "" {
				p.expectStreamError(c.condition)
				return
			}
			p.expectText("<stream:features ")
		})
	}
	t.Run("<close/>", func(t *testing.T) {
		p := e.upgrade(t)
		p.say("<close " + framingNS + "/>")
		if end := p.last(); end.code != 1000 || end.condition != "" || !end.closed || len(end.texts) > 0 {
			t.Errorf("ended with %+v", end)
		}
	})
}

// TestFramingElsewhere sends clients to another server (RFC 7395 section 3.6.1).
func TestFramingElsewhere(t *testing.T) {
	e := listen(t, func(c *websocket.Config) { c.SeeOtherURI = "wss://other.example/xmpp?a=1&b=2" })
	p := e.upgrade(t)
	p.say(rawOpen)
	const want = `<close xmlns="urn:ietf:params:xml:ns:xmpp-framing" see-other-uri="wss://other.example/xmpp?a=1&amp;b=2" />`
	if got := p.expectText("<close "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if end := p.last(); end.code != 1000 || end.closed || len(end.texts) > 0 {
		t.Errorf("ended with %+v", end)
	}
}

// TestFramingLost takes a cut connection for the end of the session, at once.
func TestFramingLost(t *testing.T) {
	e := listen(t, nil)
	watcher := e.Online("alice/watch")
	p := e.login(t)
	p.say("<presence xmlns='jabber:client'/>")
	watcher.Expect("<presence from='" + p.full + "' to='" + watcher.JID.String() + "'/>")
	p.send(0, rawFrame{op: opText, payload: "<message xmlns='jabber", more: true})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	watcher.Expect("<presence from='" + p.full + "' to='" + watcher.JID.String() + "' type='unavailable'/>")
}

// The forms of a load generator: tsung's header and elements.
const benchHeader = `<?xml version='1.0'?><stream:stream  id='42' to='example.com' xmlns="jabber:client" version="1.0" xmlns:stream="http://etherx.jabber.org/streams">`

// benchSay sends a binary message.
func (p *rawPeer) benchSay(text string) {
	p.t.Helper()
	p.send(0, rawFrame{op: opBinary, payload: text})
}

func benchListener(t *testing.T) *endpoint {
	t.Helper()
	return listen(t, func(c *websocket.Config) { c.Bench = true })
}

// TestBenchTsung is a session in tsung's forms, from the handshake on.
func TestBenchTsung(t *testing.T) {
	e := benchListener(t)
	p := e.dialRaw(t)
	r := p.handshake(e.request("Sec-WebSocket-Protocol:", "Origin: 127.0.0.1"))
	if r.StatusCode != http.StatusSwitchingProtocols || len(r.Header.Values("Sec-WebSocket-Protocol")) > 0 || r.Header.Get("Connection") != "Upgrade" {
		t.Fatalf("%s %v", r.Status, r.Header)
	}
	p.benchSay(benchHeader)
	p.expectText(`<stream:stream id="`)
	p.expectText("<stream:features")
	p.benchSay("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>")
	p.expectText("<success ")
	p.benchSay(benchHeader)
	p.expectText(`<stream:stream id="`)
	p.expectText("<stream:features")
	p.benchSay("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>tsung</resource></bind></iq>")
	p.expectText("<iq ")
	p.benchSay("<presence/>")
	p.expectText("<presence ")
	p.benchSay(" ") // keeps the connection
	p.benchSay("<message to ='alice@example.com/tsung' id='1'><body>@@@1,2@@@</body></message><iq type='get' id='2'><ping xmlns='urn:xmpp:ping'/></iq>")
	if got := p.expectText("<message "); !strings.Contains(got, "<body>@@@1,2@@@</body>") {
		t.Errorf("got %s", got)
	}
	p.expectAnswer("2")
	p.benchSay("</stream:stream>")
	if end := p.last(); end.code != 1000 || len(end.texts) != 1 || end.texts[0] != "</stream:stream>" {
		t.Errorf("ended with %+v", end)
	}
}

// TestBench is what a listener for load generators takes besides RFC 7395.
func TestBench(t *testing.T) {
	e := benchListener(t)
	t.Run("RFC 7395", func(t *testing.T) {
		p := e.login(t)
		p.alive()
		p.say("<close " + framingNS + "/>")
		if end := p.last(); end.code != 1000 || !end.closed {
			t.Errorf("ended with %+v", end)
		}
	})
	t.Run("<open/> in binary frames, without a subprotocol", func(t *testing.T) {
		p := e.upgrade(t, "Sec-WebSocket-Protocol:")
		p.benchSay(rawOpen)
		p.expectText("<open ")
		p.expectText("<stream:features ")
	})
	t.Run("stream error", func(t *testing.T) {
		p := e.upgrade(t, "Sec-WebSocket-Protocol:")
		p.benchSay(benchHeader)
		p.expectText(`<stream:stream id="`)
		p.expectText("<stream:features")
		p.benchSay("<presence/>")
		if end := p.last(); end.condition != "not-authorized" || len(end.texts) != 1 || end.texts[0] != "</stream:stream>" {
			t.Errorf("ended with %+v", end)
		}
	})
	t.Run("frames are held to RFC 6455 all the same", func(t *testing.T) {
		p := e.upgrade(t, "Sec-WebSocket-Protocol:")
		p.send(0, rawFrame{op: opBinary, payload: benchHeader, unmasked: true})
		p.expectFailure(1002)
	})
}
