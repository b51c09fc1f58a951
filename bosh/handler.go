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
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"rollcall/conf"
	"rollcall/server"
)

// Config says how sessions are served. Durations are sent to clients in whole
// seconds.
type Config struct {
	// Wait is the longest time for which a request is held, Hold how many are.
	// Clients may ask for less.
	Wait time.Duration
	Hold int
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

	mu       sync.Mutex // a leaf
	sessions map[string]*session
	serving  int           // POST requests
	gzips    sync.Pool     // of *gzip.Writer
	draining chan struct{} // made by Shutdown, closed when serving is 0 after that
}

// New returns a Handler for a server.
func New(srv *server.Server, l server.Listener, c Config) *Handler {
	return &Handler{srv: srv, listener: l, cfg: c, sessions: make(map[string]*session)}
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

func (h *Handler) find(sid string) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[sid]
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

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.allowOrigin(w, r)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch r.Method {
	case http.MethodPost:
		h.enter()
		defer h.leave()
		h.post(&exchange{h: h, w: w, r: r, rc: http.NewResponseController(w), client: h.clientOf(r)})
	case http.MethodGet, http.MethodHead:
		serveInfo(w)
	case http.MethodOptions:
		h.preflight(w, r)
	default:
		w.Header().Set("Allow", allowedMethods)
		http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
	}
}

// The times for a body to come and for a reply to be taken.
const (
	bodyTime  = 30 * time.Second
	replyTime = 30 * time.Second
)

// exchange is one POST request under way.
type exchange struct {
	h      *Handler
	w      http.ResponseWriter
	r      *http.Request
	rc     *http.ResponseController
	client client
}

func (h *Handler) post(x *exchange) {
	raw, tooLong, err := h.read(x)
	if err != nil {
		// Nothing that could be answered has come.
		x.w.Header().Set("Connection", "close")
		http.Error(x.w, "The request did not come in time", http.StatusRequestTimeout)
		return
	}
	if tooLong {
		// The rest is not awaited.
		x.w.Header().Set("Connection", "close")
		h.refuse(x, &body{sid: peekSID(raw, h.cfg.Limits)}, &bodyError{policyViolation, errTooLong})
		return
	}
	b, bad := parseBody(raw, h.cfg.Limits)
	switch {
	case bad != nil:
		h.refuse(x, b, bad)
	case b.sid == "":
		h.create(x, b)
	default:
		if s := h.sessionOf(x, b.sid); s != nil {
			r := newRequest(b, time.Now())
			s.arrive(r)
			h.wait(x, s, r)
			return
		}
		x.reply(refusal(itemNotFound, false), defaultContentType)
	}
}

var errTooLong = errors.New("bosh: body too long")

// read reads a body. Only clients that are logged in may send much, and who that
// is can be told from the beginning.
func (h *Handler) read(x *exchange) (raw []byte, tooLong bool, err error) {
	if err := x.deadline(x.rc.SetReadDeadline, bodyTime); err != nil {
		return nil, false, err
	}
	limit := h.strangersLimit()
	raw, err = io.ReadAll(io.LimitReader(x.r.Body, int64(limit)+1))
	if err == nil && len(raw) > limit {
		if s := h.sessionOf(x, peekSID(raw, h.cfg.Limits)); s != nil {
			limit = s.bodyLimit()
		}
		if len(raw) <= limit {
			var more []byte
			more, err = io.ReadAll(io.LimitReader(x.r.Body, int64(limit-len(raw))+1))
			raw = append(raw, more...)
		}
	}
	if err != nil {
		return nil, false, err
	}
	if len(raw) > limit {
		return raw, true, nil // the deadline holds for what net/http still reads
	}
	return raw, false, x.deadline(x.rc.SetReadDeadline, 0)
}

// deadline sets a deadline from now on, or lifts it.
func (x *exchange) deadline(set func(time.Time) error, d time.Duration) error {
	at := time.Time{}
	if d > 0 {
		at = time.Now().Add(d)
	}
	if err := set(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// sessionOf finds the session of a request. One that began encrypted must not be
// used otherwise (XEP-0124 section 19.1): then the connection ends, not the
// session.
func (h *Handler) sessionOf(x *exchange, sid string) *session {
	s := h.find(sid)
	if s != nil && s.info.Secure && !x.client.secure {
		x.w.Header().Set("Connection", "close")
		return nil
	}
	return s
}

// refuse answers what is no proper request, and ends its session, if any.
func (h *Handler) refuse(x *exchange, b *body, bad *bodyError) {
	s := h.sessionOf(x, b.sid)
	if s == nil {
		h.cfg.Log.Debug("request refused", "condition", bad.condition, "err", bad.cause, "remote", x.client.remote)
		x.reply(refusal(bad.condition, b.old), defaultContentType)
		return
	}
	x.reply(s.violate(bad.condition, bad.cause), s.terms.contentType)
}

// create begins a session (XEP-0124 section 7).
func (h *Handler) create(x *exchange, b *body) {
	if h.isDraining() {
		x.reply(refusal(systemShutdown, b.old), defaultContentType)
		return
	}
	b.pause = number{} // there is nothing to pause yet
	r := newRequest(b, time.Now())
	r.creates = true
	s := h.newSession(b, x.client, &h.listener, r.at)
	s.sid = h.sidFor(x.r, s.sid)
	s.arrive(r)
	if !h.wait(x, s, r) {
		// The client cannot ask again, as it does not know the session.
		s.abandon()
	}
}

// newSession makes the session that a creation request asks for, without taking the
// request itself. Nobody knows it before it is added.
func (h *Handler) newSession(b *body, c client, l *server.Listener, at time.Time) *session {
	s := &session{
		h: h, sid: rand.Text(), terms: h.cfg.terms(b), legacy: b.old, active: at,
		info: server.Info{Kind: "bosh", Remote: c.remote, Secure: c.secure},
	}
	s.win = newWindow[*request](b.rid, s.terms.requests(), s.terms.hold)
	s.win.acks = b.acks && b.ack == 1
	s.core = h.srv.NewSession(s, l)
	return s
}

func (h *Handler) isDraining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining != nil
}

// wait waits for the answer to r, writes it, and reports whether that went well.
func (h *Handler) wait(x *exchange, s *session, r *request) bool {
	select {
	case rep := <-r.responder:
		// A connection that is gone may still take what is written to it.
		if x.r.Context().Err() == nil && x.reply(rep, s.terms.contentType) {
			s.wrote(r)
			return true
		}
	case <-x.r.Context().Done():
	}
	s.lost(r)
	return false
}

// reply writes a reply and reports whether the connection took it.
func (x *exchange) reply(rep reply, contentType string) bool {
	head := x.w.Header()
	head.Set("Content-Type", contentType)
	head.Set("Cache-Control", "no-store")
	body, encoding := x.h.encode(rep.body, x.r.Header)
	if encoding != "" {
		head.Set("Content-Encoding", encoding)
	}
	head.Set("Content-Length", fmt.Sprint(len(body)))
	if x.deadline(x.rc.SetWriteDeadline, replyTime) != nil {
		return false
	}
	x.w.WriteHeader(rep.status)
	if _, err := x.w.Write(body); err != nil {
		return false
	}
	if err := x.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return false
	}
	// The reply is out; a connection that is broken by now shows that next time.
	_ = x.deadline(x.rc.SetWriteDeadline, 0)
	return true
}
