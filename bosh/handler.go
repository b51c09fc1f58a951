// Package bosh is the transport of XEP-0124 and XEP-0206: XMPP over HTTP requests,
// some of which wait at the server for something to come.
//
// Handler is the HTTP edge. It finds the session of each request; session decides
// in the order of request ids, by its window, what becomes of it, and is the
// server.Transport that the core sees.
package bosh

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"rollcall/conf"
	"rollcall/internal/forwarded"
	"rollcall/internal/front"
	"rollcall/server"
)

// Config says how sessions are served. Durations are sent to clients in whole
// seconds.
type Config struct {
	// Wait is the longest time for which a request is held, Hold how many are.
	// Clients may ask for less.
	Wait time.Duration
	Hold int
	// Requests is how many requests a client may have in flight that has as many held
	// as Hold says; at least, and if 0, one more.
	Requests int
	// Inactivity is how long a client may be without any request; MaxPause the
	// longest absence that it may announce, 0 for none.
	Inactivity, MaxPause time.Duration
	// Polling is the shortest interval between empty requests of a client that has
	// none held.
	Polling time.Duration
	// Coalesce is how long stanzas wait for others to share a reply with, when
	// replies go out one after the other. The first one after a time of quiet, and
	// what a request caused itself, do not wait.
	Coalesce time.Duration
	// Gzip compresses replies for clients that accept it (XEP-0124 section 7.2).
	// The lengths of compressed replies may tell those who see them pass, and can
	// have something sent to the client, what else is in them; so it is off unless
	// bandwidth matters more.
	Gzip bool
	// Origins are those whose pages may use the server (CORS), "*" for any.
	Origins []string
	// TrustedProxies may say whose a request is and that it came encrypted.
	TrustedProxies []netip.Prefix
	Limits         conf.Limits
	Log            *slog.Logger
}

// Handler serves BOSH at whatever path it is registered under. Its methods are
// safe for concurrent use.
type Handler struct {
	srv      *server.Server
	listener server.Listener
	cfg      Config
	epoch    time.Time                // see now
	heads    map[string][]front.Field // see heads

	mu       sync.Mutex // a leaf
	sessions map[string]*session
	serving  int       // POST requests
	gzips    sync.Pool // of *gzip.Writer
	bodies   sync.Pool // of *body
	outputs  sync.Pool // of *output
	packer   packer
	draining chan struct{} // made by Shutdown, closed when serving is 0 after that
}

// New returns a Handler for a server.
func New(srv *server.Server, l server.Listener, c Config) *Handler {
	h := &Handler{
		srv: srv, listener: l, cfg: c, sessions: make(map[string]*session),
		// Whatever never happened was long ago.
		epoch: time.Now().Add(-1000 * time.Hour), heads: heads(),
	}
	h.packer.now = h.now
	return h
}

// now is the time that sessions count by.
func (h *Handler) now() time.Duration { return time.Since(h.epoch) }

func (h *Handler) proxies() forwarded.Proxies { return h.cfg.TrustedProxies }

// client is who sent a request.
type client struct {
	remote string
	secure bool
}

// clientOf finds the client of a request to be held.
func (h *Handler) clientOf(in *front.Request) client {
	remote := in.RemoteAddr()
	if !h.proxies().Trusts(remote) {
		return client{remote, in.Secure()}
	}
	r := http.Request{RemoteAddr: remote, Header: make(http.Header)}
	if in.Secure() {
		r.TLS = new(tls.ConnectionState)
	}
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto"} {
		r.Header[name] = in.Values(name)
	}
	return h.clientSending(&r)
}

// isSecure is what clientOf says of it, without looking who that is if it can.
func (h *Handler) isSecure(in *front.Request) bool {
	if len(h.cfg.TrustedProxies) == 0 {
		return in.Secure()
	}
	return h.clientOf(in).secure
}

// clientSending finds the client of any request.
func (h *Handler) clientSending(r *http.Request) client {
	remote, secure := h.proxies().Client(r)
	return client{remote, secure}
}

// Shutdown waits until every request is answered. The server's Shutdown, which
// should come before, ends the sessions; those that are left are told
// system-shutdown here. When ctx ends, the error says how many requests wait still.
func (h *Handler) Shutdown(ctx context.Context) error {
	drained := h.drain()
	for _, s := range h.known() {
		if !s.over() {
			s.core.Kick(server.Close{Reason: server.ReasonShutdown})
		}
	}
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		h.mu.Lock()
		defer h.mu.Unlock()
		return fmt.Errorf("bosh: %d requests without an answer: %w", h.serving, ctx.Err())
	}
}

func (h *Handler) drain() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining == nil {
		h.draining = make(chan struct{})
		if h.serving == 0 {
			close(h.draining)
		}
	}
	return h.draining
}

func (h *Handler) known() []*session {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*session, 0, len(h.sessions))
	for _, s := range h.sessions {
		all = append(all, s)
	}
	return all
}

func (h *Handler) find(sid []byte) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[string(sid)]
}

// add makes a session known, under a name of its own.
func (h *Handler) add(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, taken := h.sessions[s.sid]; taken {
		s.sid = rand.Text() // the one proposed belongs to somebody
	}
	h.sessions[s.sid] = s
	if h.draining != nil {
		s.core.Kick(server.Close{Reason: server.ReasonShutdown})
	}
}

func (h *Handler) remove(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[s.sid] == s {
		delete(h.sessions, s.sid)
	}
}

// enter and leave count the requests being served.
func (h *Handler) enter() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serving++
}

func (h *Handler) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.serving--; h.serving > 0 || h.draining == nil {
		return
	}
	select {
	case <-h.draining:
	default:
		close(h.draining)
	}
}

// Exchange implements front.Handler.
func (h *Handler) Exchange() *front.Exchange {
	r := &request{h: h}
	r.Waiter = r
	return &r.Exchange
}

// Serve implements front.Handler: it takes a POST request.
func (h *Handler) Serve(x *front.Exchange, in *front.Request) {
	h.enter()
	r := x.Waiter.(*request)
	r.secure = h.isSecure(in)
	r.gzip = h.cfg.Gzip && acceptsGzip(in.Values("Accept-Encoding"))
	if origin := in.Value("Origin"); h.permits(origin) {
		r.origin = origin
	}
	r.post(in)
}

// The times for a body to come and for a reply to be taken, for servers that ask.
const (
	BodyTime  = 30 * time.Second
	ReplyTime = 30 * time.Second
)

// ServeHTTP implements http.Handler, with a goroutine for each request that is held.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		front.Block(h, w, r, BodyTime, ReplyTime)
		return
	}
	h.allowOrigin(w, r)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		serveInfo(w)
	case http.MethodOptions:
		h.preflight(w, r)
	default:
		w.Header().Set("Allow", allowedMethods)
		http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
	}
}

// newSession makes the session that a creation request asks for, without taking the
// request itself. Nobody knows it before it is added.
func (h *Handler) newSession(b *body, sid string, c client, l *server.Listener) *session {
	s := &session{
		h: h, sid: sid, terms: h.cfg.terms(b), legacy: b.old, active: h.now(),
		remote: c.remote, secure: c.secure, opening: &opening{version: negotiateVersion(b.ver)},
	}
	s.win = newWindow[*request](b.rid, s.terms.requests(), int(s.terms.hold))
	s.win.acks = b.acks && b.ack == 1
	s.core = h.srv.NewSession(s, l)
	return s
}

func (h *Handler) isDraining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining != nil
}
