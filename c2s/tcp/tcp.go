// Package tcp is the transport of RFC 6120: XMPP over TCP, with STARTTLS (section
// 5) or TLS from the first byte (XEP-0368).
//
// An idle connection holds one parked goroutine and no buffer. When bytes arrive
// the goroutine hands them to a worker and ends; the worker runs the session's
// turn over them and parks a fresh goroutine, whose stack is small again. See
// link_unix.go; other systems have a goroutine with a buffer for each connection.
package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"rollcall/conf"
	"rollcall/internal/workers"
	"rollcall/internal/xmlscan"
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
}

// Acceptor accepts connections and serves them. Its methods are safe for
// concurrent use.
type Acceptor struct {
	srv *server.Server
	cfg Config

	workers  *workers.Pool
	buffers  sync.Pool // of *buffer
	elements sync.Pool // of *xmlscan.Element
	attempts sync.Pool // of *attempt
	simple   bool      // never use the lean link

	closing chan struct{} // closed by Close
	gone    chan struct{} // closed when the last connection is gone after that

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
}

// idleWorkers is how many workers are kept for the next bytes to arrive.
const idleWorkers = 64

var errNoTLS = errors.New("tcp: direct TLS needs a TLS configuration")

// New returns an Acceptor for a server.
func New(srv *server.Server, c Config) *Acceptor {
	if c.Direct && c.TLS != nil && len(c.TLS.NextProtos) == 0 {
		c.TLS = c.TLS.Clone()
		c.TLS.NextProtos = []string{"xmpp-client"} // XEP-0368 section 3
	}
	return &Acceptor{
		srv: srv, cfg: c, workers: workers.New(idleWorkers),
		buffers:   sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, bufferSize)} }},
		elements:  sync.Pool{New: func() any { return new(xmlscan.Element) }},
		closing:   make(chan struct{}),
		gone:      make(chan struct{}),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*conn]struct{}),
	}
}

// The pauses after failures to accept.
const (
	firstPause = 5 * time.Millisecond
	longPause  = time.Second
)

// Serve accepts connections until the Acceptor or ln is closed, and then returns
// nil. Failures to accept, for example because there are no file descriptors
// left, are logged, and tried again after a while.
func (a *Acceptor) Serve(ln net.Listener) error {
	if a.cfg.Direct && a.cfg.TLS == nil {
		return errNoTLS
	}
	if !a.listen(ln) {
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
	defer a.unlisten(ln)
	pause := firstPause
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			a.take(nc)
			pause = firstPause
			continue
		case errors.Is(err, net.ErrClosed):
			return nil
		}
		a.cfg.Log.Warn("accept", "err", err, "address", ln.Addr().String(), "again in", pause.String())
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-a.closing:
			timer.Stop()
			return nil
		}
		pause = min(2*pause, longPause)
	}
}

func (a *Acceptor) listen(ln net.Listener) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.listeners[ln] = struct{}{}
	}
	return !a.closed
}

func (a *Acceptor) unlisten(ln net.Listener) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.listeners, ln)
}

// take starts to serve a connection.
func (a *Acceptor) take(nc net.Conn) {
	if tc, ok := nc.(*net.TCPConn); ok {
		// For clients that vanish while nobody has anything to say to them: the net
		// package's own settings would wake a phone's radio four times a minute. A
		// failure means that the peer is gone, which reading will tell.
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: 5 * time.Minute, Interval: time.Minute, Count: 5,
		})
	}
	c := newConn(a, nc)
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		closeConn(nc)
		return
	}
	a.conns[c] = struct{}{}
	c.session = a.srv.NewSession(c, &a.cfg.Listener)
	a.mu.Unlock()
	c.link.start()
}

// forget is called by a connection that is gone.
func (a *Acceptor) forget(c *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, c)
	if a.closed && len(a.conns) == 0 {
		close(a.gone)
	}
}

// Close stops accepting and waits until every connection is gone. The server's
// Shutdown, which should come before, closes them; those that came too late for
// it are told system-shutdown here. When ctx ends the connections that are left
// are cut, and the error says how many.
func (a *Acceptor) Close(ctx context.Context) error {
	err := a.stop()
	defer a.workers.Close()
	for _, c := range a.open() {
		if !c.out.isClosed() {
			c.session.Kick(server.Close{Reason: server.ReasonShutdown})
		}
	}
	select {
	case <-a.gone:
		return err
	case <-ctx.Done():
	}
	left := a.open()
	for _, c := range left {
		closeConn(c.nc)
	}
	if len(left) == 0 {
		return err
	}
	return errors.Join(err, fmt.Errorf("tcp: %d connections were cut: %w", len(left), ctx.Err()))
}

// stop closes the listeners.
func (a *Acceptor) stop() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	close(a.closing)
	if len(a.conns) == 0 {
		close(a.gone)
	}
	var errs []error
	for ln := range a.listeners {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (a *Acceptor) open() []*conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]*conn, 0, len(a.conns))
	for c := range a.conns {
		list = append(list, c)
	}
	return list
}

// closeConn closes a connection for good.
func closeConn(nc net.Conn) {
	// There is nobody to tell: the descriptor is free, whatever the answer.
	_ = nc.Close()
}
