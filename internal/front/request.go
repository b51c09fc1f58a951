package front

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Request is what a Handler sees of a request, until Serve returns.
type Request struct {
	// lines are those of the head after the first, and left is what of the body did
	// not come yet: see parse. With std both are empty.
	lines []byte
	left  int
	std   *http.Request // what net/http made of it, or nil

	c     *conn // nil when net/http has the connection
	src   source
	in    *bufio.Reader // of std, or nil
	ended bool          // the body was read to its end
}

// requests are pooled: they hold what only the worker that reads a request needs.
type requests struct {
	all     sync.Pool // of *Request
	readers sync.Pool // of *bufio.Reader
}

func (p *requests) get(c *conn, data []byte) *Request {
	r, _ := p.all.Get().(*Request)
	if r == nil {
		r = new(Request)
	}
	r.c = c
	r.src = source{c: c, data: data}
	return r
}

func (p *requests) put(r *Request) {
	if r.in != nil {
		r.in.Reset(nil)
		p.readers.Put(r.in)
	}
	*r = Request{}
	p.all.Put(r)
}

// ofServer is a request that net/http has read.
func ofServer(std *http.Request) *Request {
	return &Request{std: std, ended: std.ContentLength == 0}
}

// read reads the head, which has come, and reports whether the request is to be held.
// If not, it may still be one that asks for another protocol.
func (r *Request) read(f *Front) bool {
	if n, ok := r.parse(f.plainPaths, r.src.data); ok {
		r.src.data = r.src.data[n:]
		return true
	}
	in, _ := f.requests.readers.Get().(*bufio.Reader)
	if in == nil {
		in = bufio.NewReader(nil)
	}
	in.Reset(&r.src)
	r.in = in
	std, err := http.ReadRequest(in)
	if err != nil || !valid(std) {
		return false
	}
	r.std, r.ended = std, std.ContentLength == 0
	std.RemoteAddr = r.RemoteAddr()
	if r.Secure() {
		std.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	return f.holds(std)
}

// unread is what came after the request.
func (r *Request) unread() []byte {
	if r.in == nil || r.in.Buffered() == 0 {
		return r.src.data
	}
	buffered, _ := r.in.Peek(r.in.Buffered()) // as many are there
	return append(bytes.Clone(buffered), r.src.data...)
}

// RemoteAddr is the address that the connection comes from, with its port.
func (r *Request) RemoteAddr() string {
	if r.c == nil {
		return r.std.RemoteAddr
	}
	return r.c.link.RemoteAddr().String()
}

// Secure reports whether the connection is encrypted.
func (r *Request) Secure() bool {
	if r.c == nil {
		return r.std.TLS != nil
	}
	return r.c.link.Secure()
}

// Values returns what the lines of the head with a name say.
func (r *Request) Values(name string) []string {
	if r.std != nil {
		return r.std.Header.Values(name)
	}
	var all []string
	for n, v := range fields(r.lines) {
		if is(n, name) {
			all = append(all, string(v))
		}
	}
	return all
}

// Value returns the first of Values, or nothing.
func (r *Request) Value(name string) string {
	if r.std != nil {
		return r.std.Header.Get(name)
	}
	for n, v := range fields(r.lines) {
		if is(n, name) {
			return string(v)
		}
	}
	return ""
}

func is(name []byte, other string) bool {
	return len(name) == len(other) && strings.EqualFold(string(name), other)
}

// AppendBody appends what is left of the body, but no more than limit bytes.
func (r *Request) AppendBody(dst []byte, limit int) ([]byte, error) {
	for most := len(dst) + limit; !r.ended && len(dst) < most; {
		if len(dst) == cap(dst) {
			// What did not come yet has to come first.
			dst = slices.Grow(dst, min(max(512, len(dst), min(r.left, len(r.src.data))), most-len(dst)))
		}
		n, err := r.readBody(dst[len(dst):min(cap(dst), most)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// readBody is as io.Reader has it, and notices the end.
func (r *Request) readBody(p []byte) (n int, err error) {
	if r.std != nil {
		n, err = r.std.Body.Read(p)
		r.ended = r.ended || err == io.EOF
		return n, err
	}
	n, err = r.src.Read(p[:min(len(p), r.left)])
	r.left -= n
	r.ended = r.left == 0
	switch {
	case r.ended:
		err = nil // whatever comes after the body
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// comes reports whether some of the body has not come yet.
func (r *Request) comes() bool { return r.std != nil || r.left > len(r.src.data) }

// source reads what came, and then what comes.
type source struct {
	c    *conn
	data []byte
}

var _ io.Reader = (*source)(nil)

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return s.c.link.ReadMore(p)
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	return n, nil
}
