package front

import (
	"context"
	"net"
	"net/http"
	"sync"

	"rollcall/internal/link"
)

// handover is the listener through which net/http gets its connections.
type handover struct {
	conns   chan net.Conn
	ended   chan struct{}
	once    sync.Once
	address net.Addr
}

func newHandover() *handover {
	return &handover{conns: make(chan net.Conn), ended: make(chan struct{})}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case nc := <-h.conns:
		return nc, nil
	case <-h.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.end()
	return nil
}

func (h *handover) end() { h.once.Do(func() { close(h.ended) }) }

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return h.address }

// give hands a connection on, or closes it when nobody takes any more.
func (h *handover) give(nc net.Conn) error {
	select {
	case h.conns <- nc:
		return nil
	case <-h.ended:
		return nc.Close()
	}
}

// connKey is where the context of a request has its *link.Detached.
type connKey struct{}

func withConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// serveRest is net/http's handler.
func (f *Front) serveRest(w http.ResponseWriter, r *http.Request) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p != http.ErrAbortHandler {
			f.logPanic(p)
		}
		panic(http.ErrAbortHandler) // net/http ends the connection without a word
	}()
	if d, ok := r.Context().Value(connKey{}).(*link.Detached); ok {
		r.TLS = d.TLS() // net/http looks for a *tls.Conn only
	}
	if !f.holds(r) {
		f.cfg.Rest.ServeHTTP(w, r)
		return
	}
	f.takeBack(w, r)
}

// takeBack serves a request to be held that came on a connection of net/http, and
// has the connection back.
func (f *Front) takeBack(w http.ResponseWriter, r *http.Request) {
	x, request := f.cfg.Held.Exchange(), ofServer(r)
	x.begin(request)
	x.serveBy(f.cfg.Held, request)
	f.returning.Add(1)
	defer f.returning.Done()
	nc, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		// The client has gone in the wrong moment: this is HTTP/1.
		x.tell(false)
		panic(http.ErrAbortHandler)
	}
	unread, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err != nil {
		f.cfg.Log.Error("taking a connection back", "err", err) // as many are there
	}
	c := newConn(f, nc)
	c.x, c.skip = x, true
	x.attach(c, request.ended)
	if !c.link.Start(unread) {
		c.lost() // nobody would notice that the client goes
	}
}
