package nodes

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stanza is what a client gets, as far as these tests look.
type stanza struct {
	XMLName xml.Name
	From    string `xml:"from,attr"`
	To      string `xml:"to,attr"`
	Type    string `xml:"type,attr"`
	ID      string `xml:"id,attr"`
	Show    string `xml:"show"`
	Status  string `xml:"status"`
	Body    string `xml:"body"`
	Project struct {
		Status string `xml:"status,attr"`
		Rev    uint64 `xml:"rev,attr"`
	} `xml:"urn:rollcall:project:1 x"`
	Failure struct {
		Condition []xml.Name `xml:",any"`
	} `xml:"urn:ietf:params:xml:ns:xmpp-sasl failure"`
	Inner string `xml:",innerxml"`
}

// client is one session over TCP.
type client struct {
	user, resource string
	jid            string
	conn           net.Conn
	read           *xml.Decoder
	on             func(*stanza)
	write          sync.Mutex
	leaving        atomic.Bool
	ended          chan struct{}
	err            error // why it ended, unless it left by itself
}

// errRefused is the end of a login that the server refused, with its condition.
type errRefused struct{ condition string }

func (e errRefused) Error() string { return "refused: " + e.condition }

// login connects, authenticates and binds. on gets every stanza, one at a time.
func login(address, user, resource string, on func(*stanza)) (*client, error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	c := &client{user: user, resource: resource, conn: conn, on: on, ended: make(chan struct{})}
	if err := errors.Join(conn.SetDeadline(time.Now().Add(30*time.Second)), c.negotiate(), conn.SetDeadline(time.Time{})); err != nil {
		conn.Close()
		return nil, err
	}
	go c.run()
	return c, nil
}

func (c *client) negotiate() error {
	if err := c.open(); err != nil {
		return err
	}
	secret := base64.StdEncoding.EncodeToString([]byte("\x00" + c.user + "\x00" + password))
	answer, err := c.ask("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + secret + "</auth>")
	if err != nil {
		return err
	}
	if answer.XMLName.Local != "success" {
		condition, _, _ := strings.Cut(strings.TrimLeft(answer.Inner, "<"), "/")
		return errRefused{condition}
	}
	if err := c.open(); err != nil {
		return err
	}
	answer, err = c.ask("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + c.resource + "</resource></bind></iq>")
	if err != nil {
		return err
	}
	if answer.Type != "result" {
		return errRefused{answer.Inner}
	}
	c.jid = c.user + "@" + host + "/" + c.resource
	return nil
}

// open opens a stream and reads the server's header and features.
func (c *client) open() error {
	if err := c.send("<?xml version='1.0'?><stream:stream to='" + host + "' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"); err != nil {
		return err
	}
	c.read = xml.NewDecoder(c.conn)
	for {
		token, err := c.read.Token()
		if err != nil {
			return err
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "stream" {
			break
		}
	}
	_, err := c.next()
	return err
}

func (c *client) ask(element string) (*stanza, error) {
	if err := c.send(element); err != nil {
		return nil, err
	}
	return c.next()
}

func (c *client) next() (*stanza, error) {
	for {
		token, err := c.read.Token()
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			st := new(stanza)
			return st, c.read.DecodeElement(st, &t)
		case xml.EndElement:
			return nil, errors.New("the server ended the stream")
		}
	}
}

func (c *client) run() {
	defer close(c.ended)
	defer c.conn.Close()
	for {
		st, err := c.next()
		if err == nil && st.XMLName.Local == "error" {
			err = fmt.Errorf("stream error %s", st.Inner)
		}
		if err != nil {
			if !c.leaving.Load() {
				c.err = err
			}
			return
		}
		if st.XMLName.Local == "iq" && st.Type == "get" && strings.Contains(st.Inner, "urn:xmpp:ping") {
			// An error means the end, which the next read sees.
			_ = c.send("<iq type='result' id='" + st.ID + "'/>")
			continue
		}
		c.on(st)
	}
}

func (c *client) send(text string) error {
	c.write.Lock()
	defer c.write.Unlock()
	_, err := c.conn.Write([]byte(text))
	return err
}

// leave ends the stream, politely or by cutting the connection, and waits until the
// client has read everything.
func (c *client) leave(polite bool) {
	c.leaving.Store(true)
	if !polite || c.send("</stream:stream>") != nil {
		c.conn.Close()
	}
	<-c.ended
}

// alive reports whether the session goes on.
func (c *client) alive() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

func mustSend(t testing.TB, c *client, text string) {
	t.Helper()
	if err := c.send(text); err != nil {
		t.Fatalf("%s: %v", c.jid, err)
	}
}

// crowd logs many clients in, some at a time.
func crowd(t testing.TB, n int, enter func(i int) (*client, error)) []*client {
	t.Helper()
	all := make([]*client, n)
	errs := make([]error, n)
	slots := make(chan struct{}, 16)
	var g sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		g.Go(func() {
			defer func() { <-slots }()
			all[i], errs[i] = enter(i)
		})
	}
	g.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return all
}
