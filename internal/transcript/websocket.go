package transcript

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/beevik/etree"
	"github.com/coder/websocket"

	"rollcall/internal/ns"
)

// wsInbox is how many messages wait for Receive before the client stops reading.
const wsInbox = 1024

// wsClient is a stream over WebSocket (RFC 7395). It holds the server to more
// than the RFC asks: one text frame per element, never several.
type wsClient struct {
	target Target
	conn   *websocket.Conn
	raw    net.Conn // under TLS and WebSocket
	ctx    context.Context
	cancel context.CancelFunc
	inbox  chan wsMessage // closed after an error or the end
	// ending is set once our <close/> is sent.
	ending atomic.Bool
	end    error // sticky; of Receive and Drop only
}

// wsMessage is an element or why there are no more.
type wsMessage struct {
	element *etree.Element
	err     error
}

func dialWebSocket(ctx context.Context, t Target) (*wsClient, error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	c := &wsClient{target: t, inbox: make(chan wsMessage, wsInbox)}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			raw, err := t.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			c.raw = raw
			return &frameWatch{Conn: raw}, nil
		},
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.dialTLS(ctx, network, address)
		},
	}
	conn, response, err := websocket.Dial(ctx, t.URL, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{"xmpp"},
	})
	if err != nil {
		transport.CloseIdleConnections()
		return nil, err
	}
	// The library takes another spelling, or none at all.
	if protocol := response.Header.Values("Sec-WebSocket-Protocol"); len(protocol) != 1 || protocol[0] != "xmpp" {
		return nil, errors.Join(fmt.Errorf("transcript: subprotocol %q instead of xmpp", protocol), conn.CloseNow())
	}
	conn.SetReadLimit(maxElement)
	c.conn = conn
	c.ctx, c.cancel = context.WithCancel(context.Background())
	go c.read()
	return c, nil
}

func (c *wsClient) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	if c.target.TLS == nil {
		return nil, errors.New("transcript: TLS needs Target.TLS")
	}
	raw, err := c.target.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := c.target.TLS.Clone()
	config.NextProtos = []string{"http/1.1"}
	secure := tls.Client(raw, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	c.raw = raw
	return &frameWatch{Conn: secure}, nil
}

// Open sends <open/> and reads the server's (RFC 7395 section 3.4).
func (c *wsClient) Open(ctx context.Context, to string) error {
	open := "<open xmlns='" + ns.Framing + "'"
	if to != "" {
		open += " to='" + escape(to) + "'"
	}
	if err := c.SendRaw(open + " version='1.0'/>"); err != nil {
		return err
	}
	e, err := c.Receive(ctx)
	if err != nil {
		return err
	}
	if !is(e, ns.Stream, "stream") {
		return fmt.Errorf("transcript: <%s> instead of <open/>", e.FullTag())
	}
	return nil
}

// Send sends each element in a frame of its own, with its namespace.
func (c *wsClient) Send(elements string) error {
	pieces, err := splitAll(elements)
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		piece, err := standalone(piece)
		if err != nil {
			return err
		}
		if err := c.SendRaw(piece); err != nil {
			return err
		}
	}
	return nil
}

// SendRaw sends text in one frame.
func (c *wsClient) SendRaw(text string) error {
	c.target.Trace(true, text)
	ctx, cancel := context.WithTimeout(c.ctx, c.target.Timeout)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageText, []byte(text))
}

