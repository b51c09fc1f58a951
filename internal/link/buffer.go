package link

// bufferSize is the size of a fresh buffer in bytes. Buffers are held only while
// something is read or waits to be written.
const bufferSize = 8 << 10

// maxKept is the largest buffer that goes back to the pool.
const maxKept = 64 << 10

// buffer is a slice that can be pooled.
type buffer struct{ b []byte }

func (b *buffer) len() int {
	if b == nil {
		return 0
	}
	return len(b.b)
}

func (p *Pool) getBuffer() *buffer { return p.buffers.Get().(*buffer) }

func (p *Pool) putBuffer(b *buffer) {
	if b != nil && cap(b.b) <= maxKept {
		b.b = b.b[:0]
		p.buffers.Put(b)
	}
}
