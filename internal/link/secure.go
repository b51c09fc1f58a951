package link

import (
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// secure is the connection under TLS, as crypto/tls sees it. During the handshake,
// and for who detached it, it is the connection itself. Otherwise neither side ever
// waits: reading takes what arrived, and a temporary error, which crypto/tls takes
// without losing its place, says that there is no more; writing goes to the outbox,
// whole, because a write that failed half-way cannot be tried again.
type secure struct {
	net.Conn
	c      *Conn
	tls    *tls.Conn
	in     []byte // arrived and not taken yet
	waits  bool   // reading waits for the peer
	direct bool   // this is the connection itself, in both directions
}

// wouldBlock is a temporary net.Error.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "link: no more bytes for now" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

var errWouldBlock net.Error = wouldBlock{}

var errTakesNothing = errors.New("link: the peer takes nothing and makes TLS answer")

// Read implements net.Conn.
func (s *secure) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		if s.direct || s.waits {
			return s.Conn.Read(p)
		}
		return 0, errWouldBlock
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

// Write implements net.Conn.
func (s *secure) Write(p []byte) (int, error) {
	if s.direct {
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
	o.wire = s.c.p.buffers.append(o.wire, p)
	return len(p), nil
}

// SetWriteDeadline implements net.Conn. crypto/tls sets one when it says goodbye;
// the outbox has its own.
func (s *secure) SetWriteDeadline(t time.Time) error {
	if s.direct {
		return s.Conn.SetWriteDeadline(t)
	}
	return nil
}

// handshake turns the connection to TLS. It waits for the peer.
func (c *Conn) handshake() error {
	config := c.upgrade
	c.upgrade = nil
	if !c.out.seizePen(&c.out.shaking) {
		return nil // the connection is on its way down already
	}
	s := &secure{Conn: c.nc, c: c, direct: true}
	err := c.nc.SetDeadline(time.Now().Add(c.p.cfg.HandshakeTime))
	if err == nil {
		s.tls = tls.Server(s, config)
		err = s.tls.Handshake()
	}
	if err == nil {
		err = errors.Join(c.nc.SetDeadline(time.Time{}), c.mover.bound(time.Time{}))
	}
	s.direct = false
	if err == nil && !c.out.becomeSecure(s) {
		err = net.ErrClosed
	}
	if err != nil {
		return &HandshakeError{err}
	}
	if h, ok := c.h.(Securer); ok {
		h.Secured()
	}
	c.Flush()
	return c.unseal(s, nil)
}

// seizePen waits until everything is written and takes the pen for what use names.
// False means that the connection is on its way down. Only the reading side waits.
func (o *outbox) seizePen(use *bool) bool {
	for {
		o.mu.Lock()
		if o.down() {
			o.mu.Unlock()
			return false
		}
		if !o.pen {
			o.pen, *use = true, true
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
	o.pen = false
	return true
}

func (o *outbox) isShaking() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.shaking
}
