// Package hostmeta tells clients that know a domain only where its BOSH and WebSocket
// endpoints are: XEP-0156 by Web Host Metadata (RFC 6415).
package hostmeta

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"

	"rollcall/internal/forwarded"
)

// The well-known paths (RFC 6415 sections 2 and 3).
const (
	XMLPath  = "/.well-known/host-meta"
	JSONPath = "/.well-known/host-meta.json"
)

// The link relations of XEP-0156 section 3.1.
const (
	relBOSH      = "urn:xmpp:alt-connections:xbosh"
	relWebSocket = "urn:xmpp:alt-connections:websocket"
)

// Config says what there is to tell.
type Config struct {
	// BOSH and WebSocket are the paths of the endpoints, empty for what is not served.
	BOSH, WebSocket string
	// PublicURL is the scheme and host that goes before the paths, such as
	// https://chat.example.org. Empty: each request's own.
	PublicURL string
	// Proxies may say which scheme and host the client used.
	Proxies forwarded.Proxies
}

// document is the extensible resource descriptor, as XML and as JSON.
type document struct {
	XMLName xml.Name `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD" json:"-"`
	Links   []link   `xml:"Link" json:"links"`
}

type link struct {
	Rel  string `xml:"rel,attr" json:"rel"`
	Href string `xml:"href,attr" json:"href"`
}

// document describes the endpoints at an origin such as https://chat.example.org.
func (c *Config) document(origin string) document {
	d := document{Links: []link{}}
	if c.BOSH != "" {
		d.Links = append(d.Links, link{relBOSH, origin + c.BOSH})
	}
	if c.WebSocket != "" {
		// http becomes ws and https becomes wss.
		d.Links = append(d.Links, link{relWebSocket, "ws" + strings.TrimPrefix(origin, "http") + c.WebSocket})
	}
	return d
}

// Handler serves both documents, at XMLPath and JSONPath. Pages of every origin may
// read them, as browsers ask for them from wherever the client's page is.
func Handler(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(XMLPath, c.serve("application/xrd+xml", func(d document) ([]byte, error) {
		text, err := xml.MarshalIndent(d, "", "  ")
		return append([]byte(xml.Header), append(text, '\n')...), err
	}))
	mux.Handle(JSONPath, c.serve("application/json", func(d document) ([]byte, error) {
		text, err := json.MarshalIndent(d, "", "  ")
		return append(text, '\n'), err
	}))
	return mux
}

const methods = "GET, HEAD, OPTIONS"

func (c *Config) serve(contentType string, encode func(document) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Access-Control-Allow-Origin", "*")
		switch r.Method {
		case http.MethodGet, http.MethodHead:
		case http.MethodOptions:
			head.Set("Allow", methods)
			head.Set("Access-Control-Allow-Methods", methods)
			head.Set("Access-Control-Allow-Headers", "*")
			head.Set("Access-Control-Max-Age", "86400")
			w.WriteHeader(http.StatusNoContent)
			return
		default:
			head.Set("Allow", methods)
			http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
			return
		}
		origin := c.PublicURL
		if origin == "" {
			var err error
			if origin, err = c.Proxies.Origin(r); err != nil {
				http.Error(w, "The request's Host is not one", http.StatusBadRequest)
				return
			}
		}
		text, err := encode(c.document(origin))
		if err != nil {
			http.Error(w, "Internal server error", http.StatusInternalServerError)
			return
		}
		head.Set("Content-Type", contentType)
		head.Set("X-Content-Type-Options", "nosniff")
		// What it says may depend on who asks, and how.
		head.Set("Cache-Control", "no-cache")
		head.Set("Content-Length", strconv.Itoa(len(text)))
		if r.Method == http.MethodGet {
			// Who asked has gone if this fails.
			_, _ = w.Write(text)
		}
	}
}
