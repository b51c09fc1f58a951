package tcp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// secure is the connection under TLS, as crypto/tls sees it. During the handshake
// it is the connection itself. After it, neither side ever waits: reading takes
// what arrived, and a temporary error, which crypto/tls takes without losing its
// place, says that there is no more; writing goes to the outbox, whole, because a
// write that failed half-way cannot be tried again.
type secure struct {
	net.Conn
	c       *conn
	tls     *tls.Conn
	in      []byte // arrived and not taken yet
	shaking bool
}

// wouldBlock is a temporary net.Error.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "tcp: no more bytes for now" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

var errWouldBlock net.Error = wouldBlock{}

var errTakesNothing = errors.New("tcp: the peer takes nothing and makes TLS answer")

// Read implements net.Conn.
func (s *secure) Read(p []byte) (int, error) {
	if s.shaking {
		return s.Conn.Read(p)
	}
	if len(s.in) == 0 {
		return 0, errWouldBlock
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

// Write implements net.Conn.
func (s *secure) Write(p []byte) (int, error) {
	if s.shaking {
		return s.Conn.Write(p)
	}
	o := &s.c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed {
		return 0, net.ErrClosed
	}
	if !o.sealing && o.wire.len()+len(p) > strayBytes {
		return 0, errTakesNothing
	}
	if o.wire == nil {
		o.wire = s.c.a.getBuffer()
	}
	o.wire.b = append(o.wire.b, p...)
	return len(p), nil
}

// SetWriteDeadline implements net.Conn. crypto/tls sets one when it says goodbye;
// the outbox has its own.
func (s *secure) SetWriteDeadline(time.Time) error { return nil }

// handshakeError says that TLS did not come about.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return fmt.Sprintf("tcp: TLS handshake: %v", e.err) }
func (e *handshakeError) Unwrap() error { return e.err }

// handshake turns the connection to TLS. It waits for the peer, for as long as
// the login may take.
func (c *conn) handshake() error {
	c.upgrade = false
	if !c.out.seizePen() {
		return nil // the connection is on its way down already
	}
	s := &secure{Conn: c.nc, c: c, shaking: true}
	err := c.nc.SetDeadline(time.Now().Add(c.a.cfg.Limits.LoginTime))
	if err == nil {
		s.tls = tls.Server(s, c.a.cfg.TLS)
		err = s.tls.Handshake()
	}
	if err == nil {
		err = c.nc.SetDeadline(time.Time{})
	}
	s.shaking = false
	if err == nil && !c.out.becomeSecure(s) {
		err = net.ErrClosed
	}
	if err != nil {
		return &handshakeError{err}
	}
	c.Flush()
	return c.unseal(s, nil)
}

// seizePen waits until everything is written and takes the pen for a handshake.
// False means that the connection is on its way down.
func (o *outbox) seizePen() bool {
	for {
		o.mu.Lock()
		if o.down() {
			o.mu.Unlock()
			return false
		}
		if !o.pen {
			o.pen, o.shaking = true, true
			o.mu.Unlock()
			return true
		}
		if o.idle == nil {
			o.idle = make(chan struct{})
		}
		idle := o.idle
		o.mu.Unlock()
		<-idle
	}
}

// becomeSecure ends a handshake. False means that the connection was cut
// meanwhile; the pen stays where it is.
func (o *outbox) becomeSecure(s *secure) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down() {
		return false
	}
	o.shaking = false
	o.secure = s
	o.layDown()
	return true
}

func (o *outbox) isShaking() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shaking
}
