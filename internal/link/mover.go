package link

import "net"

// mover moves a connection's bytes; everything else is the same on all systems.
type mover interface {
	// start begins to read, which goes on until received returns false.
	start()
	// tryWrite writes what the peer takes at once, perhaps nothing.
	tryWrite(p []byte) (n int, err error)
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
