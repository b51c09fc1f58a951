package hostmeta

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"testing"

	"github.com/beevik/etree"

	"rollcall/internal/forwarded"
)

func ask(c Config, method, path string, change ...func(*http.Request)) *http.Response {
	r := httptest.NewRequest(method, "http://chat.example.org:5280"+path, nil)
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	Handler(c).ServeHTTP(w, r)
	return w.Result()
}

// linksXML reads the document as a client does.
func linksXML(t *testing.T, resp *http.Response) map[string]string {
	t.Helper()
	d := etree.NewDocument()
	if _, err := d.ReadFrom(resp.Body); err != nil || d.Root() == nil {
		t.Fatal(err)
	}
	if d.Root().Tag != "XRD" || d.Root().NamespaceURI() != "http://docs.oasis-open.org/ns/xri/xrd-1.0" {
		t.Fatalf("the root is %s of %s", d.Root().Tag, d.Root().NamespaceURI())
	}
	links := map[string]string{}
	for _, l := range d.Root().SelectElements("Link") {
		links[l.SelectAttrValue("rel", "")] = l.SelectAttrValue("href", "")
	}
	return links
}

func linksJSON(t *testing.T, resp *http.Response) map[string]string {
	t.Helper()
	var d struct {
		Links []struct{ Rel, Href string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.Links == nil {
		t.Fatal("links is null")
	}
	links := map[string]string{}
	for _, l := range d.Links {
		links[l.Rel] = l.Href
	}
	return links
}

// XEP-0156 section 3.
func TestDocuments(t *testing.T) {
	proxies := forwarded.Proxies{netip.MustParsePrefix("192.0.2.0/24")} // httptest's client
	both := Config{BOSH: "/http-bind", WebSocket: "/xmpp-websocket"}
	https := func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }
	elsewhere := func(r *http.Request) { r.Header.Set("X-Forwarded-Host", "example.org") }
	for _, c := range []struct {
		name   string
		c      Config
		change []func(*http.Request)
		want   map[string]string
	}{
		{"of the request", both, nil, map[string]string{
			relBOSH: "http://chat.example.org:5280/http-bind", relWebSocket: "ws://chat.example.org:5280/xmpp-websocket"}},
		{"a stranger's headers", both, []func(*http.Request){https, elsewhere}, map[string]string{
			relBOSH: "http://chat.example.org:5280/http-bind", relWebSocket: "ws://chat.example.org:5280/xmpp-websocket"}},
		{"a proxy's headers", Config{BOSH: "/http-bind", WebSocket: "/ws", Proxies: proxies}, []func(*http.Request){https, elsewhere},
			map[string]string{relBOSH: "https://example.org/http-bind", relWebSocket: "wss://example.org/ws"}},
		{"public URL", Config{BOSH: "/http-bind", WebSocket: "/ws", PublicURL: "https://web.example.org", Proxies: proxies},
			[]func(*http.Request){elsewhere, func(r *http.Request) { r.Host = "<>" }},
			map[string]string{relBOSH: "https://web.example.org/http-bind", relWebSocket: "wss://web.example.org/ws"}},
		{"BOSH alone", Config{BOSH: "/http-bind"}, nil, map[string]string{relBOSH: "http://chat.example.org:5280/http-bind"}},
		{"WebSocket alone", Config{WebSocket: "/ws"}, nil, map[string]string{relWebSocket: "ws://chat.example.org:5280/ws"}},
	} {
		for path, read := range map[string]func(*testing.T, *http.Response) map[string]string{XMLPath: linksXML, JSONPath: linksJSON} {
			resp := ask(c.c, http.MethodGet, path, c.change...)
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s: %s %v", c.name, resp.Status, resp.Header)
			}
			want := map[string]string{XMLPath: "application/xrd+xml", JSONPath: "application/json"}[path]
			if got := resp.Header.Get("Content-Type"); got != want {
				t.Errorf("%s: %s is %s", c.name, path, got)
			}
			if got := read(t, resp); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: %s has %v, want %v", c.name, path, got, c.want)
			}
		}
	}
}

func TestMethods(t *testing.T) {
	c := Config{BOSH: "/http-bind"}
	for _, path := range []string{XMLPath, JSONPath} {
		get, head := ask(c, http.MethodGet, path), ask(c, http.MethodHead, path)
		if !reflect.DeepEqual(get.Header, head.Header) || head.StatusCode != http.StatusOK || get.ContentLength <= 0 {
			t.Errorf("%s: GET %v, HEAD %v", path, get.Header, head.Header)
		}
		if n, err := head.Body.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%s: HEAD has a body", path)
		}
		resp := ask(c, http.MethodOptions, path)
		if h := resp.Header; resp.StatusCode != http.StatusNoContent || h.Get("Access-Control-Allow-Methods") != methods ||
			h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Headers") != "*" {
			t.Errorf("%s: OPTIONS %s %v", path, resp.Status, resp.Header)
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, "BREW"} {
			if resp := ask(c, method, path); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != methods {
				t.Errorf("%s: %s %s %v", path, method, resp.Status, resp.Header)
			}
		}
	}
	if resp := ask(c, http.MethodGet, "/.well-known/other"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("another path: %s", resp.Status)
	}
}

// Who cannot name the server is not told where it would be.
func TestBadHost(t *testing.T) {
	for _, host := range []string{"", "a b", `"><script>`, "example.org/evil", "user@example.org"} {
		resp := ask(Config{BOSH: "/http-bind"}, http.MethodGet, XMLPath, func(r *http.Request) { r.Host = host })
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %s", host, resp.Status)
		}
	}
}
