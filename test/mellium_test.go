package test

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"fmt"
	"net"
	"testing"
	"time"

	xwebsocket "golang.org/x/net/websocket"
	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/websocket"

	"rollcall/cmd/rollcall/app"
)

// melliumClient is a user with the client of the mellium library.
type melliumClient struct {
	t       *testing.T
	conn    net.Conn
	session *xmpp.Session
	got     chan melliumStanza
	ended   chan struct{}
}

// melliumStanza is what this test looks at.
type melliumStanza struct {
	XMLName xml.Name
	From    string `xml:"from,attr"`
	Type    string `xml:"type,attr"`
	Show    string `xml:"show"`
	Body    string `xml:"body"`
	X       struct {
		Status string `xml:"status,attr"`
	} `xml:"urn:rollcall:project:1 x"`
}

// melliumDialers are the ways in that mellium knows.
var melliumDialers = []struct {
	name string
	dial func(ctx context.Context, a *app.App, user jid.JID, login xmpp.StreamFeature) (net.Conn, *xmpp.Session, error)
}{
	{"starttls", func(ctx context.Context, a *app.App, user jid.JID, login xmpp.StreamFeature) (net.Conn, *xmpp.Session, error) {
		tcp, _ := a.Addresses()
		conn, err := net.Dial("tcp", tcp[0].String())
		if err != nil {
			return nil, nil, err
		}
		s, err := xmpp.NewClientSession(ctx, user, conn, xmpp.StartTLS(insecure()), login, xmpp.BindResource())
		return conn, s, err
	}},
	{"secure websocket", func(ctx context.Context, a *app.App, user jid.JID, login xmpp.StreamFeature) (net.Conn, *xmpp.Session, error) {
		_, http := a.Addresses()
		conn, err := tls.Dial("tcp", http[1].String(), insecure())
		if err != nil {
			return nil, nil, err
		}
		address := http[1].String()
		config, err := xwebsocket.NewConfig("wss://"+address+"/xmpp-websocket", "https://"+address)
		if err != nil {
			return nil, nil, err
		}
		config.Protocol = []string{websocket.WSProtocol}
		ws, err := xwebsocket.NewClient(config, conn)
		if err != nil {
			return nil, nil, err
		}
		// websocket.NewSession takes the page's origin for the server's address, and so
		// a page's https for no TLS.
		s, err := xmpp.NewSession(ctx, user.Domain(), user, ws, xmpp.Secure,
			websocket.Negotiator(func(*xmpp.Session, *xmpp.StreamConfig) xmpp.StreamConfig {
				return xmpp.StreamConfig{Features: []xmpp.StreamFeature{login, xmpp.BindResource()}}
			}))
		return conn.NetConn(), s, err
	}},
}

func dialMellium(t *testing.T, user string, dial func(user jid.JID, login xmpp.StreamFeature) (net.Conn, *xmpp.Session, error)) *melliumClient {
	t.Helper()
	conn, session, err := dial(jid.MustParse(user+"@localhost"), xmpp.SASL("", "secret", sasl.ScramSha256, sasl.ScramSha1))
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	c := &melliumClient{t: t, conn: conn, session: session, got: make(chan melliumStanza, 100), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		// How the stream ends is not this test's business.
		_ = c.session.Serve(xmpp.HandlerFunc(func(r xmlstream.TokenReadEncoder, start *xml.StartElement) error {
			var s melliumStanza
			d := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), r))
			if _, err := d.Token(); err != nil {
				return err
			}
			if err := d.DecodeElement(&s, start); err != nil {
				return err
			}
			c.got <- s
			return nil
		}))
	}()
	t.Cleanup(func() {
		conn.Close()
		<-c.ended
	})
	return c
}

// expect waits for a stanza and compares what it says in short.
func (c *melliumClient) expect(want ...string) {
	c.t.Helper()
	left := map[string]int{}
	for _, w := range want {
		left[w]++
	}
	for range want {
		select {
		case s := <-c.got:
			from := jid.MustParse(s.From)
			short := fmt.Sprintf("%s %s type=%s show=%s status=%s body=%s", s.XMLName.Local, from.Localpart(), s.Type, s.Show, s.X.Status, s.Body)
			if left[short]--; left[short] < 0 {
				c.t.Fatalf("got %q, want %q", short, want)
			}
		case <-time.After(10 * time.Second):
			c.t.Fatalf("still waiting for one of %q", want)
		}
	}
}

