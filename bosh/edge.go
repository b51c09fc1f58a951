package bosh

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
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
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(h.cfg.Origins, "*") && !slices.Contains(h.cfg.Origins, strings.ToLower(origin)) {
		return
	}
	head.Set("Access-Control-Allow-Origin", origin)
	head.Set("Access-Control-Allow-Credentials", "true")
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

// client is who sent a request.
type client struct {
	remote string
	secure bool
}

// clientOf believes proxies that are trusted, from the nearest one on.
func (h *Handler) clientOf(r *http.Request) client {
	c := client{remote: r.RemoteAddr, secure: r.TLS != nil}
	if !h.trusts(r.RemoteAddr) {
		return c
	}
	if proto := list(r.Header.Values("X-Forwarded-Proto")); len(proto) > 0 {
		c.secure = strings.EqualFold(proto[len(proto)-1], "https")
	}
	for _, address := range slices.Backward(list(r.Header.Values("X-Forwarded-For"))) {
		if _, ok := addressOf(address); !ok {
			break // made up before it reached a proxy
		}
		c.remote = address
		if !h.trusts(address) {
			break
		}
	}
	return c
}

// sidFor is the sid of a session that a request begins: what a trusted proxy proposes,
// so that it can find the same server for each request of a session by its sid alone,
// or else own.
func (h *Handler) sidFor(r *http.Request, own string) string {
	if sid := r.Header.Get("X-BOSH-Sid"); h.trusts(r.RemoteAddr) && isProposal(sid) {
		return sid
	}
	return own
}

// isProposal reports whether a sid has 128 to 256 bits in lower-case hexadecimal.
func isProposal(sid string) bool {
	return len(sid) >= 32 && len(sid) <= 64 && strings.Trim(sid, "0123456789abcdef") == ""
}

// list splits headers whose values are lists.
func list(values []string) []string {
	var all []string
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.TrimSpace(item); item != "" {
				all = append(all, item)
			}
		}
	}
	return all
}

// addressOf parses an address with or without a port.
func addressOf(s string) (ip netip.Addr, ok bool) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return ip.WithZone("").Unmap(), err == nil
}

func (h *Handler) trusts(address string) bool {
	ip, ok := addressOf(address)
	return ok && slices.ContainsFunc(h.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}
