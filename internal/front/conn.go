package front

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"rollcall/internal/link"
)

// lingerTime bounds how long a closed connection waits for its peer to take what
// is left and to close its side.
const lingerTime = 2 * time.Second

// conn is one connection that waits for a request, or for a reply.
type conn struct {
	f    *Front
	link link.Conn

	mu     sync.Mutex // a leaf, but for the Exchange's own
	x      *Exchange  // under way
	free   chan struct{}
	ending bool // after x
	over   bool // nothing follows
	// lastCall says that one more request may come although the connection is
	// ending: the client may have sent it before it can know. The reply to it tells.
	lastCall bool

	skip bool // line ends that clients send after a body; of the reading side
}

var _ link.Securer = (*conn)(nil)

func newConn(f *Front, nc net.Conn) *conn {
	c := &conn{f: f}
	c.link.Init(f.pool, nc, c)
	return c
}

// wait bounds the wait for the next request.
func (c *conn) wait() { c.bound(c.f.cfg.IdleTime) }

// bound bounds the wait for the next bytes, 0 is for ever. A connection that fails
// to do that tells so when it is read.
func (c *conn) bound(d time.Duration) {
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d)
	}
	_ = c.link.SetReadDeadline(at)
}

// Secured implements link.Securer.
func (c *conn) Secured() { c.wait() }

// Received implements link.Handler.
func (c *conn) Received(data []byte, err error) {
	if err != nil {
		if !c.last() {
			c.lost()
		}
		return
	}
	for len(data) > 0 && c.await() {
		data = c.request(data)
	}
}

// await waits for the end of a request that is under way: a client that sends the
// next one meanwhile gets its answers in order. It reports whether there will be
// any.
func (c *conn) await() bool {
	for {
		c.mu.Lock()
		if c.x == nil || c.over {
			over := c.late()
			c.mu.Unlock()
			return !over
		}
		if c.free == nil {
			c.free = make(chan struct{})
		}
		free := c.free
		c.mu.Unlock()
		<-free
	}
}

// finish takes away the exchange under way, if any. The caller has the lock.
func (c *conn) finish() *Exchange {
	x := c.x
	c.x = nil
	if c.free != nil {
		close(c.free)
		c.free = nil
	}
	return x
}

// begin makes x the exchange under way; false means that it came too late.
func (c *conn) begin(x *Exchange) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late() {
		return false
	}
	c.x = x
	if c.lastCall {
		c.lastCall = false
		x.closing()
	}
	return true
}

// late reports whether no request is served any more. The caller has the lock.
func (c *conn) late() bool { return c.over || c.ending && !c.lastCall }

// last makes the reply under way the last, if there is one: who ends only the
// sending side may still read, and who has read everything may cut the connection
// before the server knows that it is written. Whether it was, writing tells.
func (c *conn) last() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.x == nil || c.x.isWaiting() {
		return false
	}
	c.ending = true
	return true
}

// lost ends a connection that broke, or that nobody needs any more.
func (c *conn) lost() {
	c.mu.Lock()
	c.over = true
	x := c.finish()
	c.mu.Unlock()
	if x != nil {
		x.tell(false)
	}
	c.link.Close(nil, lingerTime)
}

// Sent implements link.Handler.
func (c *conn) Sent() {
	c.mu.Lock()
	if c.x == nil || !c.x.isWriting() {
		c.mu.Unlock()
		return
	}
	// Before the next request, which has bounds of its own.
	ending := c.late()
	switch {
	case c.lastCall:
		c.bound(c.f.cfg.LastCall)
	case !ending:
		c.wait()
	}
	x := c.finish()
	c.mu.Unlock()
	if ending {
		c.link.Close(nil, lingerTime)
	}
	x.tell(true)
}

// Broken implements link.Handler.
func (c *conn) Broken(error) { c.lost() }

// Shutdown implements link.Handler.
func (c *conn) Shutdown() {
	c.mu.Lock()
	c.ending = true
	idle := c.x == nil
	c.lastCall = c.f.cfg.LastCall > 0 && (idle || !c.x.closing())
	waits := c.lastCall
	c.mu.Unlock()
	switch {
	case !idle:
		// Sent does the rest.
	case waits:
		c.bound(c.f.cfg.LastCall)
	default:
		c.link.Close(nil, lingerTime)
	}
}

