// Package demo serves a small web page that shows rollcall at work: people log in
// as one of the demo users, see who of their projects is there, change their own
// state and write to one another.
//
// The page is plain JavaScript and speaks XMPP itself. Nothing in it is needed by
// the server: it is one more client.
package demo

import (
	"embed"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

//go:embed index.html *.css *.js *.svg
var files embed.FS

// Config is what the page has to know about the server that it talks to.
type Config struct {
	// Domain is the part of the users' addresses after the @.
	Domain string
	// ServiceHost is the address of the projects' service, such as
	// wtmuc.localhost. Without it the page shows the groups of the roster and
	// writes to people only.
	ServiceHost string
	// Transports are the ways in, the preferred one first. There must be one at
	// least.
	Transports []Transport
	// Users can be logged in as with one click. Their passwords are readable by
	// everyone who can open the page. The list may be empty: the page then asks
	// for a name and a password.
	Users []User
}

// Transport is one way in to the server.
type Transport struct {
	// Kind names the protocol: the page speaks "bosh" and "websocket". It leaves out
	// those that it does not know.
	Kind string `json:"kind"`
	// URL is absolute, or relative to the page; its scheme is http or https, also for
	// a WebSocket.
	URL string `json:"url"`
	// Label is what people read.
	Label string `json:"label"`
}

// User is one demo account.
type User struct {
	// ID is the part of the address before the @.
	ID string `json:"id"`
	// Name is what people read.
	Name string `json:"name"`
	// Password is sent to the page as it is.
	Password string `json:"password"`
}

// Handler serves the page at /, its files beside it, and what it has to know at
// /config.json. It must be mounted at the root of a host, or behind
// [http.StripPrefix] at a path that ends with a slash.
//
// Since everybody who reaches the page can read the passwords in the
// configuration, a listener that serves it with users must be on loopback.
func Handler(c Config) http.Handler {
	policy := contentPolicy(c.Transports)
	mux := http.NewServeMux()
	mux.Handle("GET /config.json", settings(c))
	mux.Handle("GET /", assets())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		// The files have no dates, so a browser could not tell a new page from
		// the one it has; and the settings carry passwords.
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// assets serves the files of the page. Their types are named here since the
// tables of some systems, Windows above all, call JavaScript plain text, which
// browsers then refuse to run.
func assets() http.HandlerFunc {
	types := map[string]string{
		".css": "text/css; charset=utf-8",
		".js":  "text/javascript; charset=utf-8",
		".svg": "image/svg+xml",
	}
	server := http.FileServerFS(files)
	return func(w http.ResponseWriter, r *http.Request) {
		if t, ok := types[path.Ext(r.URL.Path)]; ok {
			w.Header().Set("Content-Type", t)
		}
		server.ServeHTTP(w, r)
	}
}

// settings writes lists as [] rather than null, which spares the page a check.
func settings(c Config) http.HandlerFunc {
	document := struct {
		Domain      string      `json:"domain"`
		ServiceHost string      `json:"serviceHost"`
		Transports  []Transport `json:"transports"`
		Users       []User      `json:"users"`
	}{c.Domain, c.ServiceHost, append([]Transport{}, c.Transports...), append([]User{}, c.Users...)}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		// Strings always encode, so an error means that the browser has gone.
		_ = json.NewEncoder(w).Encode(document)
	}
}

// contentPolicy allows what the page needs and no more: its own files, and
// connections to its own host and to those of the transports. A transport whose
// URL is not one is left out; the page cannot connect to it either way.
func contentPolicy(transports []Transport) string {
	connect := []string{"'self'"}
	for _, t := range transports {
		u, err := url.Parse(t.URL)
		// A semicolon in a host would end the directive.
		if err != nil || u.Host == "" || strings.ContainsAny(u.Host, ";,") {
			continue
		}
		origin := u.Host
		if u.Scheme != "" {
			origin = u.Scheme + "://" + u.Host
		}
		if !slices.Contains(connect, origin) {
			connect = append(connect, origin)
		}
	}
	return "default-src 'self'; connect-src " + strings.Join(connect, " ") +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
}
