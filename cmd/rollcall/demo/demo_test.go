package demo_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"rollcall/cmd/rollcall/demo"
)

var config = demo.Config{
	Domain:      "localhost",
	ServiceHost: "wtmuc.localhost",
	Transports: []demo.Transport{
		{Kind: "bosh", URL: "/http-bind", Label: "BOSH"},
		{Kind: "websocket", URL: "wss://chat.example.com:5443/xmpp-websocket", Label: "WebSocket"},
	},
	Users: []demo.User{{ID: "alice", Name: "Alice <b>", Password: "secret"}},
}

func get(t *testing.T, h http.Handler, method, path string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Result()
}

func body(t *testing.T, h http.Handler, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: status %d", path, w.Code)
	}
	return w.Body.String()
}

func TestFiles(t *testing.T) {
	h := demo.Handler(config)
	tests := []struct {
		method, path string
		status       int
		contentType  string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/style.css", 200, "text/css; charset=utf-8"},
		{"GET", "/app.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/icon.svg", 200, "image/svg+xml"},
		{"GET", "/config.json", 200, "application/json"},
		{"GET", "/demo.go", 404, ""},
		{"GET", "/nothing", 404, ""},
		{"POST", "/", 405, ""},
		{"POST", "/config.json", 405, ""},
	}
	for _, test := range tests {
		got := get(t, h, test.method, test.path)
		if got.StatusCode != test.status {
			t.Errorf("%s %s: status %d, want %d", test.method, test.path, got.StatusCode, test.status)
		}
		if test.contentType != "" && got.Header.Get("Content-Type") != test.contentType {
			t.Errorf("%s %s: type %q, want %q", test.method, test.path, got.Header.Get("Content-Type"), test.contentType)
		}
	}
}

func TestHeaders(t *testing.T) {
	h := demo.Handler(config)
	want := map[string]string{
		"Content-Security-Policy": "default-src 'self'; connect-src 'self' wss://chat.example.com:5443; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
		"X-Content-Type-Options": "nosniff",
		"Referrer-Policy":        "no-referrer",
		"Cache-Control":          "no-store",
	}
	for _, path := range []string{"/", "/app.js", "/config.json"} {
		got := get(t, h, http.MethodGet, path).Header
		for name, value := range want {
			if got.Get(name) != value {
				t.Errorf("GET %s: %s: %q, want %q", path, name, got.Get(name), value)
			}
		}
	}
}

func TestContentPolicyTakesOnlyOrigins(t *testing.T) {
	tests := []struct{ url, connect string }{
		{"/http-bind", "'self'"},
		{"http-bind", "'self'"},
		{"https://a.example/http-bind", "'self' https://a.example"},
		{"//a.example/http-bind", "'self' a.example"},
		{"https://a.example;script-src/x", "'self'"},
		{"https://a.example, b.example/x", "'self'"},
		{"https://%zz/x", "'self'"},
		{"javascript:alert(1)", "'self'"},
	}
	for _, test := range tests {
		h := demo.Handler(demo.Config{Transports: []demo.Transport{{URL: test.url}, {URL: test.url}}})
		policy := get(t, h, http.MethodGet, "/").Header.Get("Content-Security-Policy")
		if want := "; connect-src " + test.connect + "; "; !strings.Contains(policy, want) {
			t.Errorf("%s: policy %q lacks %q", test.url, policy, want)
		}
	}
}

func TestSettings(t *testing.T) {
	var got struct {
		Domain, ServiceHost string
		Transports          []demo.Transport
		Users               []demo.User
	}
	if err := json.Unmarshal([]byte(body(t, demo.Handler(config), "/config.json")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Domain != config.Domain || got.ServiceHost != config.ServiceHost ||
		!reflect.DeepEqual(got.Transports, config.Transports) || !reflect.DeepEqual(got.Users, config.Users) {
		t.Errorf("got %+v, want %+v", got, config)
	}
	text := body(t, demo.Handler(demo.Config{Domain: "d"}), "/config.json")
	if strings.Contains(text, "null") {
		t.Errorf("empty lists are null: %s", text)
	}
}

// The page fails as a whole when one of its files is missing, so every file that
// another one names has to be there.
func TestEveryNamedFileIsServed(t *testing.T) {
	h := demo.Handler(config)
	named := regexp.MustCompile(`(?:from '\./|src="|href=")([\w.-]+)`)
	seen := map[string]bool{}
	var visit func(path string)
	visit = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		for _, match := range named.FindAllStringSubmatch(body(t, h, path), -1) {
			visit("/" + match[1])
		}
	}
	visit("/")
	for _, path := range []string{"/app.js", "/bosh.js", "/websocket.js", "/xmpp.js", "/style.css"} {
		if !seen[path] {
			t.Errorf("%s is not reached from the page", path)
		}
	}
}

// What people write to one another must never become markup (and the content
// policy would not allow what inline scripts and styles need).
func TestNoMarkupFromText(t *testing.T) {
	h := demo.Handler(config)
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\('style'|<script>|<style|\sstyle="|\son\w+="`)
	for _, path := range []string{"/", "/app.js", "/board.js", "/bosh.js", "/dom.js", "/door.js", "/people.js",
		"/sasl.js", "/session.js", "/talk.js", "/transport.js", "/websocket.js", "/xml.js", "/xmpp.js"} {
		if found := forbidden.FindString(body(t, h, path)); found != "" {
			t.Errorf("%s contains %q", path, found)
		}
	}
}