// Ended implements link.Handler.
func (c *conn) Ended() { c.lost() }

// write writes a reply.
func (c *conn) write(head, body []byte, ends bool) {
	if ends {
		c.mu.Lock()
		c.ending = true
		c.mu.Unlock()
	}
	if _, err := c.link.Queue(head, body); err != nil {
		c.lost() // cannot be: nothing else waits there
		return
	}
	c.link.Flush()
}

// request serves one request, whose first bytes have come, and returns what came
// after it.
func (c *conn) request(data []byte) (left []byte) {
	if c.skip {
		// RFC 9112 section 2.2; as many as net/http skips.
		start := data[:min(4, len(data))]
		data = data[len(start)-len(bytes.TrimLeft(start, "\r\n")):]
		if len(data) == 0 {
			return nil
		}
		c.skip = false
	}
	data, complete, err := c.head(data)
	if err != nil {
		c.lost()
		return nil
	}
	r := c.f.requests.get(c, data)
	defer c.f.requests.put(r)
	if !complete || !r.read(c.f) {
		if u := c.f.upgrader(r.std); u == nil || !c.upgrade(u, r.std, r.unread) {
			c.leave(data)
		}
		return nil
	}
	if !c.serve(r) {
		return nil
	}
	return r.unread()
}

// leave hands the connection to net/http, which gets data first.
func (c *conn) leave(data []byte) {
	d, ok := c.link.Detach(data)
	if !ok {
		return // it is on its way down
	}
	if err := c.f.handed.give(d); err != nil {
		c.f.cfg.Log.Debug("closing a connection", "err", err)
	}
}

// valid reports whether net/http, which says what is to be said otherwise, would
// serve a request without asking for the body first.
func valid(r *http.Request) bool {
	if r.ProtoMajor != 1 || r.URL.Host != "" || r.Host == "" || !httpguts.ValidHostHeader(r.Host) || r.Header.Get("Expect") != "" {
		return false
	}
	for name, values := range r.Header {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, badValue) {
			return false
		}
	}
	return true
}

func badValue(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }

// serve has the Handler serve a request, and reports whether another may follow.
func (c *conn) serve(r *Request) (more bool) {
	x := c.f.cfg.Held.Exchange()
	x.begin(r)
	if !c.begin(x) {
		return false
	}
	defer func() {
		if p := recover(); p != nil {
			c.f.logPanic(p)
			x.setServed()
			c.lost()
			more = false
		}
	}()
	if r.comes() {
		c.bound(c.f.cfg.BodyTime)
		c.f.cfg.Held.Serve(x, r)
		c.bound(0)
	} else {
		c.bound(0)
		c.f.cfg.Held.Serve(x, r)
	}
	c.skip = true
	more = r.ended && !x.isClosing()
	x.attach(c, r.ended)
	return more
}

// head returns data with more bytes behind it if the head of the request has not
// come yet, and whether it has then.
func (c *conn) head(data []byte) (all []byte, complete bool, err error) {
	if headEnds(data, 0) {
		return data, true, nil
	}
	c.bound(c.f.cfg.HeaderTime)
	all = append(make([]byte, 0, max(2*len(data), 1<<10)), data...)
	for len(all) <= c.f.cfg.HeaderBytes {
		if len(all) == cap(all) {
			all = append(all, make([]byte, len(all))...)[:len(all)]
		}
		seen := len(all)
		n, err := c.link.ReadMore(all[seen:cap(all)])
		all = all[:seen+n]
		if headEnds(all, seen) {
			return all, true, nil
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, false, err
		}
	}
	return all, false, nil // net/http says what is to be said
}

// headEnds reports whether a head ends after the bytes that were looked at before.
func headEnds(data []byte, seen int) bool {
	data = data[max(0, seen-3):]
	return bytes.Contains(data, []byte("\n\r\n")) || bytes.Contains(data, []byte("\n\n"))
}