func (c *melliumClient) send(ctx context.Context, p xml.TokenReader) {
	c.t.Helper()
	if err := c.session.Send(ctx, p); err != nil {
		c.t.Fatal(err)
	}
}

func (c *melliumClient) presence(ctx context.Context, typ stanza.PresenceType, show string) {
	c.t.Helper()
	var inner xml.TokenReader
	if show != "" {
		inner = xmlstream.Wrap(xmlstream.Token(xml.CharData(show)), xml.StartElement{Name: xml.Name{Local: "show"}})
	}
	c.send(ctx, stanza.Presence{Type: typ}.Wrap(inner))
}

// TestMellium is the main job with mellium's own client: two users of one
// project, and one outside.
func TestMellium(t *testing.T) {
	for _, way := range melliumDialers {
		t.Run(way.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			a := start(t, options{})
			melliumTalk(ctx, t, func(user string) *melliumClient {
				return dialMellium(t, user, func(user jid.JID, login xmpp.StreamFeature) (net.Conn, *xmpp.Session, error) {
					return way.dial(ctx, a, user, login)
				})
			})
		})
	}
}

func melliumTalk(ctx context.Context, t *testing.T, login func(user string) *melliumClient) {
	dave := login("dave")
	dave.presence(ctx, "", "")
	dave.expect("presence dave type= show= status= body=")
	alice := login("alice")
	alice.presence(ctx, "", "")
	alice.expect("presence alice type= show= status= body=")
	bob := login("bob")
	bob.presence(ctx, "", "")
	bob.expect("presence bob type= show= status= body=", "presence alice type= show= status=1 body=")
	alice.expect("presence bob type= show= status=1 body=")
	for _, step := range []struct{ show, status string }{{"dnd", "2"}, {"away", "3"}, {"xa", "3"}} {
		bob.presence(ctx, "", step.show)
		alice.expect("presence bob type= show=" + step.show + " status=" + step.status + " body=")
		bob.expect("presence bob type= show=" + step.show + " status= body=")
	}
	bob.presence(ctx, stanza.UnavailablePresence, "")
	alice.expect("presence bob type=unavailable show= status=0 body=")
	bob.expect("presence bob type=unavailable show= status= body=")
	bob.presence(ctx, "", "")
	bob.expect("presence bob type= show= status= body=", "presence alice type= show= status=1 body=")
	alice.expect("presence bob type= show= status=1 body=")

	alice.send(ctx, stanza.Message{To: jid.MustParse("bob@localhost"), Type: stanza.ChatMessage}.Wrap(
		xmlstream.Wrap(xmlstream.Token(xml.CharData("hello")), xml.StartElement{Name: xml.Name{Local: "body"}})))
	bob.expect("message alice type=chat show= status= body=hello")

	var online struct {
		Total int `xml:"total,attr"`
		Users []struct {
			JID    string `xml:"jid,attr"`
			Status int    `xml:"status,attr"`
		} `xml:"user"`
	}
	err := alice.session.UnmarshalIQElement(ctx, xmlstream.Wrap(nil, xml.StartElement{Name: xml.Name{Space: "urn:rollcall:project:1", Local: "online"}}),
		stanza.IQ{Type: stanza.GetIQ, To: jid.MustParse("p1@wtmuc.localhost")}, &online)
	if err != nil || online.Total != 2 || len(online.Users) != 2 || online.Users[0].JID != "alice@localhost" || online.Users[0].Status != 1 {
		t.Errorf("online: %+v, %v", online, err)
	}

	if err := bob.conn.Close(); err != nil { // the cable is cut
		t.Error(err)
	}
	alice.expect("presence bob type=unavailable show= status=0 body=")
	dave.presence(ctx, "", "away")
	dave.expect("presence dave type= show=away status= body=") // and nothing before it
	if len(alice.got) > 0 {
		t.Errorf("alice got more: %+v", <-alice.got)
	}
}
