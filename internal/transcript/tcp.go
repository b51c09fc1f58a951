package transcript

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/ns"
)

// tcpClient is a stream over TCP (RFC 6120), with STARTTLS or direct TLS.
type tcpClient struct {
	target Target
	raw    net.Conn // under TLS
	conn   net.Conn
	split  *splitter
	scope  scope
	end    error // sticky, once the stream has ended
}

var _ TLSStarter = (*tcpClient)(nil)

func dialTCP(ctx context.Context, t Target) (*tcpClient, error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	raw, err := t.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, err
	}
	c := &tcpClient{target: t, raw: raw, conn: raw, split: &splitter{r: raw}, scope: streamScope()}
	if t.DirectTLS {
		if err := c.handshake(ctx, "xmpp-client"); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
	}
	return c, nil
}

func (c *tcpClient) handshake(ctx context.Context, protocols ...string) error {
	if c.target.TLS == nil {
		return errors.New("transcript: TLS needs Target.TLS")
	}
	config := c.target.TLS.Clone()
	if len(config.NextProtos) == 0 {
		config.NextProtos = protocols
	}
	secure := tls.Client(c.raw, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	c.conn = secure
	c.split = &splitter{r: secure}
	return nil
}

// StartTLS shakes hands.
func (c *tcpClient) StartTLS(ctx context.Context) error {
	if c.split.buffered() {
		return errors.New("transcript: the server sent something between <proceed/> and the handshake")
	}
	ctx, cancel := context.WithTimeout(ctx, c.target.Timeout)
	defer cancel()
	return c.handshake(ctx)
}

// Open sends the header and reads the server's.
func (c *tcpClient) Open(ctx context.Context, to string) error {
	var b strings.Builder
	b.WriteString("<?xml version='1.0'?><stream:stream")
	if to != "" {
		b.WriteString(" to='" + escape(to) + "'")
	}
	b.WriteString(" version='1.0' xmlns='" + ns.Client + "' xmlns:stream='" + ns.Stream + "'>")
	if err := c.SendRaw(b.String()); err != nil {
		return err
	}
	e, err := c.Receive(ctx)
	if err != nil {
		return err
	}
	if !is(e, ns.Stream, "stream") {
		return fmt.Errorf("transcript: <%s> instead of a stream header", e.FullTag())
	}
	return nil
}

// Send sends elements; the header has declared their namespace.
func (c *tcpClient) Send(elements string) error { return c.SendRaw(elements) }

// SendRaw sends text.
func (c *tcpClient) SendRaw(text string) error {
	c.target.Trace(true, text)
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.target.Timeout)); err != nil {
		return err
	}
	_, err := io.WriteString(c.conn, text)
	return err
}

// Receive returns the next element, or the header as an empty element.
func (c *tcpClient) Receive(ctx context.Context) (*etree.Element, error) {
	if c.end != nil {
		return nil, c.end
	}
	kind, text, err := c.next(ctx)
	if err != nil {
		return nil, err
	}
	c.target.Trace(false, text)
	switch kind {
	case headerPiece:
		return c.header(text)
	case endPiece:
		c.end = &End{}
		return nil, c.end
	}
	return parseElement(text, c.scope)
}

// next reads a piece until ctx ends.
func (c *tcpClient) next(ctx context.Context) (pieceKind, string, error) {
	// A connection that takes no deadline any more is closed; what was read of it
	// is still good.
	deadlineErr := c.conn.SetReadDeadline(time.Time{})
	poked := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { poked <- c.conn.SetReadDeadline(time.Unix(1, 0)) })
	kind, text, err := c.split.next()
	if !stop() {
		deadlineErr = errors.Join(deadlineErr, <-poked)
	}
	switch {
	case err == nil:
		return kind, text, nil
	case ctx.Err() != nil:
		return 0, "", errors.Join(ctx.Err(), deadlineErr)
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF // the connection, not the stream, has ended
	}
	c.end = err
	return 0, "", err
}

// header takes the server's header and the namespaces it declares.
func (c *tcpClient) header(text string) (*etree.Element, error) {
	e, err := parseElement(strings.TrimSuffix(text, ">")+"/>", scope{})
	if err != nil {
		return nil, err
	}
	c.scope = scope{}.with(e)
	return e, nil
}

// End sends the end of the stream.
func (c *tcpClient) End() error { return c.SendRaw("</stream:stream>") }

// Drop closes the connection. Where the stream has not ended it is reset and TLS
// says no goodbye.
func (c *tcpClient) Drop() error {
	if errors.Is(c.end, errDropped) {
		return nil
	}
	if !errors.Is(c.end, io.EOF) {
		if tcp, ok := c.raw.(*net.TCPConn); ok {
			if err := tcp.SetLinger(0); err != nil {
				return errors.Join(err, c.raw.Close())
			}
		}
	}
	c.end = errDropped
	return c.raw.Close()
}
