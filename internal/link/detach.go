package link

import (
	"bytes"
	"crypto/tls"
	"net"
	"time"
)

// Detached is a connection in the hands of who waits for it as usual, until
// another Conn's Init takes it back.
type Detached struct {
	nc     net.Conn
	secure *secure // nil without TLS
	prefix []byte  // was read already
}

var _ net.Conn = (*Detached)(nil)

// Detach takes the connection away from c and its Pool, after what was queued is
// written: c's Handler hears nothing more, but perhaps a Sent that is on its way, and
// Close and Cut do nothing. unread was given to Received and not used. It may be called in Received
// only. False means that the connection is on its way down, and stays.
func (c *Conn) Detach(unread []byte) (d *Detached, ok bool) {
	c.Flush()
	if !c.out.seizePen(&c.out.detached) {
		return nil, false
	}
	c.mover.leave()
	c.p.forget(c)
	d = &Detached{nc: c.nc, prefix: bytes.Clone(unread)}
	if s := c.out.secure; s != nil {
		s.in = bytes.Clone(s.in)
		s.direct = true
		d.secure = s
	}
	return d, true
}

// TLS describes the encryption, if there is any.
func (d *Detached) TLS() *tls.ConnectionState {
	if d.secure == nil {
		return nil
	}
	state := d.secure.tls.ConnectionState()
	return &state
}

// plain is what carries bytes in the clear.
func (d *Detached) plain() net.Conn {
	if d.secure != nil {
		return d.secure.tls
	}
	return d.nc
}

// Read implements net.Conn.
func (d *Detached) Read(p []byte) (int, error) {
	if len(d.prefix) == 0 {
		return d.plain().Read(p)
	}
	n := copy(p, d.prefix)
	if d.prefix = d.prefix[n:]; len(d.prefix) == 0 {
		d.prefix = nil // an idle connection does not hold on to it
	}
	return n, nil
}

// Write implements net.Conn.
func (d *Detached) Write(p []byte) (int, error) { return d.plain().Write(p) }

// Close implements net.Conn.
func (d *Detached) Close() error { return d.plain().Close() }

// CloseWrite shuts down the writing side.
func (d *Detached) CloseWrite() error {
	if w, ok := d.plain().(closeWriter); ok {
		return w.CloseWrite()
	}
	return d.Close()
}

// LocalAddr implements net.Conn.
func (d *Detached) LocalAddr() net.Addr { return d.nc.LocalAddr() }

// RemoteAddr implements net.Conn.
func (d *Detached) RemoteAddr() net.Addr { return d.nc.RemoteAddr() }

// SetDeadline implements net.Conn.
func (d *Detached) SetDeadline(t time.Time) error { return d.nc.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (d *Detached) SetReadDeadline(t time.Time) error { return d.nc.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (d *Detached) SetWriteDeadline(t time.Time) error { return d.nc.SetWriteDeadline(t) }
