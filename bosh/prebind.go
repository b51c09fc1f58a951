package bosh

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"rollcall/internal/forwarded"
)

// PrebindConfig says who may open sessions by one HTTP request.
type PrebindConfig struct {
	// Domain is that of users who are named without one.
	Domain string
	// Key lets a back end open sessions for any user; empty for nobody. It is a
	// secret of its own, too long to be guessed.
	Key string
	// Attempts is how often within a minute one address may fail for one user.
	Attempts int
}

// prebinder serves prebinding: a POST request that logs a user in and leaves the BOSH
// session to whoever gets the answer, which is what Strophe.attach takes. Clients call
// it from pages of the same origin, or back ends on their behalf.
type prebinder struct {
	h        *Handler
	domain   string
	hasKey   bool
	key      [sha256.Size]byte
	attempts int
	failures failures
	origins  *http.CrossOriginProtection
}

// Prebind returns the handler of the POST requests that open sessions of h, whose
// users prove themselves with name and password (Authorization: Basic, or in the body),
// or are vouched for by a back end that has the key (Authorization: Bearer).
//
// The body is a JSON object or a form with user, password, resource and secure, all of
// them text but for secure; what is not needed is left out. secure is true when the
// session may be used over TLS only, which holds anyway if the request itself came so
// (XEP-0124 section 19.1). The answer is
//
//	{"jid": "alice@example.org/web", "sid": "...", "rid": 123}
//
// where rid is that of the next request. Without one the session ends after the usual
// inactivity. Errors are {"error": "..."} with a status of 400 or above.
//
// Passwords and keys are taken over TLS, from programs of the same machine, and where
// the listener permits PLAIN without TLS.
func (h *Handler) Prebind(c PrebindConfig) http.Handler {
	return &prebinder{
		h: h, domain: c.Domain, hasKey: c.Key != "", key: sha256.Sum256([]byte(c.Key)), attempts: c.Attempts,
		// No page of another origin is to use what the browser remembers of Basic.
		origins: http.NewCrossOriginProtection(),
	}
}

// refused is why there is no session, as an HTTP status and for people.
type refused struct {
	status int
	text   string
}

func (e *refused) Error() string { return e.text }

// One answer for unknown users, wrong passwords and wrong keys.
var errUnauthorized = &refused{http.StatusUnauthorized, "Wrong user, password or key"}

// ServeHTTP implements http.Handler.
func (p *prebinder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	switch r.Method {
	case http.MethodPost:
	case http.MethodOptions:
		head.Set("Allow", "OPTIONS, POST")
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		head.Set("Allow", "OPTIONS, POST")
		p.refuse(w, r, &refused{http.StatusMethodNotAllowed, "Method not allowed"})
		return
	}
	p.h.enter()
	defer p.h.leave()
	s, err := p.prebind(w, r)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	answer, err := json.Marshal(struct {
		JID string `json:"jid"`
		SID string `json:"sid"`
		RID int64  `json:"rid"`
	}{s.core.JID().String(), s.sid, s.nextRID()})
	if err == nil {
		// Afterwards that may only mean that the client has what it wanted.
		err = r.Context().Err()
	}
	if err == nil {
		err = writeJSON(w, http.StatusOK, answer)
	}
	if err != nil {
		s.abandon() // nobody knows of it
	}
}

