// Package front is an HTTP/1.1 server for requests that wait long for their answer.
// POST requests to some paths are held without a goroutine and without a buffer;
// everything else is served by net/http, on the same connections.
//
// A connection's bytes come from package link. A worker reads the head of a request,
// with net/http's own parser unless it is the usual one, and waits for the rest of it if
// it has to; what is not to be held is handed on to a http.Server together with the
// connection, which comes back with the next request that is.
package front

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"rollcall/internal/link"
)

// Handler serves requests that may be held.
type Handler interface {
	// Exchange makes an Exchange for the next request.
	Exchange() *Exchange
	// Serve takes a request. It reads the body, which it can do no more when it has
	// returned, and has x.Reply and x.Send called, then or later.
	Serve(x *Exchange, r *Request)
}

// Config says how requests are served.
type Config struct {
	// TLS encrypts every connection; nil is for none.
	TLS *tls.Config
	// Held takes the POST requests to Paths; nil is for none.
	Held  Handler
	Paths []string
	// Upgraders, by path, may take GET requests with the header Upgrade.
	Upgraders map[string]Upgrader
	// Rest takes everything else.
	Rest http.Handler
	// HeaderTime bounds how slowly the head of a request may come, BodyTime the
	// body, ReplyTime how slowly an answer may be taken. IdleTime is how long a
	// connection may wait for its next request.
	HeaderTime, BodyTime, ReplyTime, IdleTime time.Duration
	// LastCall is how long connections that wait for a request go on waiting when the
	// Front shuts down: clients may have sent one before they can know.
	LastCall time.Duration
	// HeaderBytes is the greatest length of a head.
	HeaderBytes int
	// Portable is as in link.Config.
	Portable bool
	Log      *slog.Logger
}

// Front serves HTTP. Its methods are safe for concurrent use.
type Front struct {
	cfg    Config
	pool   *link.Pool
	std    *http.Server
	handed *handover
	// returning counts the connections that net/http has no more and pool not yet.
	returning  sync.WaitGroup
	plainPaths [][]byte
	requests   requests
	date       date
}

// New returns a Front.
func New(c Config) *Front {
	f := &Front{
		cfg: c, handed: newHandover(), plainPaths: plainPaths(c.Paths),
	}
	f.pool = link.New(link.Config{
		OutboxBytes:   math.MaxInt, // one reply at a time
		HandshakeTime: c.HeaderTime, WriteTime: c.ReplyTime,
		Portable: c.Portable, Log: c.Log,
	})
	f.std = &http.Server{
		Handler: http.HandlerFunc(f.serveRest), ConnContext: withConn,
		ReadHeaderTimeout: c.HeaderTime, ReadTimeout: c.BodyTime, IdleTimeout: c.IdleTime,
		WriteTimeout:   c.BodyTime + c.ReplyTime, // it begins with the body
		MaxHeaderBytes: c.HeaderBytes,
		ErrorLog:       slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	return f
}

// Serve accepts connections until ln or the Front is closed, and then returns nil. It
// may be called once.
func (f *Front) Serve(ln net.Listener) error {
	served := make(chan error, 1)
	f.handed.address = ln.Addr()
	go func() { served <- f.std.Serve(f.handed) }()
	err := f.pool.Serve(ln, f.take)
	f.handed.end()
	if std := <-served; !errors.Is(std, http.ErrServerClosed) && !errors.Is(std, net.ErrClosed) {
		err = errors.Join(err, std)
	}
	return err
}

func (f *Front) take(nc net.Conn) {
	c := newConn(f, nc)
	if f.cfg.TLS != nil {
		c.link.StartTLS(f.cfg.TLS)
	}
	c.wait()
	if !c.link.Start(nil) {
		c.lost()
	}
}

// Shutdown stops accepting, closes the connections that wait for a request, and
// waits until the requests under way are answered. When ctx ends the rest is cut,
// and the error says so.
func (f *Front) Shutdown(ctx context.Context) error {
	err := f.pool.Stop()
	if e := f.std.Shutdown(ctx); e != nil {
		err = errors.Join(err, e, f.std.Close())
	} else {
		f.returning.Wait()
	}
	err = errors.Join(err, f.pool.Close(ctx))
	for _, c := range f.pool.Open() {
		// Nobody reads while a request waits for the one before it.
		c.Handler().(*conn).lost()
	}
	return err
}

// logPanic is called while a panic goes on.
func (f *Front) logPanic(p any) {
	f.cfg.Log.Error("panic", "doing", "http", "panic", p, "stack", string(debug.Stack()))
}

// holds reports whether a request is one to be held.
func (f *Front) holds(r *http.Request) bool {
	return f.cfg.Held != nil && r.Method == http.MethodPost && slices.Contains(f.cfg.Paths, r.URL.Path)
}
