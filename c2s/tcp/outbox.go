package tcp

import (
	"sync"

	"rollcall/server"
)

// outbox is what waits for the peer. Who has the pen, and nobody else, takes from
// it and writes; the pen is laid down when nothing is left. All that is queued
// meanwhile goes out in one write.
type outbox struct {
	mu     sync.Mutex // a leaf: no other lock is taken under it
	queue  *buffer    // plain text
	wire   *buffer    // with TLS: cipher text
	moving int        // bytes that were taken and are not written yet
	host   string     // of the last header
	secure *secure    // nil without TLS
	idle   chan struct{}

	pen     bool
	opened  bool // the stream has its header
	closed  bool // by Close: what is queued is the last
	failed  bool // nothing can be written any more
	shaking bool // a TLS handshake has the pen
	sealing bool // the pen seals
	sealed  bool // the end of TLS was said

	readEnded, writeEnded bool
}

// earlyBytes is how much is queued before it goes out without being asked for, so
// that a turn with a lot to say does not fill the outbox of a quick reader.
const earlyBytes = 32 << 10

// strayBytes bounds what TLS itself may say while the peer takes nothing.
const strayBytes = 16 << 10

// down reports whether what is queued now goes nowhere. The caller has the lock.
func (o *outbox) down() bool { return o.closed || o.failed }

func (o *outbox) isClosed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

func (o *outbox) isSecure() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.secure != nil
}

// queued returns the buffer to append to. The caller has the lock.
func (c *conn) queued() *buffer {
	if c.out.queue == nil {
		c.out.queue = c.a.getBuffer()
	}
	return c.out.queue
}

// enqueue queues one element; full means that it is time to write.
func (c *conn) enqueue(el []byte) (full bool, err error) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down() {
		return false, nil
	}
	waits := o.moving + o.queue.len() + o.wire.len()
	if waits > 0 && waits+len(el) > int(c.a.cfg.Limits.OutboxBytes) {
		return false, server.ErrOutboxFull
	}
	b := c.queued()
	b.b = append(b.b, el...)
	return !o.pen && len(b.b) >= earlyBytes, nil
}

// takePen takes the pen if it is free and there is something to write with it.
func (o *outbox) takePen() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pen || o.queue == nil && o.wire == nil && !o.closed {
		return false
	}
	o.pen = true
	return true
}

// pump writes until nothing is left. The caller has the pen, and loses it. With
// wait, pump waits for the peer; without it, a goroutine does.
func (c *conn) pump(wait bool) {
	for {
		b := c.next()
		if b == nil {
			return
		}
		n, err := c.link.tryWrite(b.b)
		if err == nil && n < len(b.b) {
			if !wait {
				go c.finish(b, n)
				return
			}
			_, err = c.nc.Write(b.b[n:])
		}
		c.a.putBuffer(b)
		if err != nil {
			c.broken(err)
			return
		}
	}
}

// finish goes on where pump would have to wait.
func (c *conn) finish(b *buffer, n int) {
	_, err := c.nc.Write(b.b[n:])
	c.a.putBuffer(b)
	if err != nil {
		c.broken(err)
		return
	}
	c.pump(true)
}

// next returns what is to be written now, or nil after it laid down the pen or
// ended the writing side. The caller has the pen.
func (c *conn) next() *buffer {
	o := &c.out
	o.mu.Lock()
	for {
		o.moving = 0
		if o.secure == nil && o.queue != nil {
			return o.takeLocked(&o.queue)
		}
		if o.wire != nil {
			return o.takeLocked(&o.wire)
		}
		if o.secure == nil || o.queue == nil && (!o.closed || o.sealed) {
			break
		}
		if err := c.sealLocked(); err != nil {
			o.mu.Unlock()
			c.broken(err)
			return nil
		}
	}
	last := o.closed
	if !last {
		o.layDown()
	}
	o.mu.Unlock()
	if last {
		c.endWrite()
	}
	return nil
}

// takeLocked empties a place and gives up the lock.
func (o *outbox) takeLocked(place **buffer) *buffer {
	b := *place
	*place = nil
	o.moving = len(b.b)
	o.mu.Unlock()
	return b
}

// sealLocked turns what is queued, or the end of the stream, into cipher text.
// It gives up the lock meanwhile.
func (c *conn) sealLocked() error {
	o := &c.out
	b := o.queue
	o.queue = nil
	o.moving = b.len()
	o.sealing = true
	o.sealed = b == nil
	o.mu.Unlock()
	var err error
	if b != nil {
		_, err = o.secure.tls.Write(b.b)
		c.a.putBuffer(b)
	} else {
		err = o.secure.tls.CloseWrite()
	}
	o.mu.Lock()
	o.sealing = false
	return err
}

// layDown gives the pen back. The caller has the lock.
func (o *outbox) layDown() {
	o.pen = false
	if o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
}

// broken ends the writing side after a write failed. The caller has the pen.
func (c *conn) broken(err error) {
	o := &c.out
	o.mu.Lock()
	o.failed, o.moving = true, 0
	c.a.putBuffer(o.queue)
	c.a.putBuffer(o.wire)
	o.queue, o.wire = nil, nil
	closed := o.closed
	if o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
	o.mu.Unlock()
	if closed {
		closeConn(c.nc) // which ends the reading side
	} else {
		// What the client said before is still taken: the session's close comes back
		// to Close, which cuts.
		c.session.Kick(server.Close{Reason: server.ReasonLost, Cause: err})
	}
	c.end(&o.writeEnded)
}
