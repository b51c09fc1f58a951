package tcp

import (
	"crypto/rand"
	"net"
	"time"

	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// link moves a connection's bytes; everything else is the same on all systems.
type link interface {
	// start begins to read, which goes on until received returns false.
	start()
	// tryWrite writes what the peer takes at once, perhaps nothing.
	tryWrite(p []byte) (n int, err error)
}

// conn is one connection: a server.Transport.
//
// It has two sides. The reading side belongs to whoever runs received, one
// goroutine at a time. The writing side belongs to whoever has the outbox's pen.
// When both have ended the connection is closed.
type conn struct {
	a       *Acceptor
	nc      net.Conn
	link    link
	session *server.Session
	out     outbox

	// Of the reading side.
	scan    xmlscan.Scanner
	rest    *buffer // what came of an incomplete element; nil for nothing
	drained int     // bytes that came after the end
	upgrade bool    // TLS comes next
}

var _ server.TLSStarter = (*conn)(nil)

func newConn(a *Acceptor, nc net.Conn) *conn {
	c := &conn{a: a, nc: nc, upgrade: a.cfg.Direct}
	c.scan.Reset()
	c.link = newLink(c)
	return c
}

// Info implements server.Transport.
func (c *conn) Info() server.Info {
	return server.Info{Kind: "tcp", Remote: c.nc.RemoteAddr().String(), Secure: c.out.isSecure()}
}

// Open implements server.Transport.
func (c *conn) Open(h server.StreamHeader) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opened, o.host = true, h.From
	if !o.down() {
		b := c.queued()
		b.b = appendHeader(b.b, h)
	}
}

// Write implements server.Transport.
func (c *conn) Write(el []byte) error {
	full, err := c.enqueue(el)
	if full {
		c.Flush()
	}
	return err
}

// Flush implements server.Transport.
func (c *conn) Flush() {
	if c.out.takePen() {
		c.pump(false)
	}
}

// lingerTime bounds how long a closed connection waits for its peer to take what
// is left and to close its side.
const lingerTime = 2 * time.Second

// Close implements server.Transport. It also bounds what is under way: a write to
// a peer that takes nothing fails when the time is over.
func (c *conn) Close(cl server.Close) {
	o := &c.out
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return
	}
	o.closed = true
	cut := o.failed || o.shaking
	if !cut {
		c.appendEnd(cl)
	}
	o.mu.Unlock()
	if cut {
		closeConn(c.nc) // which ends the sides that have not ended
		return
	}
	if c.nc.SetDeadline(time.Now().Add(lingerTime)) != nil {
		closeConn(c.nc)
	}
	c.Flush()
}

// appendEnd queues the end of the stream. The caller has the lock.
func (c *conn) appendEnd(cl server.Close) {
	o := &c.out
	isError := cl.Condition() != ""
	if !o.opened && !isError {
		return
	}
	b := c.queued()
	if !o.opened {
		// A restarted stream is told about errors like a new one (RFC 6120 section
		// 4.9.1.2).
		b.b = appendHeader(b.b, server.StreamHeader{ID: rand.Text(), From: o.host, Version: "1.0"})
	}
	b.b = cl.AppendError(b.b, false)
	b.b = append(b.b, "</stream:stream>"...)
}

// CanStartTLS implements server.TLSStarter.
func (c *conn) CanStartTLS() bool {
	return c.a.cfg.TLS != nil && !c.a.cfg.Direct && !c.out.isSecure()
}

// StartTLS implements server.TLSStarter. It is called during the session's own
// turn, which feed runs.
func (c *conn) StartTLS() { c.upgrade = true }

// end says that one of the two sides has ended.
func (c *conn) end(side *bool) {
	o := &c.out
	o.mu.Lock()
	was := o.readEnded && o.writeEnded
	*side = true
	over := o.readEnded && o.writeEnded && !was
	o.mu.Unlock()
	if over {
		closeConn(c.nc)
		c.a.forget(c)
	}
}

// closeWriter is what *net.TCPConn has.
type closeWriter interface{ CloseWrite() error }

// endWrite ends the writing side after everything was written. The peer learns it
// at once, and has what was written before this side closes.
func (c *conn) endWrite() {
	if w, ok := c.nc.(closeWriter); ok {
		// A failure means that the peer is gone, which the reading side sees.
		_ = w.CloseWrite()
	} else {
		closeConn(c.nc)
	}
	c.end(&c.out.writeEnded)
}
