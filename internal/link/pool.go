// Package link moves the bytes of connections, with TLS or without, for whoever
// knows what they mean.
//
// An idle connection holds no goroutine and no buffer: one goroutine waits for all of
// a Pool's connections, and hands those that have bytes to workers, who read them and
// give them to the connection's Handler. See mover_linux.go; other systems have a
// goroutine with a buffer for each connection.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"rollcall/internal/workers"
)

// Config says how connections are served.
type Config struct {
	// OutboxBytes is how much may wait for a slow reader.
	OutboxBytes int
	// HandshakeTime is how long a TLS handshake may take.
	HandshakeTime time.Duration
	// WriteTime is how long the peer may take for what waits when it stops to take
	// everything at once; 0 is for ever.
	WriteTime time.Duration
	// Portable uses a goroutine and a buffer for each connection also where there
	// is something better.
	Portable bool
	Log      *slog.Logger
}

// Pool serves connections that share buffers and workers. Its methods are safe for
// concurrent use.
type Pool struct {
	cfg      Config
	workers  *workers.Pool
	buffers  buffers
	attempts sync.Pool // of *attempt

	closing chan struct{} // closed by Stop
	gone    chan struct{} // closed when the last connection is gone after Close

	mu        sync.Mutex
	stopped   bool // by Stop: new connections are told to close
	closed    bool // by Close: there are no new ones
	listeners map[net.Listener]struct{}
	conns     map[*Conn]struct{}
	poller    *poller // made for the first connection that needs it
}

// idleWorkers is how many workers are kept for the next bytes to arrive.
const idleWorkers = 64

// New returns a Pool.
func New(c Config) *Pool {
	return &Pool{
		cfg: c, workers: workers.New(idleWorkers),
		closing:   make(chan struct{}),
		gone:      make(chan struct{}),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*Conn]struct{}),
	}
}

// The pauses after failures to accept.
const (
	firstPause = 5 * time.Millisecond
	longPause  = time.Second
)

// Serve accepts connections until the Pool or ln is closed, and then returns nil.
// Failures to accept, for example because there are no file descriptors left, are
// logged, and tried again after a while.
func (p *Pool) Serve(ln net.Listener, accept func(net.Conn)) error {
	if !p.listen(ln) {
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
	defer p.unlisten(ln)
	pause := firstPause
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			keepAlive(nc)
			accept(nc)
			pause = firstPause
			continue
		case errors.Is(err, net.ErrClosed):
			return nil
		}
		p.cfg.Log.Warn("accept", "err", err, "address", ln.Addr().String(), "again in", pause.String())
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-p.closing:
			timer.Stop()
			return nil
		}
		pause = min(2*pause, longPause)
	}
}

// keepAlive has the system look for peers that vanish while nobody has anything to
// say to them. The net package's own settings would wake a phone's radio four times a
// minute.
func keepAlive(nc net.Conn) {
	if tc, ok := nc.(*net.TCPConn); ok {
		// A failure means that the peer is gone, which reading will tell.
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: 5 * time.Minute, Interval: time.Minute, Count: 5,
		})
	}
}

func (p *Pool) listen(ln net.Listener) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.listeners[ln] = struct{}{}
	}
	return !p.stopped
}

func (p *Pool) unlisten(ln net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.listeners, ln)
}

// add makes a connection known, or reports that it came too late. With stopped its
// Handler has to be told.
func (p *Pool) add(c *Conn) (stopped, closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.conns[c] = struct{}{}
	}
	return p.stopped, p.closed
}

// forget is called for a connection that is gone.
func (p *Pool) forget(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.conns[c]; !known {
		return
	}
	delete(p.conns, c)
	if p.closed && len(p.conns) == 0 {
		close(p.gone)
	}
}

// Stop stops accepting, and has every Handler end its connection.
func (p *Pool) Stop() error {
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return nil
	}
	p.stopped = true
	close(p.closing)
	var errs []error
	for ln := range p.listeners {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	open := p.openLocked() // Start tells those that come later
	p.mu.Unlock()
	for _, c := range open {
		c.h.Shutdown()
	}
	return errors.Join(errs...)
}

// Close does what Stop does, and waits until all connections are gone. When ctx ends
// those that are left are cut, and the error says how many. What is started from now
// on is refused.
func (p *Pool) Close(ctx context.Context) error {
	err := p.Stop()
	p.close()
	defer p.release()
	select {
	case <-p.gone:
		return err
	case <-ctx.Done():
	}
	left := p.Open()
	for _, c := range left {
		c.Cut()
	}
	if len(left) == 0 {
		return err
	}
	return errors.Join(err, fmt.Errorf("link: %d connections were cut: %w", len(left), ctx.Err()))
}

// release ends what all connections used.
func (p *Pool) release() {
	p.workers.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.poller != nil {
		p.poller.close()
	}
}

func (p *Pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		if len(p.conns) == 0 {
			close(p.gone)
		}
	}
}

// Run has a worker do j, and does not wait for anything.
func (p *Pool) Run(j workers.Job) { p.workers.Run(j) }

// Open lists the connections.
func (p *Pool) Open() []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.openLocked()
}

func (p *Pool) openLocked() []*Conn {
	list := make([]*Conn, 0, len(p.conns))
	for c := range p.conns {
		list = append(list, c)
	}
	return list
}

// closeConn closes a connection for good.
func closeConn(nc net.Conn) {
	// There is nobody to tell: the descriptor is free, whatever the answer.
	_ = nc.Close()
}