// prebind opens the session that a request asks for.
func (p *prebinder) prebind(w http.ResponseWriter, r *http.Request) (*session, error) {
	if err := p.origins.Check(r); err != nil {
		return nil, &refused{http.StatusForbidden, "Pages of other origins may not prebind"}
	}
	c := p.h.clientSending(r)
	if !c.secure && !p.h.listener.PlainWithoutTLS && !fromThisMachine(r) {
		return nil, &refused{http.StatusForbidden, "Passwords and keys are taken over HTTPS only"}
	}
	if p.h.isDraining() {
		return nil, errShuttingDown
	}
	ask, err := readPrebind(w, r)
	if err != nil {
		return nil, err
	}
	sid := p.h.chooseSID(r.Header.Get("X-BOSH-Sid"), r.RemoteAddr)
	if ask.key != "" {
		return p.vouched(ask, c, sid)
	}
	local, domain := p.account(ask.user)
	sources := failureSources(c.remote, local, domain)
	if !p.failures.begin(sources, p.attempts) {
		return nil, p.tooMany(w, ask, c)
	}
	s, err := p.h.openFor(login{
		local: local, domain: domain, password: ask.password, resource: ask.resource, sid: sid,
	}, ask.client(c))
	if !errors.Is(err, errUnauthorized) {
		p.failures.forgive(sources)
	}
	return s, err
}

// tooMany refuses whoever failed too often.
func (p *prebinder) tooMany(w http.ResponseWriter, ask *prebindRequest, c client) error {
	w.Header().Set("Retry-After", fmt.Sprint(int(failurePeriod.Seconds())))
	p.h.cfg.Log.Warn("prebinding refused after too many failures", "user", clipName(ask.user), "remote", c.remote)
	return &refused{http.StatusTooManyRequests, "Too many failures: try later"}
}

// vouched opens a session for who has the key, under the sid that is proposed, if any.
// A key is too long to be guessed: failures need no counting.
func (p *prebinder) vouched(ask *prebindRequest, c client, sid string) (*session, error) {
	// The digests are of the same length whatever was sent.
	given := sha256.Sum256([]byte(ask.key))
	if !p.hasKey || subtle.ConstantTimeCompare(given[:], p.key[:]) != 1 {
		p.h.cfg.Log.Info("authentication failed", "err", "wrong key", "user", clipName(ask.user),
			"transport", "prebind", "remote", c.remote)
		return nil, errUnauthorized
	}
	local, domain := p.account(ask.user)
	return p.h.openFor(login{local: local, domain: domain, trusted: true, resource: ask.resource, sid: sid}, ask.client(c))
}

// client is whom the session is for: the back end may want it encrypted.
func (ask *prebindRequest) client(c client) client {
	c.secure = c.secure || ask.secure
	return c
}

// account splits a user's name into the parts of an address.
func (p *prebinder) account(user string) (local, domain string) {
	if i := strings.LastIndexByte(user, '@'); i >= 0 {
		return user[:i], user[i+1:]
	}
	return user, p.domain
}

// forwardingHeaders are set by proxies.
func forwardingHeaders() []string {
	return []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"}
}

// fromThisMachine reports whether a request was made by a program of this machine, and
// did not just pass through a proxy here.
func fromThisMachine(r *http.Request) bool {
	ip, ok := forwarded.Address(r.RemoteAddr)
	return ok && ip.IsLoopback() && !slices.ContainsFunc(forwardingHeaders(), func(name string) bool {
		return len(r.Header.Values(name)) > 0
	})
}

// refuse answers with an error. A password that came in the body was not asked for by
// the browser, which should not begin to ask for it in a window of its own.
func (p *prebinder) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var why *refused
	if !errors.As(err, &why) {
		p.h.cfg.Log.Error("prebinding", "err", err)
		why = &refused{http.StatusInternalServerError, "Internal server error"}
	}
	if why.status == http.StatusUnauthorized {
		if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); scheme == "" && r.ContentLength != 0 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="rollcall"`)
		} else {
			w.Header().Add("WWW-Authenticate", `Basic realm="rollcall", charset="UTF-8"`)
			w.Header().Add("WWW-Authenticate", `Bearer realm="rollcall"`)
		}
	}
	text, err := json.Marshal(map[string]string{"error": why.text})
	if err == nil {
		err = writeJSON(w, why.status, text)
	}
	if err != nil {
		p.h.cfg.Log.Debug("prebinding: the answer was not taken", "err", err)
	}
}

func writeJSON(w http.ResponseWriter, status int, text []byte) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.WriteHeader(status)
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := http.NewResponseController(w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
