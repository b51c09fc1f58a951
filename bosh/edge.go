package bosh

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"rollcall/server"
)

// kind is the transport's name in logs and metrics.
const kind = "bosh"

// defaultType is the Content-Type of answers (XEP-0124 section 7.1).
const defaultType = "text/xml; charset=utf-8"

// contentType is the Content-Type that a client wants, if it is one that no
// browser would run.
func contentType(asked string) string {
	switch strings.ToLower(strings.ReplaceAll(asked, " ", "")) {
	case "text/xml", "application/xml", "text/plain", "text/plain;charset=utf-8", "application/xml;charset=utf-8":
		return asked
	}
	return defaultType
}

// info describes where a request came from. Proxies are believed only when they
// are known.
func (h *Handler) info(r *http.Request) server.Info {
	info := server.Info{Kind: kind, Remote: r.RemoteAddr, Secure: r.TLS != nil}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !h.trusted(peer.Addr()) {
		return info
	}
	info.Secure = info.Secure || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
	// The last address that no proxy of ours wrote for another.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		info.Remote = addr.String()
		if !h.trusted(addr) {
			break
		}
	}
	return info
}

func (h *Handler) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(h.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

// allowOrigin lets the pages of configured sites read answers. The origin is
// echoed: browsers refuse "*" with credentials, which some clients send.
func (h *Handler) allowOrigin(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(h.cfg.Origins, "*") && !slices.Contains(h.cfg.Origins, strings.ToLower(origin)) {
		return
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Allow-Credentials", "true")
}

// preflight answers what browsers ask before they post XML to another site.
func (h *Handler) preflight(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	if header.Get("Access-Control-Allow-Origin") != "" {
		header.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			header.Set("Access-Control-Allow-Headers", asked)
			header.Add("Vary", "Access-Control-Request-Headers")
		}
		header.Set("Access-Control-Max-Age", "86400")
	}
	w.WriteHeader(http.StatusNoContent)
}
