package tcp

// newLink chooses how a connection's bytes move.
func newLink(c *conn) link {
	if !c.a.simple {
		if l := newLean(c); l != nil {
			return l
		}
	}
	return simple{c}
}

// simple reads with a goroutine and a buffer of its own, for systems and kinds of
// connection that have nothing better.
type simple struct{ c *conn }

// simpleBuffer is the size of the buffer in bytes.
const simpleBuffer = 4 << 10

func (l simple) start() { go l.run() }

func (l simple) run() {
	if l.c.upgrade && !l.c.received(nil, nil) {
		return
	}
	buf := make([]byte, simpleBuffer)
	for {
		n, err := l.c.nc.Read(buf)
		if !l.c.received(buf[:n], err) {
			return
		}
	}
}

// tryWrite leaves writing to a goroutine that may wait.
func (l simple) tryWrite([]byte) (int, error) { return 0, nil }
