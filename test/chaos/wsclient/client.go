// Package wsclient is an XMPP client over WebSocket (RFC 7395) on top of somebody
// else's WebSocket library.
package wsclient

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/beevik/etree"
	"github.com/coder/websocket"

	"rollcall/internal/ns"
)

// maxFrame is more than any stanza has, in bytes.
const maxFrame = 1 << 20

// Config is who logs in, and where.
type Config struct {
	URL                            string // ws://host:port/path
	Host, User, Password, Resource string
}

// Client is a connection with a bound resource. One goroutine may receive; the
// other methods are safe for concurrent use.
type Client struct {
	ws *websocket.Conn
	// Features is what the server offered for logging in.
	Features *etree.Element
}

// ErrClosed says that the server closed the stream with <close/>, as the client
// wanted.
var ErrClosed = errors.New("the stream is closed")

// Dial connects, logs in and binds the resource.
func Dial(ctx context.Context, c Config) (*Client, error) {
	ws, _, err := websocket.Dial(ctx, c.URL, &websocket.DialOptions{Subprotocols: []string{"xmpp"}})
	if err != nil {
		return nil, err
	}
	if ws.Subprotocol() != "xmpp" {
		ws.CloseNow()
		return nil, fmt.Errorf("subprotocol %q", ws.Subprotocol())
	}
	ws.SetReadLimit(maxFrame)
	client := &Client{ws: ws}
	if err := client.login(ctx, c); err != nil {
		client.Cut()
		return nil, err
	}
	return client, nil
}

func (c *Client) login(ctx context.Context, cfg Config) error {
	features, err := c.open(ctx, cfg.Host)
	if err != nil {
		return err
	}
	c.Features = features
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + cfg.User + "\x00" + cfg.Password))
	if err := c.Send(ctx, "<auth xmlns='"+ns.SASL+"' mechanism='PLAIN'>"+plain+"</auth>"); err != nil {
		return err
	}
	if _, err := c.expect(ctx, "success", ns.SASL); err != nil {
		return err
	}
	if _, err := c.open(ctx, cfg.Host); err != nil {
		return err
	}
	err = c.Send(ctx, "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='"+ns.Bind+"'><resource>"+cfg.Resource+"</resource></bind></iq>")
	if err != nil {
		return err
	}
	result, err := c.expect(ctx, "iq", ns.Client)
	if err != nil {
		return err
	}
	want := cfg.User + "@" + cfg.Host + "/" + cfg.Resource
	if jid := result.FindElement("./bind/jid"); jid == nil || jid.Text() != want {
		return fmt.Errorf("bound %s, not %s", text(result), want)
	}
	return nil
}

// open begins a stream, or begins it again, and returns the features.
func (c *Client) open(ctx context.Context, host string) (*etree.Element, error) {
	if err := c.Send(ctx, "<open xmlns='"+ns.Framing+"' to='"+host+"' version='1.0'/>"); err != nil {
		return nil, err
	}
	open, err := c.expect(ctx, "open", ns.Framing)
	if err != nil {
		return nil, err
	}
	if open.SelectAttrValue("from", "") != host || open.SelectAttrValue("id", "") == "" || open.SelectAttrValue("version", "") != "1.0" {
		return nil, fmt.Errorf("opened with %s", text(open))
	}
	return c.expect(ctx, "features", ns.Stream)
}

func (c *Client) expect(ctx context.Context, tag, space string) (*etree.Element, error) {
	e, err := c.Receive(ctx)
	if err != nil {
		return nil, err
	}
	if e.Tag != tag || e.NamespaceURI() != space {
		return nil, fmt.Errorf("got %s, not <%s/>", text(e), tag)
	}
	return e, nil
}

// Send sends one element in a frame of its own.
func (c *Client) Send(ctx context.Context, element string) error {
	return c.ws.Write(ctx, websocket.MessageText, []byte(element))
}

// Receive returns the next element. A frame that is not one complete element with
// all its namespaces is an error (RFC 7395 section 3.3.3).
func (c *Client) Receive(ctx context.Context) (*etree.Element, error) {
	kind, frame, err := c.ws.Read(ctx)
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageText || !strings.HasPrefix(string(frame), "<") {
		return nil, fmt.Errorf("a %v frame: %q", kind, frame)
	}
	d := etree.NewDocument()
	if err := d.ReadFromBytes(frame); err != nil || d.Root() == nil || len(d.Child) != 1 {
		return nil, fmt.Errorf("not one element: %q (%w)", frame, err)
	}
	e := d.Root()
	switch {
	case e.NamespaceURI() == "":
		return nil, fmt.Errorf("no namespace: %q", frame)
	case e.Tag == "close" && e.NamespaceURI() == ns.Framing:
		return nil, ErrClosed
	case e.Tag == "error" && e.NamespaceURI() == ns.Stream:
		return nil, fmt.Errorf("stream error: %s", frame)
	}
	return e, nil
}

// Ping returns when the server has answered a ping frame, while another goroutine
// receives.
func (c *Client) Ping(ctx context.Context) error { return c.ws.Ping(ctx) }

// Close begins to end the stream: then Receive returns ErrClosed, after which the
// client should Finish.
func (c *Client) Close(ctx context.Context) error {
	return c.Send(ctx, "<close xmlns='"+ns.Framing+"'/>")
}

// Finish closes the connection, with the closing handshake of WebSocket.
func (c *Client) Finish() error { return c.ws.Close(websocket.StatusNormalClosure, "") }

// Cut closes the connection without a word.
func (c *Client) Cut() {
	// It may be closed already.
	_ = c.ws.CloseNow()
}

func text(e *etree.Element) string {
	d := etree.NewDocumentWithRoot(e.Copy())
	s, err := d.WriteToString()
	if err != nil {
		return err.Error()
	}
	return s
}
