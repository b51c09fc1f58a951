package websocket

import (
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"rollcall/internal/forwarded"
)

// acceptable answers a request that cannot become a connection.
func (a *Acceptor) acceptable(w http.ResponseWriter, r *http.Request) bool {
	head := w.Header()
	refuse := func(status int, why string) bool {
		if status == http.StatusUpgradeRequired { // RFC 9110 section 15.5.22, RFC 6455 section 4.4
			head.Set("Upgrade", "websocket")
			head.Set("Connection", "Upgrade")
			head.Set("Sec-WebSocket-Version", "13")
		}
		http.Error(w, why, status)
		return false
	}
	switch {
	case r.Method != http.MethodGet:
		head.Set("Allow", http.MethodGet)
		return refuse(http.StatusMethodNotAllowed, "A WebSocket handshake is a GET request.")
	case !r.ProtoAtLeast(1, 1), !hasToken(r.Header.Values("Upgrade"), "websocket"), !hasToken(r.Header.Values("Connection"), "upgrade"):
		// Also where a proxy in between speaks HTTP/1.0 or keeps these headers to itself.
		return refuse(http.StatusUpgradeRequired, "Here XMPP clients connect by WebSocket (RFC 7395): the request needs HTTP/1.1 and the headers \"Connection: Upgrade\" and \"Upgrade: websocket\".")
	case r.Header.Get("Sec-WebSocket-Version") == "":
		return refuse(http.StatusBadRequest, "The header Sec-WebSocket-Version is missing.")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return refuse(http.StatusUpgradeRequired, "The WebSocket version has to be 13.")
	case !isKey(r.Header.Values("Sec-WebSocket-Key")):
		return refuse(http.StatusBadRequest, "The header Sec-WebSocket-Key has to be 16 bytes in base64.")
	case r.ContentLength != 0:
		return refuse(http.StatusBadRequest, "A WebSocket handshake has no body.")
	case !a.allows(r):
		return refuse(http.StatusForbidden, "Pages of this origin may not connect.")
	case !a.cfg.Bench && !offers(r, subprotocol):
		return refuse(http.StatusBadRequest, "The client has to offer the subprotocol \"xmpp\": Sec-WebSocket-Protocol: xmpp (RFC 7395 section 3.1).")
	}
	return true
}

// offers reports whether a client offers a subprotocol. Names of subprotocols are
// compared as they are.
func offers(r *http.Request, name string) bool {
	for _, v := range r.Header.Values("Sec-WebSocket-Protocol") {
		for offer := range strings.SplitSeq(v, ",") {
			if strings.TrimSpace(offer) == name {
				return true
			}
		}
	}
	return false
}

// hasToken looks for a token, in any case, in the values of a header that is a list.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// isKey reports whether there is one key, of 16 bytes (RFC 6455 section 4.2.1).
func isKey(values []string) bool {
	if len(values) != 1 {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(values[0])
	return err == nil && len(key) == 16 && len(values[0]) == 24
}

// checked is what the upgrader has to see of a request that is acceptable: it looks at
// the first value of each header only.
func checked(r *http.Request) *http.Request {
	u := &http.Request{
		Method: r.Method, Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, Host: r.Host,
		Header: http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key":        r.Header["Sec-Websocket-Key"],
			"Sec-Websocket-Extensions": r.Header["Sec-Websocket-Extensions"],
		},
	}
	if offers(r, subprotocol) {
		u.Header["Sec-Websocket-Protocol"] = []string{subprotocol}
	}
	return u
}

// allows reports whether the page that a request comes from may connect (RFC 6455
// section 10.2). Only browsers say from which page they come, and they do not lie.
func (a *Acceptor) allows(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) != 1 {
		return len(origins) == 0
	}
	origin := strings.ToLower(origins[0])
	if slices.Contains(a.cfg.Origins, "*") || slices.Contains(a.cfg.Origins, origin) {
		return true
	}
	if a.cfg.Bench && !strings.Contains(origin, "://") && origin != "null" {
		return true // no browser sends that
	}
	own, err := forwarded.Proxies(a.cfg.TrustedProxies).Origin(r)
	return err == nil && authority(own) != "" && authority(own) == authority(origin)
}

// authority is the host and port of an origin; ports that go without saying are left
// out.
func authority(origin string) string {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	switch u.Port() {
	case "", "80", "443":
		return u.Hostname()
	}
	return net.JoinHostPort(u.Hostname(), u.Port())
}
