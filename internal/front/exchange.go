package front

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Exchange is where the reply to a request goes. It is made by the Handler, as a part
// of whatever waits for the reply.
type Exchange struct {
	// Waiter, if set before Serve returns, is told how it ends.
	Waiter Waiter

	mu     sync.Mutex    // a leaf
	conn   *conn         // nil until the request is read
	ready  chan struct{} // with Block: closed when there is a reply
	fields []Field
	reply  []byte
	status int
	state  state
	old    bool // HTTP/1.0
	close  bool // the connection ends with the reply
	served bool // Waiter is set, if ever
	gone   bool // before that
	told   bool // Waiter was
}

// Waiter waits for the end of an Exchange.
type Waiter interface {
	// Done is told once whether the reply was written, perhaps by Exchange.Send, but
	// never by Reply. It may be told false before Reply: nobody waits any more. It does
	// not wait for anything.
	Done(written bool)
}

type state uint8

const (
	waiting state = iota // for the reply
	replied              // the reply waits for the connection
	writing              // the connection has the reply
)

// begin says whose reply x takes.
func (x *Exchange) begin(r *Request) {
	if r.std != nil {
		x.old, x.close = !r.std.ProtoAtLeast(1, 1), r.std.Close
	}
}

// attach says that the request is read and c takes the reply. What was not read of
// the body is not awaited.
func (x *Exchange) attach(c *conn, ended bool) {
	x.mu.Lock()
	x.close = x.close || !ended
	// At once: a reply may be written before this returns.
	x.conn, x.served = c, true
	gone := x.gone
	x.mu.Unlock()
	if gone {
		x.tell(false)
		return
	}
	x.Send()
}

// serveBy has h serve the request. If h panics the request is lost.
func (x *Exchange) serveBy(h Handler, r *Request) {
	returned := false
	defer func() {
		x.setServed()
		if !returned {
			x.tell(false)
		}
	}()
	h.Serve(x, r)
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

// Reply answers the request, as soon as Send is called. Only the first call counts.
// fields and body must not change afterwards. Content-Length and Date are added; the
// connection goes on unless a field says "Connection: close".
func (x *Exchange) Reply(status int, fields []Field, body []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state != waiting || x.told {
		return
	}
	x.state = replied
	x.status, x.fields, x.reply = status, fields, body
	for _, f := range fields {
		x.close = x.close || f.Name == "Connection" && f.Value == "close"
	}
	if x.ready != nil {
		close(x.ready)
	}
}

// Send writes the reply, if the request was read; otherwise who reads it does that.
// It does not wait for the peer, but calls the Waiter, perhaps: it is called without
// the locks that Done needs.
func (x *Exchange) Send() {
	x.mu.Lock()
	c := x.conn
	if x.state != replied || c == nil || x.told {
		x.mu.Unlock()
		return
	}
	x.state = writing
	var room [512]byte
	head, body, ends := x.appendHead(room[:0], c.f.date.now()), x.reply, x.close
	x.fields, x.reply = nil, nil
	x.mu.Unlock()
	c.write(head, body, ends)
}

// date is the time as heads have it, which changes once in a second.
type date struct{ latest atomic.Pointer[written] }

type written struct {
	second int64
	text   string
}

func (d *date) now() string {
	now := time.Now()
	w := d.latest.Load()
	if w == nil || w.second != now.Unix() {
		w = &written{now.Unix(), now.UTC().Format(http.TimeFormat)}
		d.latest.Store(w)
	}
	return w.text
}

func (x *Exchange) appendHead(b []byte, date string) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(x.status), 10)
	b = append(append(b, ' '), http.StatusText(x.status)...)
	b = append(b, "\r\nDate: "...)
	b = append(b, date...)
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
	if !told && x.Waiter != nil {
		x.Waiter.Done(written)
	}
}
