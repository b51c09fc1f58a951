package link

import (
	"sync"
	"time"
)

// outbox is what waits for the peer. Who has the pen, and nobody else, takes from
// it and writes; the pen is laid down when nothing is left. All that is queued
// meanwhile goes out in one write.
type outbox struct {
	mu     sync.Mutex // a leaf: no other lock is taken under it
	queue  *buffer    // plain text
	wire   *buffer    // with TLS: cipher text
	moving int        // bytes that were taken and are not written yet
	secure *secure    // nil without TLS
	idle   chan struct{}

	pen      bool
	news     bool // something was queued since Sent was told
	closed   bool // by Close: what is queued is the last
	failed   bool // nothing can be written any more
	cut      bool // the connection is closed, or about to be
	shaking  bool // a TLS handshake has the pen
	detached bool // somebody else has the connection; set by the reading side
	sealing  bool // the pen seals
	sealed   bool // the end of TLS was said

	readEnded, writeEnded bool
}

// earlyBytes is how much is queued before it goes out without being asked for, so
// that a turn with a lot to say does not fill the outbox of a quick reader.
const earlyBytes = 32 << 10

// strayBytes bounds what TLS itself may say while the peer takes nothing.
const strayBytes = 16 << 10

// down reports whether what is queued now goes nowhere. The caller has the lock.
func (o *outbox) down() bool { return o.closed || o.failed || o.cut }

// queueLocked queues the parts. The caller has the lock.
func (c *Conn) queueLocked(parts ...[]byte) {
	c.out.news = true
	c.out.queue = c.p.buffers.append(c.out.queue, parts...)
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
func (c *Conn) pump(wait bool) {
	for {
		b := c.next()
		if b == nil {
			return
		}
		n, err := c.mover.tryWrite(b.b)
		if err == nil && n < len(b.b) {
			if !wait {
				go c.finish(b, n)
				return
			}
			err = c.writeRest(b.b[n:])
		}
		c.p.buffers.put(b)
		if err != nil {
			c.broken(err)
			return
		}
	}
}

// finish goes on where pump would have to wait.
func (c *Conn) finish(b *buffer, n int) {
	err := c.writeRest(b.b[n:])
	c.p.buffers.put(b)
	if err != nil {
		c.broken(err)
		return
	}
	c.pump(true)
}

// writeRest writes what the peer did not take at once, and waits for it.
func (c *Conn) writeRest(p []byte) error {
	if err := c.boundWrite(c.p.cfg.WriteTime); err != nil {
		return err
	}
	if _, err := c.nc.Write(p); err != nil {
		return err
	}
	return c.boundWrite(0)
}

// boundWrite bounds the next write, or lifts the bound; after Close, that of Close
// holds.
func (c *Conn) boundWrite(d time.Duration) error {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.p.cfg.WriteTime == 0 || o.closed {
		return nil
	}
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d)
	}
	return c.nc.SetWriteDeadline(at)
}

// next returns what is to be written now, or nil after it laid down the pen or
// ended the writing side. The caller has the pen.
func (c *Conn) next() *buffer {
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
	last, sent := o.closed, o.news
	o.news = false
	o.pen = last // nobody writes after the end
	o.wake()
	o.mu.Unlock()
	if sent {
		c.h.Sent()
	}
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
func (c *Conn) sealLocked() error {
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
		c.p.buffers.put(b)
	} else {
		err = o.secure.tls.CloseWrite()
	}
	o.mu.Lock()
	o.sealing = false
	return err
}

// wake wakes who waits for the pen. The caller has the lock.
func (o *outbox) wake() {
	if o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
}

// broken ends the writing side after a write failed. The caller has the pen.
func (c *Conn) broken(err error) {
	o := &c.out
	o.mu.Lock()
	o.failed, o.moving = true, 0
	c.p.buffers.put(o.queue)
	c.p.buffers.put(o.wire)
	o.queue, o.wire = nil, nil
	closed := o.closed
	o.wake()
	o.mu.Unlock()
	if closed {
		c.Cut() // which ends the reading side
	} else {
		c.h.Broken(err)
	}
	c.end(&o.writeEnded)
}
