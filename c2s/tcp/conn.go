package tcp

import (
	"crypto/rand"
	"errors"
	"time"

	"rollcall/internal/link"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// conn is one connection: a server.Transport and a link.Handler. It belongs to the
// session's turn.
type conn struct {
	a       *Acceptor
	link    link.Conn
	session *server.Session
	host    string        // of the last header that was sent
	root    *xmlscan.Root // of the stream, as long as partial is nil
	partial *reader       // of an element that has begun; nil between elements
	opened  bool          // the stream has its header
	upgrade bool          // TLS comes next
}

var (
	_ server.TLSStarter = (*conn)(nil)
	_ link.Handler      = (*conn)(nil)
)

// Info implements server.Transport.
func (c *conn) Info() server.Info {
	return server.Info{Kind: "tcp", Remote: c.link.RemoteAddr().String(), Secure: c.link.Secure(), Manageable: true}
}

// Open implements server.Transport.
func (c *conn) Open(h server.StreamHeader) {
	c.opened, c.host = true, h.From
	// A header does not count against a slow reader: nothing else was said yet.
	var buf [512]byte
	_, _ = c.link.Queue(appendHeader(buf[:0], h))
}

// Write implements server.Transport.
func (c *conn) Write(el []byte) error {
	flush, err := c.link.Queue(el)
	if err != nil {
		return server.ErrOutboxFull
	}
	if flush {
		c.link.Flush()
	}
	return nil
}

// Flush implements server.Transport.
func (c *conn) Flush() { c.link.Flush() }

// lingerTime bounds how long a closed connection waits for its peer to take what
// is left and to close its side.
const lingerTime = 2 * time.Second

// Close implements server.Transport. It also bounds what is under way: a write to
// a peer that takes nothing fails when the time is over.
func (c *conn) Close(cl server.Close) {
	var buf [512]byte
	c.link.Close(c.appendEnd(buf[:0], cl), lingerTime)
}

// appendEnd appends the end of the stream.
func (c *conn) appendEnd(dst []byte, cl server.Close) []byte {
	if cl.Cut {
		return dst
	}
	isError := cl.Condition() != ""
	if !c.opened {
		if !isError {
			return dst
		}
		// A restarted stream is told about errors like a new one (RFC 6120 section
		// 4.9.1.2).
		dst = appendHeader(dst, server.StreamHeader{ID: rand.Text(), From: c.host, Version: "1.0"})
	}
	dst = cl.AppendError(dst, false)
	return append(dst, "</stream:stream>"...)
}

// CanStartTLS implements server.TLSStarter.
func (c *conn) CanStartTLS() bool {
	return c.a.cfg.TLS != nil && !c.a.cfg.Direct && !c.link.Secure()
}

// StartTLS implements server.TLSStarter. It is called during the session's own
// turn, which feed runs.
func (c *conn) StartTLS() {
	c.upgrade = true
	c.link.StartTLS(c.a.cfg.TLS)
}

// Received implements link.Handler.
func (c *conn) Received(data []byte, err error) {
	if err == nil {
		c.feed(data)
		return
	}
	c.partial = nil
	reason := server.ReasonLost
	var failed *link.HandshakeError
	if errors.As(err, &failed) {
		reason = server.ReasonTLS
	}
	turn := c.session.Begin()
	defer turn.End()
	turn.Close(server.Close{Reason: reason, Cause: err})
}

// Sent implements link.Handler.
func (c *conn) Sent() {}

// Broken implements link.Handler. What the client said before is still taken: the
// session's close comes back to Close.
func (c *conn) Broken(err error) {
	c.session.Broken(server.Close{Reason: server.ReasonLost, Cause: err})
}

// Shutdown implements link.Handler.
func (c *conn) Shutdown() {
	if !c.link.Closed() {
		c.session.Broken(server.Close{Reason: server.ReasonShutdown})
	}
}

// Ended implements link.Handler.
func (c *conn) Ended() {}
