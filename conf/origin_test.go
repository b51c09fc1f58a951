package conf

import "testing"

// Origins are in the form that browsers send (RFC 6454 section 6.2).
func TestParseOrigin(t *testing.T) {
	for text, want := range map[string]string{
		"https://app.example.org":        "https://app.example.org",
		"HTTPS://App.Example.org":        "https://app.example.org",
		"https://app.example.org:443":    "https://app.example.org",
		"http://app.example.org:80":      "http://app.example.org",
		"http://app.example.org:443":     "http://app.example.org:443",
		"https://app.example.org:8443":   "https://app.example.org:8443",
		"https://bücher.example":         "https://xn--bcher-kva.example",
		"https://xn--bcher-kva.example":  "https://xn--bcher-kva.example",
		"http://127.0.0.1:8080":          "http://127.0.0.1:8080",
		"http://[::1]:8080":              "http://[::1]:8080",
		"http://[2001:DB8::1]":           "http://[2001:db8::1]",
		"http://[::1]:80":                "http://[::1]",
		"https://app.example.org/":       "",
		"https://app.example.org?":       "",
		"https://app.example.org#":       "",
		"https://me@app.example.org":     "",
		"https://*.example.org":          "",
		"https://app.example.org:":       "",
		"https://app.example.org:99999":  "",
		"https://app example.org":        "",
		"https://":                       "",
		"app.example.org":                "",
		"wss://app.example.org":          "",
		"null":                           "",
		"":                               "",
		"https://app.example.org:443/x":  "",
		"https://app_1.example.org:8443": "https://app_1.example.org:8443",
	} {
		got, ok := parseOrigin(text)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", text, got, ok, want)
		}
	}
}
