package forwarded

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"unsafe"
)

func proxies() Proxies {
	return Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

func request(remote, host string, header http.Header, secure bool) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr, r.Host, r.Header = remote, host, header
	if secure {
		r.TLS = new(tls.ConnectionState)
	}
	return r
}

func TestClient(t *testing.T) {
	says := func(proto string, addresses ...string) http.Header {
		return http.Header{"X-Forwarded-Proto": {proto}, "X-Forwarded-For": addresses}
	}
	for _, c := range []struct {
		name, peer string
		header     http.Header
		tls        bool
		remote     string
		secure     bool
	}{
		{"direct", "192.0.2.1:1000", nil, false, "192.0.2.1:1000", false},
		{"direct TLS", "192.0.2.1:1000", nil, true, "192.0.2.1:1000", true},
		{"a liar", "192.0.2.1:1000", says("https", "203.0.113.5"), false, "192.0.2.1:1000", false},
		{"a proxy", "10.1.2.3:1000", says("https", "203.0.113.5"), false, "203.0.113.5", true},
		{"IPv4 in IPv6", "[::ffff:10.1.2.3]:1000", says("https", "203.0.113.5"), false, "203.0.113.5", true},
		{"a proxy without TLS before it", "10.1.2.3:1000", says("http", "203.0.113.5"), true, "203.0.113.5", false},
		{"two proxies", "10.1.2.3:1000", says("http, HTTPS", "198.51.100.9, 203.0.113.5", "10.0.0.1"), false, "203.0.113.5", true},
		{"made up", "10.1.2.3:1000", says("https", "203.0.113.5, me"), false, "10.1.2.3:1000", true},
		{"nothing said", "[::1]:1000", nil, true, "[::1]:1000", true},
	} {
		remote, secure := proxies().Client(request(c.peer, "h", c.header, c.tls))
		if remote != c.remote || secure != c.secure {
			t.Errorf("%s: %s %v, want %s %v", c.name, remote, secure, c.remote, c.secure)
		}
	}
}

// The address is kept as long as a session, and the header is as long as the client wants.
func TestClientIsNoPartOfTheHeader(t *testing.T) {
	said := strings.Repeat("made up, ", 1000) + "203.0.113.5"
	remote, _ := proxies().Client(request("10.1.2.3:1000", "h", http.Header{"X-Forwarded-For": {said}}, false))
	if remote != "203.0.113.5" {
		t.Fatal(remote)
	}
	if unsafe.StringData(remote) == unsafe.StringData(said[len(said)-len(remote):]) {
		t.Error("all of the header is kept")
	}
}

func TestOrigin(t *testing.T) {
	forwarded := http.Header{"X-Forwarded-Host": {"Chat.Example.org"}, "X-Forwarded-Proto": {"https"}}
	for _, c := range []struct {
		peer, host string
		header     http.Header
		tls        bool
		want       string
	}{
		{"192.0.2.1:1", "Example.ORG", nil, false, "http://example.org"},
		{"192.0.2.1:1", "example.org:5280", nil, true, "https://example.org:5280"},
		{"192.0.2.1:1", "[2001:DB8::1]:5280", nil, true, "https://[2001:db8::1]:5280"},
		{"192.0.2.1:1", "[::1]", nil, false, "http://[::1]"},
		{"192.0.2.1:1", "127.0.0.1:5280", nil, false, "http://127.0.0.1:5280"},
		{"192.0.2.1:1", "example.org", forwarded, false, "http://example.org"},
		{"10.0.0.1:1", "127.0.0.1:5280", forwarded, false, "https://chat.example.org"},
		{"10.0.0.1:1", "example.org", nil, false, "http://example.org"},
	} {
		got, err := proxies().Origin(request(c.peer, c.host, c.header, c.tls))
		if err != nil || got != c.want {
			t.Errorf("%s from %s: %q %v, want %q", c.host, c.peer, got, err, c.want)
		}
	}
	for _, host := range []string{
		"", ":80", "example.org:", "example.org:0", "example.org:99999", "example.org:x", "me@example.org", "example.org/x",
		"example.org?", `"`, "<script>", "a b", "[::1", "::1]", "[]", "[127.0.0.1]", "[fe80::1%25eth0]", "exämple.org", "..", strings.Repeat("a", 300),
	} {
		if got, err := proxies().Origin(request("192.0.2.1:1", host, nil, false)); !errors.Is(err, ErrHost) {
			t.Errorf("%q became %q", host, got)
		}
		header := http.Header{"X-Forwarded-Host": {host}}
		if got, err := proxies().Origin(request("10.0.0.1:1", "", header, false)); !errors.Is(err, ErrHost) {
			t.Errorf("%q from a proxy became %q", host, got)
		}
	}
}
