package link

import (
	"net"
	"time"
)

// mover moves a connection's bytes; everything else is the same on all systems.
type mover interface {
	// start begins to read, which goes on until received returns false.
	start()
	// tryWrite writes what the peer takes at once, perhaps nothing.
	tryWrite(p []byte) (n int, err error)
	// bound sets the time by which the next bytes have to come; zero is for ever.
	bound(at time.Time) error
	// await reads, and waits for bytes until then. It is called in received.
	await(read func([]byte) (int, error), p []byte) (int, error)
	// noticeCut is called after the connection was closed, to end reading.
	noticeCut()
	// leave leaves the connection, which stays open, to somebody else. It is called in
	// received, which returns false then.
	leave()
}

// newMover chooses how a connection's bytes move.
func newMover(c *Conn, nc net.Conn) mover {
	if !c.p.cfg.Portable {
		if m := newLean(c, nc); m != nil {
			return m
		}
	}
	return simple{c}
}

// simple reads with a goroutine and a buffer of its own, for systems and kinds of
// connection that have nothing better.
type simple struct{ c *Conn }

// simpleBuffer is the size of the buffer in bytes.
const simpleBuffer = 4 << 10

func (m simple) start() { go m.run() }

func (m simple) run() {
	if m.c.hasBeginning() && !m.c.received(nil, nil) {
		return
	}
	buf := make([]byte, simpleBuffer)
	for {
		n, err := m.c.nc.Read(buf)
		if !m.c.received(buf[:n], err) {
			return
		}
	}
}

// tryWrite leaves writing to a goroutine that may wait.
func (m simple) tryWrite([]byte) (int, error) { return 0, nil }

func (m simple) bound(at time.Time) error { return m.c.nc.SetReadDeadline(at) }

func (m simple) await(read func([]byte) (int, error), p []byte) (int, error) { return read(p) }

func (m simple) noticeCut() {} // reading fails

func (m simple) leave() {}