// Receive returns the next element. <open/> is shown as the stream header that
// it stands for.
func (c *wsClient) Receive(ctx context.Context) (*etree.Element, error) {
	if c.end != nil {
		return nil, c.end
	}
	select { // what has arrived is there, even for a ctx that has ended
	case m := <-c.inbox:
		return c.take(m)
	default:
	}
	select {
	case m := <-c.inbox:
		return c.take(m)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *wsClient) take(m wsMessage) (*etree.Element, error) {
	c.end = m.err
	return m.element, m.err
}

// read takes what arrives until the end.
func (c *wsClient) read() {
	defer close(c.inbox)
	for {
		e, err := c.next()
		select {
		case c.inbox <- wsMessage{e, err}:
		case <-c.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// next reads a message, and at the end of the stream the end of the connection.
func (c *wsClient) next() (*etree.Element, error) {
	kind, data, err := c.conn.Read(c.ctx)
	if err != nil {
		return nil, cutOff(err)
	}
	c.target.Trace(false, string(data))
	if kind != websocket.MessageText {
		return nil, fmt.Errorf("%w: a frame that is no text (RFC 7395 section 3.2)", errBadXML)
	}
	e, err := parseFrame(string(data))
	switch {
	case err != nil:
		return nil, err
	case is(e, ns.Framing, "open"):
		return streamHeader(e, string(data))
	case is(e, ns.Framing, "close"):
		return nil, c.farewell(&End{SeeOtherURI: e.SelectAttrValue("see-other-uri", "")})
	}
	return e, nil
}

// farewell answers the server's <close/> and ends the connection: who ended the
// stream begins the closing handshake (RFC 7395 section 3.6).
func (c *wsClient) farewell(end *End) error {
	if c.ending.Swap(true) {
		if err := c.conn.Close(websocket.StatusNormalClosure, ""); err != nil {
			return fmt.Errorf("transcript: after <close/>: %w", cutOff(err))
		}
		return end
	}
	// The server may have closed at once; then its own handshake says so.
	if err := c.sendClose(); err != nil {
		c.target.Trace(true, err.Error())
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.target.Timeout)
	defer cancel()
	_, data, err := c.conn.Read(ctx)
	if err == nil {
		return fmt.Errorf("transcript: %q after <close/>", data)
	}
	if code := websocket.CloseStatus(err); code != websocket.StatusNormalClosure && code != websocket.StatusGoingAway {
		return fmt.Errorf("transcript: no closing handshake after <close/>: %w", cutOff(err))
	}
	return end
}

// cutOff calls the end of the connection without a closing handshake by its name.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// End sends the end of the stream.
func (c *wsClient) End() error {
	if c.ending.Swap(true) {
		return nil // the server was first and has its answer
	}
	return c.sendClose()
}

func (c *wsClient) sendClose() error { return c.SendRaw("<close xmlns='" + ns.Framing + "'/>") }

// Drop closes the connection: by a reset where the stream has not ended.
func (c *wsClient) Drop() error {
	if errors.Is(c.end, errDropped) {
		return nil
	}
	var err error
	if !errors.Is(c.end, io.EOF) {
		if tcp, ok := c.raw.(*net.TCPConn); ok {
			// A connection that is closed already has nothing to reset.
			if err = tcp.SetLinger(0); errors.Is(err, net.ErrClosed) {
				err = nil
			}
		}
		if e := c.raw.Close(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	c.end = errDropped
	c.cancel()
	// It is down already, politely or not: what the library says of it is no news.
	_ = c.conn.CloseNow()
	for range c.inbox { // until nobody reads any more
		continue
	}
	return err
}

// parseFrame reads the one element of a message, which starts with "<" and needs
// nothing from outside (RFC 7395 section 3.3).
func parseFrame(text string) (*etree.Element, error) {
	s := &splitter{r: strings.NewReader(text)}
	kind, piece, err := s.next()
	switch {
	case err != nil:
		return nil, fmt.Errorf("transcript: a message without an element: %w: %.200q", err, text)
	case kind != elementPiece || piece != text:
		return nil, fmt.Errorf("%w: a message of more than one element: %.200q", errBadXML, text)
	}
	e, err := parseElement(text, scope{})
	if err != nil {
		return nil, err
	}
	if e.NamespaceURI() == "" {
		return nil, fmt.Errorf("%w: <%s> declares no namespace", errBadXML, e.FullTag())
	}
	return e, nil
}

// streamHeader is the header that an <open/> stands for. Stock clients want to
// see exactly "<open " and the attributes of RFC 6120 section 4.7.
func streamHeader(open *etree.Element, text string) (*etree.Element, error) {
	if !strings.HasPrefix(text, "<open ") || len(open.Child) > 0 {
		return nil, fmt.Errorf("%w: <open/> is %q", errBadXML, text)
	}
	for _, key := range []string{"id", "from", "version"} {
		if open.SelectAttrValue(key, "") == "" {
			return nil, fmt.Errorf("%w: <open/> without %s: %q", errBadXML, key, text)
		}
	}
	header := etree.NewElement("stream:stream")
	header.CreateAttr("xmlns", ns.Client)
	header.CreateAttr("xmlns:stream", ns.Stream)
	for _, a := range open.Attr {
		if _, ok := declares(a); !ok {
			header.CreateAttr(a.FullKey(), a.Value)
		}
	}
	return header, nil
}
