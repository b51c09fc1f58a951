package bosh

import (
	"crypto/rand"
	"io"
	"net/http"
	"slices"
	"strings"

	"rollcall/internal/front"
)

const allowedMethods = "GET, HEAD, OPTIONS, POST"

const info = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>BOSH</title></head>
<body><p>Here XMPP clients connect by BOSH
(<a href="https://xmpp.org/extensions/xep-0124.html">XEP-0124</a>). There is nothing to see.</p></body></html>
`

// serveInfo tells people who open the address in a browser what it is.
func serveInfo(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// Who asked for the page has gone if this fails.
	_, _ = io.WriteString(w, info)
}

// allowOrigin lets pages of other origins read what is answered. The origin is
// echoed because "*" does not work for requests with credentials.
func (h *Handler) allowOrigin(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); h.permits(origin) {
		head.Set("Access-Control-Allow-Origin", origin)
		head.Set("Access-Control-Allow-Credentials", "true")
	}
}

// permits reports whether pages of an origin may use the server.
func (h *Handler) permits(origin string) bool {
	return origin != "" &&
		(slices.Contains(h.cfg.Origins, "*") || slices.Contains(h.cfg.Origins, strings.ToLower(origin)))
}

// preflight answers what browsers ask before a request to another origin. They
// always do, as text/xml is not among the types that HTML forms send.
func (h *Handler) preflight(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Allow", allowedMethods)
	if head.Get("Access-Control-Allow-Origin") != "" {
		head.Add("Vary", "Access-Control-Request-Headers")
		head.Set("Access-Control-Allow-Methods", allowedMethods)
		headers := r.Header.Get("Access-Control-Request-Headers")
		if headers == "" {
			headers = "Content-Type"
		}
		head.Set("Access-Control-Allow-Headers", headers)
		head.Set("Access-Control-Max-Age", "86400")
	}
	w.WriteHeader(http.StatusNoContent)
}

// sidFor is the sid of a session that a request begins: what a trusted proxy proposes,
// so that it can find the same server for each request of a session by its sid alone,
// or else one of its own.
func (h *Handler) sidFor(in *front.Request) string {
	return h.chooseSID(in.Value("X-BOSH-Sid"), in.RemoteAddr())
}

// chooseSID takes the sid proposed by who sends from an address, if it may be.
func (h *Handler) chooseSID(proposed, remote string) string {
	if isProposal(proposed) && h.proxies().Trusts(remote) {
		return proposed
	}
	return rand.Text()
}

// isProposal reports whether a sid has 128 to 256 bits in lower-case hexadecimal.
func isProposal(sid string) bool {
	return len(sid) >= 32 && len(sid) <= 64 && strings.Trim(sid, "0123456789abcdef") == ""
}
