package tsung

import (
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"rollcall/cmd/rollcall/app"
	"rollcall/conf"
	"rollcall/internal/jid"
	"rollcall/server"
)

// These tests say what tsung's jabber plugin says, byte for byte, and look at the answers
// as it does: with regular expressions on what arrives. The names of requirements, T1 to
// T16, are those of docs/bench-profile.md.

// T1: what looks for addresses and ids looks for single quotes, whatever the sender wrote.
func TestSingleQuotes(t *testing.T) {
	a := start(t, nil)
	one, two := online(t, a, "1"), online(t, a, "2")
	one.say(`<iq to="user2@localhost/tsung" type="get" id="p1"><ping xmlns="urn:xmpp:ping"/></iq>`)
	got := two.find("<iq [^>]*><ping")[0]
	for _, pattern := range []string{"from='user1@localhost/tsung'", "id='p1'"} {
		if !strings.Contains(got, pattern) {
			t.Errorf("%s is without %s", got, pattern)
		}
	}
	// The plugin's answer.
	two.say("<iq id='p1' to='user1@localhost/tsung' type='result'></iq>")
	one.find("<iq [^>]*from='user2@localhost/tsung'[^>]*type='result'")
	host, err := jid.Parse("localhost")
	if err != nil {
		t.Fatal(err)
	}
	full, err := jid.Parse("user1@localhost/tsung")
	if err != nil {
		t.Fatal(err)
	}
	ours := string(server.AppendIQ(nil, "get", "p2", host, full, []byte("<ping xmlns='urn:xmpp:ping'/>")))
	for _, pattern := range []string{"from='localhost'", "id='p2'", "<ping"} {
		if !strings.Contains(ours, pattern) {
			t.Errorf("the server's own ping is without %s: %s", pattern, ours)
		}
	}
}

// T2: the stream's id is found with the expression of jabber.xml.
func TestStreamID(t *testing.T) {
	p := dialTCP(t, start(t, nil))
	if id := p.ask(header, `<stream:stream id="(.*)" xmlns:stream`)[1]; len(id) < 20 || strings.ContainsAny(id, `"' `) {
		t.Errorf("the id is %q", id)
	}
}

// T3: iq:auth on a stream of XMPP 1.0 without TLS.
func TestLegacyLogin(t *testing.T) {
	a := start(t, nil)
	p := dialTCP(t, a)
	if offer := p.ask(header, `<stream:features.*</stream:features>`)[0]; !strings.Contains(offer, "<auth xmlns='http://jabber.org/features/iq-auth'/>") {
		t.Errorf("features are %s", offer)
	}
	p.ask(authGet("1", "user1"), "<iq [^>]*type='result' id='1'><query xmlns='jabber:iq:auth'><username/><password/><digest/><resource/></query></iq>")
	p.ask(authSet("2", "user1", "<password>wrong</password>"), "<iq [^>]*type='error' id='2'><error code='401' type='auth'>.*</iq>")
	p.ask(authSet("3", "user1", "<password>pass1</password>"), "<iq [^>]*type='result' id='3'/>")
	p.ask("<iq id='4' type='get'><query xmlns='jabber:iq:roster'></query></iq>", "<iq [^>]*type='result' id='4'.*user2@localhost.*</iq>")
	p.ask("</stream:stream>", "</stream:stream>")
}

// T4: a digest of the stream's id and the password, where the password is known.
func TestDigest(t *testing.T) {
	for _, test := range []struct {
		kept conf.Passwords
		want string
	}{
		{conf.PasswordsPlain, "type='result' id='2'/>"},
		{conf.PasswordsSCRAM, "type='error' id='2'><error code='401' type='auth'><not-authorized "},
	} {
		t.Run(string(test.kept), func(t *testing.T) {
			p := dialTCP(t, start(t, func(c *conf.Config) { c.Storage.SQLite.Passwords = test.kept }))
			id := p.ask(header, `<stream:stream id="(.*)" xmlns:stream`)[1]
			p.find(ends)
			p.ask(authGet("1", "user1"), "</iq>")
			sum := sha1.Sum([]byte(id + "pass1"))
			p.ask(authSet("2", "user1", "<digest>"+hex.EncodeToString(sum[:])+"</digest>"), test.want)
			// The session runs to its end.
			p.ask("</stream:stream>", "</stream:stream>")
		})
	}
}

