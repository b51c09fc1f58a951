// Package bosh carries XMPP over HTTP: XEP-0124 and XEP-0206. A Handler serves
// one path; window.go decides about request ids, session.go lends the requests to
// the core's sessions.
package bosh

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"rollcall/conf"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// Config is what a Handler is made of.
type Config struct {
	Wait       time.Duration // longest that a request is held
	Inactivity time.Duration // longest that a client may be without a request
	MaxPause   time.Duration // longest that a client may announce to be silent; 0 for none
	Polling    time.Duration // shortest time between empty polls
	Hold       int           // most requests held
	Origins    []string      // of pages that may connect; "*" for any
	// TrustedProxies may say whose a request is, and that it came encrypted.
	TrustedProxies []netip.Prefix
	Limits         conf.Limits
	Log            *slog.Logger
}

// Handler serves BOSH sessions.
type Handler struct {
	srv      *server.Server
	listener server.Listener
	cfg      Config

	mu       sync.Mutex
	sessions map[string]*session
	active   sync.WaitGroup // requests
}

// New makes a Handler for the sessions of one server.
func New(srv *server.Server, l server.Listener, c Config) *Handler {
	return &Handler{srv: srv, listener: l, cfg: c, sessions: make(map[string]*session)}
}

// Shutdown waits until the requests under way are answered. The server must have
// been shut down before, so that none is held.
func (h *Handler) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		h.active.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bodyTime bounds how slowly a request's body may come, and an answer may go.
const bodyTime = 20 * time.Second

// bodies is how many stanzas of the largest size fit in one request: clients
// send what waited in one.
const bodies = 4

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.active.Add(1)
	defer h.active.Done()
	h.allowOrigin(w, r)
	switch r.Method {
	case http.MethodPost:
		h.post(w, r)
	case http.MethodOptions:
		h.preflight(w, r)
	case http.MethodGet, http.MethodHead:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!doctype html><title>BOSH</title><p>XMPP clients connect here with BOSH (XEP-0124).\n")
	default:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS, POST")
		http.Error(w, "POST a body", http.StatusMethodNotAllowed)
	}
}

// post serves a request of a session.
func (h *Handler) post(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	limit := bodies * int64(h.cfg.Limits.StanzaBytes)
	// A writer that cannot set deadlines has none; the test recorder is one.
	if err := control.SetReadDeadline(time.Now().Add(bodyTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		h.cfg.Log.Debug("no deadline", "err", err)
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			h.answer(w, "", terminal(policyViolation))
		}
		return // nobody is there to answer
	}
	if err := control.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		h.cfg.Log.Debug("no deadline", "err", err)
	}
	b, err := parseBody(data, xmlscan.Limits{
		Bytes: int(limit), Depth: h.cfg.Limits.Depth + 1, Attrs: h.cfg.Limits.Attributes,
	})
	if err != nil {
		h.cfg.Log.Info("bad request", "err", err, "remote", r.RemoteAddr)
		h.answer(w, "", terminal(badRequest))
		return
	}
	info := h.info(r)
	s := h.session(b, info)
	switch {
	case s == nil, s.info.Secure && !info.Secure:
		// Section 19.1: a session that began encrypted stays so.
		h.answer(w, "", terminal(itemNotFound))
		return
	}
	to := newResponder()
	s.take(&request{rid: b.rid, body: b, to: to})
	select {
	case answer := <-to.answer:
		h.answer(w, s.typ, answer)
	case <-r.Context().Done():
		s.abandon(to)
	}
}

// session finds or makes the session of a request.
func (h *Handler) session(b *body, info server.Info) *session {
	h.mu.Lock()
	s := h.sessions[b.sid]
	h.mu.Unlock()
	if s != nil || b.sid != "" {
		return s
	}
	s = h.newSession(b, info)
	h.mu.Lock()
	h.sessions[s.sid] = s
	h.mu.Unlock()
	return s
}

func (h *Handler) forget(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s.sid)
}

func (h *Handler) answer(w http.ResponseWriter, contentType string, body []byte) {
	if contentType == "" {
		contentType = defaultType
	}
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(bodyTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		h.cfg.Log.Debug("no deadline", "err", err)
	}
	if _, err := w.Write(body); err != nil {
		// The client asks again, and gets the same answer.
		h.cfg.Log.Debug("answer not taken", "err", err)
	}
}
