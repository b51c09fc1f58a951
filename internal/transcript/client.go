package transcript

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/beevik/etree"
)

// The kinds of target.
const (
	KindTCP       = "tcp"
	KindBOSH      = "bosh"
	KindWebSocket = "websocket"
)

// Target is a server, reached over one transport.
type Target struct {
	// Kind is the transport: "tcp", "bosh" or "websocket".
	Kind string
	// Address is host:port, for tcp.
	Address string
	// URL is the address of the connection manager, for bosh, or of the endpoint
	// (ws: or wss:), for websocket.
	URL string
	// Host is the domain that streams are opened to.
	Host string
	// TLS is the client's configuration. For tcp nil means a plain connection
	// and anything else STARTTLS before authentication; elsewhere URL decides.
	// ServerName defaults to Host.
	TLS *tls.Config
	// DirectTLS shakes hands at once (XEP-0368) instead of STARTTLS.
	DirectTLS bool
	// Timeout bounds each read and write; 5 s by default.
	Timeout time.Duration
	// Wait is how long the server may hold a request of BOSH; 10 s by default.
	Wait time.Duration
	// DialContext makes the connections; net.Dialer by default.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Actions are what scripts call with "do".
	Actions map[string]func(ctx context.Context) error
	// Trace, when set, is given all that goes over the wire, passwords too:
	// elements and headers on tcp, whole bodies on bosh, whole messages on
	// websocket. It is called from several goroutines.
	Trace func(out bool, text string)
}

// Client is one XMPP stream as a client sees it, whatever carries it. Its
// methods are for one goroutine, but Send, SendRaw and End may be called while
// another one waits in Receive.
type Client interface {
	// Open opens the stream to a domain, "" for a header without one, and waits
	// for the server's header; called again it restarts the stream (RFC 6120
	// section 4.3.3). The features come by Receive.
	Open(ctx context.Context, to string) error
	// Send sends complete elements of the client namespace, framed as the
	// transport wants them.
	Send(elements string) error
	// SendRaw sends text as it is, well-formed or not: on the stream, or within
	// one body or frame.
	SendRaw(text string) error
	// Receive returns the next top-level element, with all namespaces it uses
	// declared on it. The features of the stream and stream errors are elements
	// like others. After the end of the stream it returns *End. An error from
	// ctx leaves the client usable.
	Receive(ctx context.Context) (*etree.Element, error)
	// End ends the stream politely. What the server still sends, up to its own
	// end, comes by Receive.
	End() error
	// Drop lets go of the connection: without a word when the stream has not
	// ended, as when a cable is cut.
	Drop() error
}

// TLSStarter is a Client that can turn to TLS in mid-stream. StartTLS is called
// after <proceed/> (RFC 6120 section 5.4.3); the stream must then be opened again.
type TLSStarter interface {
	StartTLS(ctx context.Context) error
}

// End is what Receive returns when the server has ended the stream. It is an
// io.EOF.
type End struct {
	// Condition is the terminal binding condition of XEP-0124 section 17.2, ""
	// without one and on other transports.
	Condition string
	// SeeOtherURI is where the server sends the client instead (RFC 7395 section
	// 3.6.1), "" for nowhere and on other transports.
	SeeOtherURI string
}

// Error tells the condition.
func (e *End) Error() string {
	if e.Condition == "" {
		return "the server ended the stream"
	}
	return "the server ended the stream: " + e.Condition
}

// Is makes an End an io.EOF.
func (e *End) Is(target error) bool { return target == io.EOF }

// errDropped is what a client answers after Drop.
var errDropped = errors.New("transcript: the connection was dropped")

// Dial connects to a target. The stream is not open yet.
func Dial(ctx context.Context, t Target) (Client, error) {
	t = t.withDefaults()
	switch t.Kind {
	case KindTCP:
		return dialTCP(ctx, t)
	case KindBOSH:
		return newBOSH(t), nil
	case KindWebSocket:
		return dialWebSocket(ctx, t)
	}
	return nil, fmt.Errorf("transcript: no transport %q", t.Kind)
}

// Leave ends the stream politely and returns what the server sent before its own
// end.
func Leave(ctx context.Context, c Client) ([]*etree.Element, error) {
	var late []*etree.Element
	err := c.End()
	for err == nil {
		var e *etree.Element
		if e, err = c.Receive(ctx); err == nil {
			late = append(late, e)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return late, errors.Join(err, c.Drop())
}

func (t Target) withDefaults() Target {
	if t.Timeout <= 0 {
		t.Timeout = 5 * time.Second
	}
	if t.Wait <= 0 {
		t.Wait = 10 * time.Second
	}
	if t.DialContext == nil {
		t.DialContext = new(net.Dialer).DialContext
	}
	if t.Trace == nil {
		t.Trace = func(bool, string) {}
	}
	if t.TLS != nil {
		t.TLS = t.TLS.Clone()
		if t.TLS.ServerName == "" {
			t.TLS.ServerName = t.Host
		}
	}
	return t
}
