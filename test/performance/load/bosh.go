package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// bosh is XMPP over BOSH (XEP-0124, XEP-0206): one request is held by the server, and
// a second connection is made once there is something to say meanwhile.
type bosh struct {
	ctx  context.Context
	o    Options
	host string

	mu       sync.Mutex
	sid      string
	rid      uint64
	conns    []*boshConn // at most two
	queue    []byte      // to be sent as soon as a connection is free
	restart  bool
	ready    map[uint64][]byte // answers that came, by rid
	expected uint64            // the rid whose answer is next
	handing  bool              // somebody hands answers over, in order
	broken   error
	news     sync.Cond // of broken, ready and queue

	// Of whoever hands over.
	body xmlscan.Scanner
	scan xmlscan.Scanner
	rest []byte // what next did not take yet
	on   func(el *xmlscan.Element)
}

type boshConn struct {
	net.Conn
	busy bool
	rid  uint64
}

func dialBOSH(ctx context.Context, o Options) (wire, error) {
	b := &bosh{ctx: ctx, o: o, rid: rand.Uint64N(1 << 40), ready: make(map[uint64][]byte),
		body: *xmlscan.New(limits), scan: *xmlscan.New(limits)}
	b.news.L = &b.mu
	b.expected = b.rid + 1
	return b, nil
}

func (b *bosh) open(host string) error {
	b.host = host
	b.mu.Lock()
	defer b.mu.Unlock()
	b.restart = b.sid != ""
	return b.pump(true)
}

func (b *bosh) send(el []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = append(b.queue, el...)
	return b.pump(false)
}

// flush waits until nothing waits to be sent.
func (b *bosh) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.broken == nil && len(b.queue) > 0 {
		b.news.Wait()
	}
}

// pump sends what there is to say, or with empty a request without anything. With mu.
func (b *bosh) pump(empty bool) error {
	for b.broken == nil && (empty || len(b.queue) > 0) {
		c, err := b.free()
		if c == nil || err != nil {
			return err
		}
		empty = false
		if err := b.post(c); err != nil {
			return err
		}
	}
	return b.broken
}

// free is a connection that no request waits on, or nil. With mu.
func (b *bosh) free() (*boshConn, error) {
	for _, c := range b.conns {
		if !c.busy {
			return c, nil
		}
	}
	if len(b.conns) == 2 || b.sid == "" && len(b.conns) == 1 {
		return nil, nil
	}
	conn, err := connect(b.ctx, b.o)
	if err != nil {
		return nil, err
	}
	c := &boshConn{Conn: conn}
	b.conns = append(b.conns, c)
	go b.receive(c)
	return c, nil
}

// post sends a request with all that waits. With mu.
func (b *bosh) post(c *boshConn) error {
	b.rid++
	c.busy, c.rid = true, b.rid
	body := make([]byte, 0, 256+len(b.queue))
	body = append(body, "<body xmlns='"+ns.HTTPBind+"' rid='"...)
	body = strconv.AppendUint(body, b.rid, 10)
	switch {
	case b.sid == "":
		body = append(body, "' to='"+b.host+"' wait='60' hold='1' ver='1.10' xml:lang='en' content='text/xml; charset=utf-8' xmpp:version='1.0' xmlns:xmpp='"+ns.XBOSH+"'>"...)
	case b.restart:
		b.restart = false
		body = append(body, "' sid='"+b.sid+"' to='"+b.host+"' xmpp:restart='true' xmlns:xmpp='"+ns.XBOSH+"'>"...)
	default:
		body = append(body, "' sid='"+b.sid+"'>"...)
	}
	body = append(body, b.queue...)
	b.queue = nil
	b.news.Broadcast()
	body = append(body, "</body>"...)
	request := make([]byte, 0, len(body)+160)
	request = append(request, "POST /http-bind HTTP/1.1\r\nHost: "+b.o.Address+"\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: "...)
	request = strconv.AppendInt(request, int64(len(body)), 10)
	request = append(request, "\r\n\r\n"...)
	_, err := c.Write(append(request, body...))
	return err
}

