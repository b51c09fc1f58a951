package link

import "errors"

// drainBytes bounds what is read after the end only to keep the connection from
// being reset while the peer has not read the last bytes. Who is told much may say
// much before having read that this is the end; the time of Close bounds it anyway.
const drainBytes = 16 << 20

// hasBeginning reports whether there is something to do before the first byte is
// read.
func (c *Conn) hasBeginning() bool {
	return c.upgrade != nil || len(c.early) > 0 || c.out.secure != nil
}

// received takes what was read, which it does not keep, and the error that came
// with it, and reports whether to go on reading. It may wait, for whatever the
// Handler waits for.
func (c *Conn) received(data []byte, err error) bool {
	if c.Closed() {
		c.drained += len(data)
		if err == nil && c.drained <= drainBytes {
			return true
		}
		c.end(&c.out.readEnded)
		return false
	}
	if failure := c.process(data); failure != nil {
		err = failure
	}
	if c.out.detached {
		return false
	}
	if err == nil && c.upgrade != nil && !c.Closed() {
		err = c.handshake()
	}
	if err != nil {
		if !c.Closed() {
			c.h.Received(nil, err)
		}
		if c.out.isShaking() {
			c.end(&c.out.writeEnded) // the handshake that failed has the pen
		}
		c.end(&c.out.readEnded)
		return false
	}
	return !c.out.detached
}

// process takes bytes as they come over the wire, after those that came before.
func (c *Conn) process(data []byte) error {
	if early := c.early; len(early) > 0 {
		c.early = nil
		c.h.Received(early, nil)
	}
	switch {
	case c.out.detached || c.Closed():
	case c.out.secure != nil:
		return c.unseal(c.out.secure, data)
	case len(data) > 0:
		c.h.Received(data, nil)
	}
	return nil
}

// unseal gives the Handler what TLS makes of the data, until TLS needs more.
func (c *Conn) unseal(s *secure, data []byte) error {
	if len(data) > 0 { // otherwise what is left from before Init stays
		s.in = data
	}
	b := c.p.buffers.get(readSize)
	defer c.p.buffers.put(b)
	for {
		n, err := s.tls.Read(b.b[:cap(b.b)])
		if n > 0 {
			c.h.Received(b.b[:n], nil)
		}
		if c.out.detached || c.Closed() {
			return nil // s may be somebody else's by now
		}
		if err != nil {
			c.Flush() // TLS may have something to say of its own
			if errors.Is(err, errWouldBlock) {
				return nil
			}
			return err
		}
	}
}

// ReadMore reads what comes next, and waits for it, until the read deadline. It may
// be called in Received only.
func (c *Conn) ReadMore(p []byte) (int, error) {
	s := c.out.secure
	if s == nil {
		return c.mover.await(c.nc.Read, p)
	}
	s.waits = true
	defer func() { s.waits = false }()
	return c.mover.await(s.tls.Read, p)
}
