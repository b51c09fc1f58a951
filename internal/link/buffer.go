package link

import "sync"

// buffer is a slice that can be pooled. Buffers are held only while something is read
// or waits to be written.
type buffer struct{ b []byte }

func (b *buffer) len() int {
	if b == nil {
		return 0
	}
	return len(b.b)
}

// bufferSizes are the capacities of pooled buffers in bytes: of what waits for many
// readers at once most is short, and the longest is what a slow reader is to be told.
var bufferSizes = [...]int{1 << 10, readSize, 64 << 10}

// readSize is how much is read at once, in bytes.
const readSize = 8 << 10

// buffers are pools of buffers, one for each size.
type buffers [len(bufferSizes)]sync.Pool

// get returns an empty buffer with room for as many bytes.
func (p *buffers) get(room int) *buffer {
	for i, size := range bufferSizes {
		if room > size {
			continue
		}
		if b, ok := p[i].Get().(*buffer); ok {
			return b
		}
		return &buffer{make([]byte, 0, size)}
	}
	return &buffer{make([]byte, 0, room)}
}

// put takes back a buffer, or nil.
func (p *buffers) put(b *buffer) {
	if b == nil {
		return
	}
	for i, size := range bufferSizes {
		if cap(b.b) == size {
			b.b = b.b[:0]
			p[i].Put(b)
			return
		}
	}
}

// append appends to a buffer, which may be nil, and returns the one to go on with.
func (p *buffers) append(b *buffer, parts ...[]byte) *buffer {
	size := b.len()
	for _, part := range parts {
		size += len(part)
	}
	switch {
	case b == nil:
		b = p.get(size)
	case size > cap(b.b):
		more := p.get(max(size, 2*cap(b.b)))
		more.b = append(more.b, b.b...)
		p.put(b)
		b = more
	}
	for _, part := range parts {
		b.b = append(b.b, part...)
	}
	return b
}
