// Package forwarded tells who sent an HTTP request, and to which address, from what
// proxies say in X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host. It believes
// only those that are trusted.
package forwarded

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"rollcall/internal/jid"
)

// Proxies are the addresses of proxies that are trusted.
type Proxies []netip.Prefix

// Trusts reports whether an address, with or without a port, is that of a trusted
// proxy.
func (p Proxies) Trusts(address string) bool {
	ip, ok := Address(address)
	return ok && slices.ContainsFunc(p, func(net netip.Prefix) bool { return net.Contains(ip) })
}

// Client is who sent a request: the address, and whether it came encrypted. The
// nearest address that is no trusted proxy's counts.
func (p Proxies) Client(r *http.Request) (remote string, secure bool) {
	remote, secure = r.RemoteAddr, r.TLS != nil
	if !p.Trusts(r.RemoteAddr) {
		return remote, secure
	}
	if proto := List(r.Header.Values("X-Forwarded-Proto")); len(proto) > 0 {
		secure = strings.EqualFold(proto[len(proto)-1], "https")
	}
	for _, address := range slices.Backward(List(r.Header.Values("X-Forwarded-For"))) {
		if _, ok := Address(address); !ok {
			break // made up before it reached a proxy
		}
		remote = address
		if !p.Trusts(address) {
			break
		}
	}
	// Who keeps the address does not keep whatever else the client put into the header.
	return strings.Clone(remote), secure
}

// ErrHost says that a request names no host that could be its server's.
var ErrHost = errors.New("forwarded: not a host")

// Origin is the scheme and host that the client used for a request, such as
// https://chat.example.org or http://[::1]:5280, in lower case. The error is ErrHost.
func (p Proxies) Origin(r *http.Request) (string, error) {
	_, secure := p.Client(r)
	host := r.Host
	if names := List(r.Header.Values("X-Forwarded-Host")); len(names) > 0 && p.Trusts(r.RemoteAddr) {
		host = names[len(names)-1]
	}
	host = strings.ToLower(host)
	if !isHost(host) {
		return "", ErrHost
	}
	if secure {
		return "https://" + host, nil
	}
	return "http://" + host, nil
}

// isHost reports whether s is a domain or an IP address, with or without a port, as
// it stands in a URL.
func isHost(s string) bool {
	name := s
	if host, port, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
		name = host
		if strings.HasPrefix(s, "[") {
			name = "[" + host + "]"
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && ip.Is6() && ip.Zone() == "" && strings.HasSuffix(inner, "]")
	}
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "" {
		return false // a domain of another script comes as A-labels (RFC 3986 section 3.2.2)
	}
	_, err := jid.New("", name, "")
	return err == nil
}

// Address parses an IP address with or without a port.
func Address(s string) (ip netip.Addr, ok bool) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return ip.WithZone("").Unmap(), err == nil
}

// List splits headers whose values are lists.
func List(values []string) []string {
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