// receive takes the answers of a connection.
func (b *bosh) receive(c *boshConn) {
	in := bufio.NewReaderSize(c, 512)
	for {
		body, err := answer(in)
		b.mu.Lock()
		if err != nil {
			if b.broken == nil {
				b.broken = err
			}
			b.news.Broadcast()
			b.mu.Unlock()
			return
		}
		c.busy = false
		b.ready[c.rid] = body
		b.news.Broadcast()
		b.hand()
		b.mu.Unlock()
	}
}

func answer(in *bufio.Reader) ([]byte, error) {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%w: %s", errRefused, resp.Status)
	}
	return body, errors.Join(err, resp.Body.Close())
}

// hand hands over what came, in the order of the requests, unless somebody does so
// already, and keeps a request at the server. With mu, which it gives back meanwhile.
func (b *bosh) hand() {
	if b.handing || b.on == nil {
		return
	}
	b.handing = true
	for b.broken == nil {
		body, ok := b.ready[b.expected]
		if !ok {
			break
		}
		delete(b.ready, b.expected)
		b.expected++
		b.mu.Unlock()
		err := b.take(body)
		b.mu.Lock()
		if err == nil {
			err = b.pump(!slices.ContainsFunc(b.conns, func(c *boshConn) bool { return c.busy }))
		}
		if err != nil && b.broken == nil {
			b.broken = err
			b.news.Broadcast()
		}
	}
	b.handing = false
}

// take hands over the elements of an answer.
func (b *bosh) take(body []byte) error {
	if err := b.unwrap(body); err != nil {
		return err
	}
	var el xmlscan.Element
	for len(b.rest) > 0 {
		n, err := b.scan.Next(b.rest, &el)
		if err != nil {
			return err
		}
		b.rest = b.rest[n:]
		b.on(&el)
	}
	return nil
}

// unwrap makes rest of what an answer carries.
func (b *bosh) unwrap(body []byte) error {
	var el xmlscan.Element
	b.body.Document(nil)
	if _, err := b.body.Next(body, &el); err != nil {
		return err
	}
	if el.AttrString("type") == "terminate" {
		return fmt.Errorf("%w: %s %s", errRefused, el.Attr("condition"), el.Inner)
	}
	if sid := el.AttrString("sid"); sid != "" {
		b.mu.Lock()
		b.sid = sid
		b.mu.Unlock()
	}
	b.scan.Scope(clientScope())
	b.rest = el.Inner
	return nil
}

func (b *bosh) next(el *xmlscan.Element) error {
	for len(b.rest) == 0 {
		b.mu.Lock()
		body, ok := b.ready[b.expected]
		for ; !ok && b.broken == nil; body, ok = b.ready[b.expected] {
			if b.expected > b.rid { // all was answered, without what is waited for
				if err := b.pump(true); err != nil {
					b.broken = err
					break
				}
			}
			b.news.Wait()
		}
		err := b.broken
		delete(b.ready, b.expected)
		b.expected++
		b.mu.Unlock()
		if !ok {
			return err
		}
		if err := b.unwrap(body); err != nil {
			return err
		}
	}
	n, err := b.scan.Next(b.rest, el)
	b.rest = b.rest[n:]
	return err
}

// run leaves the handing over to the goroutines of the connections.
func (b *bosh) run(on func(el *xmlscan.Element)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.on = on
	if err := b.pump(!slices.ContainsFunc(b.conns, func(c *boshConn) bool { return c.busy })); err != nil {
		return err
	}
	b.hand()
	for b.broken == nil {
		b.news.Wait()
	}
	return b.broken
}

func (b *bosh) deadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, c := range b.conns {
		errs = append(errs, c.SetDeadline(t))
	}
	return errors.Join(errs...)
}

func (b *bosh) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken == nil {
		b.broken = net.ErrClosed
	}
	b.news.Broadcast()
	var errs []error
	for _, c := range b.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