// T4: the vendor's own digest, which no server has, is answered.
func TestVendorDigest(t *testing.T) {
	p := dialTCP(t, start(t, nil))
	p.ask(header, ends)
	p.ask("<iq id='2' type='set' ><query xmlns='jabber:iq:auth'><username>user1@localhost</username><resource>tsung</resource>"+
		"<x xmlns='xmpp:assert' version='1.0'><ContextInfo/></x></query></iq>", "<iq [^>]*type='error' id='2'><error code='406' type='modify'>.*</iq>")
	p.ask("</stream:stream>", "</stream:stream>")
}

// T5 and T6: SASL without TLS, a header with an id and a declaration each time, and the
// session request, which is answered whether it is offered or not.
func TestPlainWithoutTLS(t *testing.T) {
	p := dialTCP(t, start(t, nil))
	p.ask(header, "<mechanism>PLAIN</mechanism>.*"+ends)
	p.ask(sasl("user1", "pass1"), "<success ")
	p.ask(header, "<bind .*"+ends)
	p.ask(bind, "<iq [^>]*type='result' id='b'>.*</iq>")
	p.ask(session, "<iq [^>]*type='result' id='s'/>")
}

// T5: what is not served is answered at once.
func TestOtherMechanisms(t *testing.T) {
	for _, test := range []struct{ auth, want string }{
		{"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>", "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><invalid-mechanism/>"},
		{"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>", "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><invalid-mechanism/>"},
	} {
		p := dialTCP(t, start(t, nil))
		p.ask(header, ends)
		p.ask(test.auth, test.want)
	}
}

// T7: everything that waits for an answer gets one.
func TestEverythingIsAnswered(t *testing.T) {
	p := online(t, start(t, nil), "1")
	for id, text := range map[string]string{
		"pub":     "<iq to='pubsub.localhost' type='set' id='pub'><pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='/test' type='flat' /><configure> <x xmlns='jabber:x:data' type='submit'></x></configure></pubsub></iq>",
		"sub":     "<iq to='pubsub.localhost' type='set' id='sub'><pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='/test' jid='user1@localhost'/></pubsub></iq>",
		"active1": "<iq from='user1@localhost/tsung' type='set' id='active1'><query xmlns='jabber:iq:privacy'><active name='user1@localhost_list'/></query></iq>",
		"getlist": "<iq from='user1@localhost/tsung' type='get' id='getlist'><query xmlns='jabber:iq:privacy'/></iq>",
	} {
		p.ask(text, "<iq [^>]*type='error' id='"+id+"'.*</iq>")
	}
	p.ask("<presence to='room7@conference.localhost/nick'><x xmlns='http://jabber.org/protocol/muc'/> </presence>",
		"<presence [^>]*from='room7@conference.localhost/nick'[^>]*type='error'.*</presence>")
	p.ask("<message type='groupchat' to ='room7@conference.localhost'><body>x</body></message>",
		"<message [^>]*type='error'.*</message>")
	p.ask("<iq id='e' type='get'><query xmlns='nobody:knows'/></iq>", "<iq [^>]*type='error' id='e'.*</iq>")
}

// T10: STARTTLS in the middle of a session.
func TestSTARTTLS(t *testing.T) {
	p := dialTCP(t, start(t, nil))
	p.ask(header, "<starttls [^>]*>.*"+ends)
	p.ask(`<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>`, "<proceed[^>]*/>")
	if p.got != "" {
		t.Fatalf("%q came in the clear", p.got)
	}
	p.Conn = tls.Client(p.Conn, &tls.Config{InsecureSkipVerify: true})
	p.ask(header, "<mechanisms.*"+ends)
	p.ask(sasl("user1", "pass1"), "<success ")
	p.ask(header, "<bind .*"+ends)
	p.ask(bind, "<iq [^>]*type='result' id='b'")
}

