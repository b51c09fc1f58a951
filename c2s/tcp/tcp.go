// Package tcp is the transport of RFC 6120: XMPP over TCP, with STARTTLS (section
// 5) or TLS from the first byte (XEP-0368). Package link moves the bytes.
package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"

	"rollcall/conf"
	"rollcall/internal/link"
	"rollcall/server"
)

// Config says how connections are served.
type Config struct {
	Listener server.Listener
	// TLS is what certificates come from; nil means that there is no TLS.
	TLS *tls.Config
	// Direct starts TLS before the stream (XEP-0368). ALPN is answered with
	// "xmpp-client" when TLS names no protocols.
	Direct bool
	// Limits bounds what a client may cost: LoginTime also bounds a TLS
	// handshake, OutboxBytes what waits for a slow reader.
	Limits conf.Limits
	Log    *slog.Logger
	// Portable is as in link.Config.
	Portable bool
}

// Acceptor accepts connections and serves them. Its methods are safe for
// concurrent use.
type Acceptor struct {
	srv     *server.Server
	cfg     Config
	pool    *link.Pool
	readers sync.Pool // of *reader
}

var errNoTLS = errors.New("tcp: direct TLS needs a TLS configuration")

// New returns an Acceptor for a server.
func New(srv *server.Server, c Config) *Acceptor {
	if c.Direct && c.TLS != nil && len(c.TLS.NextProtos) == 0 {
		c.TLS = c.TLS.Clone()
		c.TLS.NextProtos = []string{"xmpp-client"} // XEP-0368 section 3
	}
	return &Acceptor{
		srv: srv, cfg: c,
		pool: link.New(link.Config{
			OutboxBytes: int(c.Limits.OutboxBytes), HandshakeTime: c.Limits.LoginTime,
			Portable: c.Portable, Log: c.Log,
		}),
		readers: sync.Pool{New: func() any { return new(reader) }},
	}
}

// Serve accepts connections until the Acceptor or ln is closed, and then returns
// nil. Failures to accept, for example because there are no file descriptors
// left, are logged, and tried again after a while.
func (a *Acceptor) Serve(ln net.Listener) error {
	if a.cfg.Direct && a.cfg.TLS == nil {
		return errNoTLS
	}
	return a.pool.Serve(ln, a.take)
}

// take starts to serve a connection.
func (a *Acceptor) take(nc net.Conn) {
	c := &conn{a: a}
	c.link.Init(a.pool, nc, c)
	if a.cfg.Direct {
		c.link.StartTLS(a.cfg.TLS)
	}
	c.session = a.srv.NewSession(c, &a.cfg.Listener)
	c.link.Start(nil)
}

// Close stops accepting and waits until every connection is gone. The server's
// Shutdown, which should come before, closes them; those that came too late for
// it are told system-shutdown here. When ctx ends the connections that are left
// are cut, and the error says how many.
func (a *Acceptor) Close(ctx context.Context) error { return a.pool.Close(ctx) }
