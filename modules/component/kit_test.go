package component_test

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"rollcall/internal/servertest"
	"rollcall/internal/xmlscan"
	"rollcall/modules/component"
	"rollcall/modules/disco"
	"rollcall/modules/ping"
	"rollcall/server"
)

const (
	name   = "echo.example.com"
	secret = "0123456789"
)

// place is a server with a listener for components.
type place struct {
	*servertest.Server
	address string
	module  *component.Module
}

func options() component.Options {
	return component.Options{
		Components:    []component.Component{{Name: name, Secret: secret}, {Name: "bot.example.com", Secret: "9876543210"}},
		HandshakeTime: 10 * time.Second, OutboxBytes: 1 << 20,
		Element: xmlscan.Limits{Bytes: 20000, Depth: 20, Attrs: 20},
	}
}

func start(t *testing.T, o component.Options, change ...func(*servertest.Options)) *place {
	t.Helper()
	m := component.New(o)
	so := servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", "").AddUser("bob", ""),
		Modules:   []server.Module{disco.New(), ping.New(ping.Options{}), m},
	}
	for _, f := range change {
		f(&so)
	}
	s := servertest.New(t, so)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := m.Accept(name, "bot.example.com")
	served := make(chan error, 1)
	go func() { served <- a.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(a.Close(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return &place{s, ln.Addr().String(), m}
}

// peer is a component's end of a connection.
type peer struct {
	t    *testing.T
	conn net.Conn
	scan xmlscan.Scanner
	rest []byte
	id   string // of the stream
}

func (p *place) dial(t *testing.T) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	c := &peer{t: t, conn: conn}
	c.scan.Reset()
	c.scan.SetLimits(xmlscan.Limits{Bytes: 1 << 20, Depth: 1000, Attrs: 1000})
	return c
}

func (c *peer) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// next takes the next piece of the stream: a header, an element or the end, as it came.
func (c *peer) next() string {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	for {
		var el xmlscan.Element
		n, err := c.scan.Next(c.rest, &el)
		c.rest = c.rest[n:]
		switch {
		case err == nil && el.Kind == xmlscan.Header:
			c.id = el.AttrString("id")
			return "header from=" + el.AttrString("from")
		case err == nil && el.Kind == xmlscan.End:
			return "end"
		case err == nil:
			return string(el.Raw)
		case !errors.Is(err, xmlscan.ErrMore):
			c.t.Fatalf("the server sent %q: %v", c.rest, err)
		}
		buf := make([]byte, 4096)
		n, err = c.conn.Read(buf)
		if err != nil {
			return "error: " + err.Error()
		}
		c.rest = append(c.rest, buf[:n]...)
	}
}

func (c *peer) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.next(); got != w {
			c.t.Fatalf("got  %s\nwant %s", got, w)
		}
	}
}

// header opens a stream.
func header(to string) string {
	return "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='" + to + "'>"
}

func (c *peer) handshake(secret string) string {
	sum := sha1.Sum([]byte(c.id + secret))
	return "<handshake>" + hex.EncodeToString(sum[:]) + "</handshake>"
}

// connect connects a component.
func (p *place) connect(t *testing.T, name, secret string) *peer {
	t.Helper()
	c := p.dial(t)
	c.send(header(name))
	c.expect("header from=" + name)
	c.send(c.handshake(secret))
	c.expect("<handshake/>")
	return c
}

// failed is the end of a stream with an error.
func failed(condition string) []string {
	return []string{
		"<stream:error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", "end",
	}
}

// absent waits until nobody is connected under a name; it is for a server alone.
func (p *place) absent(t *testing.T, c *servertest.Client, to string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for i := 0; ; i++ {
		id := fmt.Sprintf("absent-%d", i)
		c.Send("<message to='" + to + "' id='" + id + "'/>")
		for _, el := range c.Drain() {
			if el.SelectAttrValue("id", "") == id && strings.HasSuffix(el.SelectAttrValue("type", ""), "error") {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still connected", to)
		}
	}
}