// T14: an answer is in one piece, with nothing held back that belongs to it.
func TestOnePiece(t *testing.T) {
	p := login(t, start(t, nil), "1")
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for i := range 100 {
		p.say(fmt.Sprintf("<iq id='%d' type='get'><query xmlns='jabber:iq:roster'></query></iq>", i))
		n, err := p.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buf[:n]); !strings.HasPrefix(got, "<iq ") || !strings.HasSuffix(got, "</iq>") || !strings.Contains(got, fmt.Sprintf("id='%d'", i)) {
			t.Fatalf("in one piece came %q", got)
		}
	}
}

// T15: nobody on a listener of the profile is asked whether they are still there, over
// any transport; ping and websocket have tests of what follows from that.
func TestNobodyIsAsked(t *testing.T) {
	a := start(t, nil)
	ask := "<iq id='q' type='get'><query xmlns='pingable'/></iq>"
	if got := login(t, a, "1").ask(ask, "<query xmlns='pingable'>([a-z]+)<")[1]; got != "false" {
		t.Errorf("over TCP somebody is pingable: %s", got)
	}
	strict := start(t, func(c *conf.Config) { c.Listen.TCP[0].Bench = false })
	// XEP-0478 tells the others after what silence.
	for _, test := range []struct {
		where *app.App
		want  string
	}{{a, "</max-bytes></limits>"}, {strict, "</max-bytes><idle-seconds>60</idle-seconds></limits>"}} {
		p := dialTCP(t, test.where)
		p.ask(header, "</max-bytes></limits>.*"+ends)
		p.ask(sasl("user2", "pass2"), "<success ")
		if got := p.ask(header, "<stream:features.*"+ends)[0]; !strings.Contains(got, test.want) {
			t.Errorf("features are %s", got)
		}
	}
	if got := login(t, strict, "1").ask(ask, "<query xmlns='pingable'>([a-z]+)<")[1]; got != "true" {
		t.Errorf("without bench somebody is not pingable: %s", got)
	}
}

// T16: addresses as tsung writes them.
func TestAddresses(t *testing.T) {
	a := start(t, nil)
	one, two := online(t, a, "1"), online(t, a, "2")
	for i, to := range []string{"localhost", "user2@localhost"} {
		one.ask(fmt.Sprintf("<iq from='user1@localhost' to='%s' id='n%d' type='get'><ping xmlns='urn:xmpp:ping'/></iq>", to, i),
			fmt.Sprintf("<iq [^>]*id='n%d'[^>]*>", i))
	}
	one.say("<message id='9' to ='user2@localhost/tsung' type='chat'><body>@@@1,2;3;4@@@ABC</body></message>")
	if got := two.find("@@@([^@]+)@@@(.*)</body>"); got[1] != "1,2;3;4" || got[2] != "ABC" {
		t.Errorf("the stamp arrived as %q", got)
	}
}

// T8: a request for a subscription names who asks in its start tag, and the plugin's
// answer is taken.
func TestSubscription(t *testing.T) {
	a := start(t, nil)
	one, three := online(t, a, "1"), online(t, a, "3")
	three.ask("<iq id='3' type='get'><query xmlns='jabber:iq:roster'></query></iq>", "<iq [^>]*type='result' id='3'.*?/>|</iq>")
	three.ask("<iq id='4' type='set'><query xmlns='jabber:iq:roster'><item jid='user1@localhost' name='user1@localhost'><group>Tsung Group</group></item></query></iq>",
		"<iq [^>]*type='result' id='4'/>")
	three.say("<presence id='5' to='user1@localhost' type='subscribe'/>")
	got := one.find("<presence[^>]*subscribe[\"'][^>]*>")[0]
	from := regexp.MustCompile(`from=["']([^\s]*)["'][\s/>]`).FindStringSubmatch(got)
	if from == nil || from[1] != "user3@localhost" {
		t.Fatalf("tsung finds %v in %s", from, got)
	}
	one.say("<presence to='" + from[1] + "' type='subscribed'/>")
	three.find("<presence [^>]*from='user1@localhost'[^>]*type='subscribed'")
}
