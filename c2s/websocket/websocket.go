// Package websocket is the transport of RFC 7395: XMPP over WebSocket (RFC 6455), one
// element per message.
//
// Acceptor is the HTTP edge, which turns a request into a connection. frame.go reads
// frames, out of whatever pieces they come in; feed.go gives what they say to the
// session; conn.go is the server.Transport that the core sees. An idle connection holds
// no buffer, see internal/link.
package websocket

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/gobwas/httphead"

	"rollcall/conf"
	"rollcall/internal/forwarded"
	"rollcall/internal/link"
	"rollcall/server"
)

// Config says how connections are served.
type Config struct {
	// Origins are those whose pages may connect, apart from the server's own and from
	// clients that name none: such as "https://example.com", in lower case, or "*" for
	// any.
	Origins []string
	// TrustedProxies may say whose a request is and that it came encrypted.
	TrustedProxies []netip.Prefix
	// PingInterval is the silence of a client after which it is asked whether it is
	// still there; 0 for never. PingTimeout is the time it has to say anything.
	PingInterval, PingTimeout time.Duration
	// SeeOtherURI is where new clients are sent instead of being served (RFC 7395
	// section 3.6.1); empty for nowhere.
	SeeOtherURI string
	// Compression accepts permessage-deflate (RFC 7692) from clients that offer it,
	// without context between messages. It had better be off. Most stanzas are too
	// short to gain from it. To compress one of 300 bytes takes 14 us of CPU time, more
	// than twice as long as all the rest. With context it would gain more, but every
	// connection would then keep 0.8 to 1.2 MB to write with and 40 KB to read with.
	// And where a secret and an attacker's text are compressed together, the length
	// tells about the secret, TLS or not (CRIME, BREACH).
	Compression bool
	// Bench serves load generators that speak drafts of RFC 7395, such as tsung: no
	// subprotocol, binary frames, <stream:stream> without an end in a frame of its own,
	// elements without a namespace, an Origin that is just a name. Every frame is
	// written by itself, and there are no pings.
	Bench bool
	// Portable uses a goroutine and a buffer for each connection.
	Portable bool
	Limits   conf.Limits
	Log      *slog.Logger
}

// Acceptor accepts connections at whatever path it is registered under. Its methods are
// safe for concurrent use.
type Acceptor struct {
	srv      *server.Server
	listener server.Listener
	cfg      Config
	entrance entrance
	watchdog
	pool    *link.Pool
	readers sync.Pool // of *reader
	packers sync.Pool // of *packer
}

// New returns an Acceptor for a server.
func New(srv *server.Server, l server.Listener, c Config) *Acceptor {
	if c.Bench {
		c.PingInterval, l.NoPings = 0, true
	}
	a := &Acceptor{
		srv: srv, listener: l, cfg: c,
		pool: link.New(link.Config{
			OutboxBytes: int(c.Limits.OutboxBytes), HandshakeTime: c.Limits.LoginTime,
			Portable: c.Portable, Log: c.Log,
		}),
		readers: sync.Pool{New: func() any { return new(reader) }},
		packers: sync.Pool{New: func() any { return new(packer) }},
	}
	a.watch()
	return a
}

// Close answers new handshakes 503, and waits until those under way are done and every
// connection is gone. The server's Shutdown, which should come before, closes them;
// those that came too late for it are told system-shutdown here. When ctx ends the
// connections that are left are cut, and the error says how many.
func (a *Acceptor) Close(ctx context.Context) error {
	err := errors.Join(a.entrance.close(ctx), a.pool.Close(ctx))
	a.unwatch()
	return err
}

// subprotocol is the one of RFC 7395 section 3.1.
const subprotocol = "xmpp"

// ServeHTTP implements http.Handler. Requests that are no handshake of RFC 6455 section
// 4.2.1 are answered 400, 405 or 426, those without the subprotocol "xmpp" 400, those
// from pages of other origins 403, and all after Close 503.
func (a *Acceptor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if refused := a.refusal(r); refused != nil {
		a.cfg.Log.Debug("handshake refused", "remote", r.RemoteAddr, "method", r.Method, "origin", r.Header.Get("Origin"), "status", refused.status)
		refused.write(w)
		return
	}
	if !a.entrance.enter() {
		http.Error(w, "The server is shutting down.", http.StatusServiceUnavailable)
		return
	}
	defer a.entrance.leave()
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		a.cfg.Log.Debug("handshake", "err", err, "remote", r.RemoteAddr)
		http.Error(w, "The connection cannot become a WebSocket.", http.StatusInternalServerError)
		return
	}
	// What the client sent ahead is in the buffer, which is given up.
	early, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err != nil {
		a.cfg.Log.Error("handshake", "err", err, "remote", r.RemoteAddr) // as many are there
	}
	a.begin(nc, r, early)
}

// Upgrade implements front.Upgrader: it takes handshakes without net/http, which makes
// 12 KB of garbage for each connection that leaves it. What is to be refused is left to
// ServeHTTP.
func (a *Acceptor) Upgrade(r *http.Request, detach func() (net.Conn, bool)) bool {
	if a.refusal(r) != nil || !a.entrance.enter() {
		return false
	}
	defer a.entrance.leave()
	if nc, ok := detach(); ok {
		a.begin(nc, r, nil)
	}
	return true
}

// begin answers a handshake and begins a session; early came after the request.
func (a *Acceptor) begin(nc net.Conn, r *http.Request, early []byte) {
	if err := nc.SetDeadline(time.Time{}); err != nil { // those of HTTP
		a.cfg.Log.Debug("handshake", "err", err, "remote", r.RemoteAddr)
		// Nobody is there to be told that closing failed.
		_ = nc.Close()
		return
	}
	c := &conn{a: a, awaits: true}
	c.remote, c.secure = forwarded.Proxies(a.cfg.TrustedProxies).Client(r)
	if c.remote == r.RemoteAddr {
		c.remote = ""
	}
	var extensions []httphead.Option
	if a.cfg.Compression {
		extensions, _ = agree(r.Header[extensionsHeader]) // refusal saw it
	}
	c.deflate = len(extensions) > 0
	var buf [512]byte
	c.serve(nc, early, appendAnswer(buf[:0], r, extensions))
}

// serve begins a session on a connection, where answer is the first thing to be sent;
// early came over it already.
func (c *conn) serve(nc net.Conn, early, answer []byte) {
	c.link.Init(c.a.pool, nc, c)
	c.secure = c.secure || c.link.Secure()
	c.heard.Store(c.a.clock.Load())
	// Nothing else waits there, and it fits.
	_, _ = c.link.Queue(answer)
	c.session = c.a.srv.NewSession(c, &c.a.listener)
	if c.link.Start(early) {
		c.link.Flush()
	}
}
