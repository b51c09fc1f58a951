package link

import (
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// Handler takes what happens on a connection.
type Handler interface {
	// Received takes what was read, in the clear, which it must not keep; or the
	// error that ended reading, after which it has to close the connection. It is
	// called on one goroutine at a time and not after Close. It may wait.
	Received(data []byte, err error)
	// Sent is told when all that was queued is written.
	Sent()
	// Broken is told once when writing fails, unless the connection was closed
	// before; the Handler has to close it.
	Broken(err error)
	// Shutdown asks once to close the connection, because its Pool stops.
	Shutdown()
	// Ended is told at the very end, once.
	Ended()
}

// Securer is a Handler that wants to know when a connection is encrypted; read
// deadlines from before that are forgotten.
type Securer interface {
	Handler
	Secured()
}

// Conn is one connection.
//
// It has two sides. The reading side belongs to whoever runs received, one
// goroutine at a time. The writing side belongs to whoever has the outbox's pen.
// When both have ended the connection is closed.
type Conn struct {
	p     *Pool
	nc    net.Conn
	mover mover
	h     Handler
	out   outbox

	// Of the reading side.
	early   []byte // came before this Conn took over
	drained int    // bytes that came after the end
	upgrade *tls.Config
}

// HandshakeError says that TLS did not come about.
type HandshakeError struct{ Err error }

func (e *HandshakeError) Error() string { return "TLS handshake: " + e.Err.Error() }
func (e *HandshakeError) Unwrap() error { return e.Err }

// ErrFull says that the peer takes too little of what was queued.
var ErrFull = errors.New("link: outbox full")

// Init prepares c to serve nc, which may come from Detach. Nothing is read before
// Start.
func (c *Conn) Init(p *Pool, nc net.Conn, h Handler) {
	c.p, c.nc, c.h = p, nc, h
	if d, ok := nc.(*Detached); ok {
		c.nc = d.nc
		c.early = d.prefix
		if s := d.secure; s != nil {
			s.c, s.direct = c, false
			c.out.secure = s
		}
	}
	c.mover = newMover(c, c.nc)
}

// StartTLS has the connection shake hands before the next byte is read: called
// before Start, or in Received, whose caller then forgets what was read ahead.
func (c *Conn) StartTLS(config *tls.Config) { c.upgrade = config }

// Start begins to read; early was read already. When the Pool is stopped the Handler
// is told so at once. When it is closed nothing is read, and Start returns false.
func (c *Conn) Start(early []byte) bool {
	if len(early) > 0 {
		c.early = append(append([]byte(nil), early...), c.early...)
	}
	stopped, closed := c.p.add(c)
	if closed {
		c.end(&c.out.readEnded)
	} else {
		c.mover.start()
	}
	if stopped {
		c.h.Shutdown()
	}
	return !closed
}

// Handler is who takes what happens.
func (c *Conn) Handler() Handler { return c.h }

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Secure reports whether the connection is encrypted.
func (c *Conn) Secure() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.secure != nil
}

// Closed reports whether Close was called.
func (c *Conn) Closed() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.closed
}

// SetReadDeadline bounds the wait for the next bytes; the zero time is for ever.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.mover.bound(t) }

// Queue queues the parts, which it copies, as one piece. flush means that it is
// time to call Flush before more is queued. It returns ErrFull when more than
// OutboxBytes would wait; one piece of any length may where next to nothing does.
// What is queued after the end goes nowhere.
func (c *Conn) Queue(parts ...[]byte) (flush bool, err error) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down() {
		return false, nil
	}
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	waits := o.moving + o.queue.len() + o.wire.len()
	if limit := c.p.cfg.OutboxBytes; waits > limit/32 && waits+size > limit {
		return false, ErrFull
	}
	c.queueLocked(parts...)
	return !o.pen && len(o.queue.b) >= earlyBytes, nil
}

// Flush sends what was queued, now or as soon as the peer takes it. It does not
// wait for the peer.
func (c *Conn) Flush() {
	if c.out.takePen() {
		c.pump(false)
	}
}

// Close sends what was queued, then final, then the end of the connection, for
// which it gives the peer the time linger: it also bounds what is under way, and
// how long the peer may take to end its own side. Later calls do nothing, nor does one
// after Detach.
func (c *Conn) Close(final []byte, linger time.Duration) {
	o := &c.out
	o.mu.Lock()
	if o.closed || o.detached {
		o.mu.Unlock()
		return
	}
	o.closed = true
	cut := o.failed || o.shaking
	if !cut && len(final) > 0 {
		c.queueLocked(final)
	}
	o.mu.Unlock()
	if cut {
		c.Cut() // which ends the sides that have not ended
		return
	}
	at := time.Now().Add(linger)
	if c.mover.bound(at) != nil || c.nc.SetDeadline(at) != nil {
		c.Cut()
	}
	c.Flush()
}

// Cut closes the connection without a word. The Handler learns it as an error of
// reading or writing. After Detach it does nothing.
func (c *Conn) Cut() {
	c.out.mu.Lock()
	detached := c.out.detached
	c.out.cut = !detached // from now on nobody can take it over
	c.out.mu.Unlock()
	if !detached {
		closeConn(c.nc)
		c.mover.noticeCut()
	}
}

// end says that one of the two sides has ended.
func (c *Conn) end(side *bool) {
	o := &c.out
	o.mu.Lock()
	was := o.readEnded && o.writeEnded
	*side = true
	over := o.readEnded && o.writeEnded && !was
	o.mu.Unlock()
	if over {
		closeConn(c.nc)
		c.p.forget(c)
		c.h.Ended()
	}
}

// closeWriter is what *net.TCPConn has.
type closeWriter interface{ CloseWrite() error }

// endWrite ends the writing side after everything was written. The peer learns it
// at once, and has what was written before this side closes.
func (c *Conn) endWrite() {
	if w, ok := c.nc.(closeWriter); ok {
		// A failure means that the peer is gone, which the reading side sees.
		_ = w.CloseWrite()
	} else {
		closeConn(c.nc)
	}
	c.end(&c.out.writeEnded)
}
