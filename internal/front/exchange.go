package front

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Exchange is one request and its reply.
type Exchange struct {
	// Request is there until Serve returns.
	Request *http.Request
	// Done, if set in Serve, is told once whether the reply was written, on a
	// goroutine that may wait, and never by Reply itself. It may be told false before
	// Reply: nobody waits any more.
	Done func(written bool)

	old  bool // HTTP/1.0
	body eofReader

	mu     sync.Mutex // a leaf
	state  state
	close  bool  // the connection ends with the reply
	served bool  // Done is set, if ever
	gone   bool  // before that
	told   bool  // Done was
	conn   *conn // nil until the request is read
	status int
	fields []Field
	reply  []byte
	ready  chan struct{} // with Block: closed when there is a reply
}

type state uint8

const (
	waiting state = iota // for the reply
	replied              // the reply waits for the connection
	writing              // the connection has the reply
)

// eofReader notices the end.
type eofReader struct {
	io.ReadCloser
	ended bool
}

func (r *eofReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.ended = r.ended || err == io.EOF
	return n, err
}

func newExchange(r *http.Request) *Exchange {
	x := &Exchange{Request: r, old: !r.ProtoAtLeast(1, 1), close: r.Close}
	x.body.ReadCloser = r.Body
	x.body.ended = r.ContentLength == 0
	r.Body = &x.body
	return x
}

// attach says that the request is read and c takes the reply. A rest of the body is
// not awaited.
func (x *Exchange) attach(c *conn) {
	x.Request = nil
	x.mu.Lock()
	x.close = x.close || !x.body.ended
	x.body.ReadCloser = nil
	// At once: a reply may be written before this returns.
	x.conn, x.served = c, true
	gone, ready := x.gone, x.state == replied
	x.mu.Unlock()
	switch {
	case gone:
		x.tell(false)
	case ready:
		c.f.pool.Run(x)
	}
}

// serveBy has h serve the request. If h panics the request is lost.
func (x *Exchange) serveBy(h Handler) {
	returned := false
	defer func() {
		x.setServed()
		if !returned {
			x.tell(false)
		}
	}()
	h.Serve(x)
	returned = true
}

// setServed says that Serve has returned, one way or another.
func (x *Exchange) setServed() {
	x.mu.Lock()
	x.served = true
	gone := x.gone
	x.mu.Unlock()
	if gone {
		x.tell(false)
	}
}

// Field is one line of a head.
type Field struct{ Name, Value string }

// Reply answers the request, and returns at once. Only the first call counts.
// fields and body must not change afterwards. Content-Length and Date are added; the
// connection goes on unless a field says "Connection: close".
func (x *Exchange) Reply(status int, fields []Field, body []byte) {
	x.mu.Lock()
	if x.state != waiting || x.told {
		x.mu.Unlock()
		return
	}
	x.state = replied
	x.status, x.fields, x.reply = status, fields, body
	for _, f := range fields {
		x.close = x.close || f.Name == "Connection" && f.Value == "close"
	}
	c := x.conn
	x.mu.Unlock()
	switch {
	case x.ready != nil:
		close(x.ready)
	case c != nil:
		c.f.pool.Run(x)
	}
}

// Work implements workers.Job: it writes the reply.
func (x *Exchange) Work() {
	x.mu.Lock()
	if x.told {
		x.mu.Unlock()
		return
	}
	x.state = writing
	c, ends := x.conn, x.close
	head := x.appendHead(make([]byte, 0, 512))
	body := x.reply
	x.fields, x.reply = nil, nil
	x.mu.Unlock()
	c.write(head, body, ends)
}

func (x *Exchange) appendHead(b []byte) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(x.status), 10)
	b = append(append(b, ' '), http.StatusText(x.status)...)
	b = append(b, "\r\nDate: "...)
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(x.reply)), 10)
	for _, f := range x.fields {
		if f.Name != "Connection" {
			b = append(append(append(append(b, "\r\n"...), f.Name...), ": "...), f.Value...)
		}
	}
	switch {
	case x.close:
		b = append(b, "\r\nConnection: close"...)
	case x.old:
		b = append(b, "\r\nConnection: keep-alive"...)
	}
	return append(b, "\r\n\r\n"...)
}

// closing says that the connection ends with the reply, and reports whether the
// reply tells so: it may have been written already.
func (x *Exchange) closing() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.close = x.close || x.state != writing
	return x.close
}

// isClosing reports whether the connection ends with the reply.
func (x *Exchange) isClosing() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.close
}

// isWaiting reports whether there is no reply yet.
func (x *Exchange) isWaiting() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.state == waiting
}

// isWriting reports whether the connection has the reply.
func (x *Exchange) isWriting() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.state == writing
}

// tell tells how it went, when Serve has returned.
func (x *Exchange) tell(written bool) {
	x.mu.Lock()
	if !x.served {
		x.gone = true
		x.mu.Unlock()
		return
	}
	told := x.told
	x.told = true
	x.fields, x.reply = nil, nil
	x.mu.Unlock()
	if !told && x.Done != nil {
		x.Done(written)
	}
}
