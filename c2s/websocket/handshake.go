package websocket

import (
	"crypto/sha1"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gobwas/httphead"

	"rollcall/internal/forwarded"
)

// refusal is the answer to a request that cannot become a connection.
type refusal struct {
	status int
	why    string // for people who set up a proxy
}

// write answers a request.
func (f *refusal) write(w http.ResponseWriter) {
	head := w.Header()
	switch f.status {
	case http.StatusMethodNotAllowed:
		head.Set("Allow", http.MethodGet)
	case http.StatusUpgradeRequired: // RFC 9110 section 15.5.22, RFC 6455 section 4.4
		head.Set("Upgrade", "websocket")
		head.Set("Connection", "Upgrade")
		head.Set("Sec-WebSocket-Version", "13")
	}
	http.Error(w, f.why, f.status)
}

// refusal is nil for a request that can become a connection.
func (a *Acceptor) refusal(r *http.Request) *refusal {
	switch {
	case r.Method != http.MethodGet:
		return &refusal{http.StatusMethodNotAllowed, "A WebSocket handshake is a GET request."}
	case !r.ProtoAtLeast(1, 1), !hasToken(r.Header.Values("Upgrade"), "websocket"), !hasToken(r.Header.Values("Connection"), "upgrade"):
		// Also where a proxy in between speaks HTTP/1.0 or keeps these headers to itself.
		return &refusal{http.StatusUpgradeRequired, "Here XMPP clients connect by WebSocket (RFC 7395): the request needs HTTP/1.1 and the headers \"Connection: Upgrade\" and \"Upgrade: websocket\"."}
	case r.Header.Get(versionHeader) == "":
		return &refusal{http.StatusBadRequest, "The header Sec-WebSocket-Version is missing."}
	case r.Header.Get(versionHeader) != "13":
		return &refusal{http.StatusUpgradeRequired, "The WebSocket version has to be 13."}
	case !isKey(r.Header.Values(keyHeader)):
		return &refusal{http.StatusBadRequest, "The header Sec-WebSocket-Key has to be 16 bytes in base64."}
	case r.ContentLength != 0:
		return &refusal{http.StatusBadRequest, "A WebSocket handshake has no body."}
	case !a.allows(r):
		return &refusal{http.StatusForbidden, "Pages of this origin may not connect."}
	case !a.cfg.Bench && !offers(r, subprotocol):
		return &refusal{http.StatusBadRequest, "The client has to offer the subprotocol \"xmpp\": Sec-WebSocket-Protocol: xmpp (RFC 7395 section 3.1)."}
	}
	if a.cfg.Compression {
		if _, ok := agree(r.Header[extensionsHeader]); !ok { // RFC 6455 section 9.1
			return &refusal{http.StatusBadRequest, "The header Sec-WebSocket-Extensions is malformed."}
		}
	}
	return nil
}

// Headers of a handshake, in the form that net/http keeps them under.
const (
	versionHeader    = "Sec-Websocket-Version"
	keyHeader        = "Sec-Websocket-Key"
	protocolHeader   = "Sec-Websocket-Protocol"
	extensionsHeader = "Sec-Websocket-Extensions"
)

// keyGUID is what keys are hashed with (RFC 6455 section 1.3).
const keyGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// appendAnswer appends the answer to a request that becomes a connection (RFC 6455
// section 4.2.2).
func appendAnswer(dst []byte, r *http.Request, extensions []httphead.Option) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	var hashed [64]byte
	sum := sha1.Sum(append(append(hashed[:0], r.Header.Get(keyHeader)...), keyGUID...))
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	if offers(r, subprotocol) {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "+subprotocol...)
	}
	if len(extensions) > 0 {
		var b strings.Builder
		_, _ = httphead.WriteOptions(&b, extensions) // a Builder takes everything
		dst = append(append(dst, "\r\nSec-WebSocket-Extensions: "...), b.String()...)
	}
	return append(dst, "\r\n\r\n"...)
}

// offers reports whether a client offers a subprotocol. Names of subprotocols are
// compared as they are.
func offers(r *http.Request, name string) bool {
	for _, v := range r.Header.Values(protocolHeader) {
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
