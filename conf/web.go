package conf

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/idna"
)

// BOSH holds the session parameters of XEP-0124 section 7.
type BOSH struct {
	Wait        time.Duration `yaml:"wait"` // longest that a request is held, whole seconds
	Inactivity  time.Duration `yaml:"inactivity"`
	MaxPause    time.Duration `yaml:"max_pause"` // 0 for none
	Hold        int           `yaml:"hold"`
	Requests    int           `yaml:"requests"` // in flight; 0 for Hold + 1
	Polling     time.Duration `yaml:"polling"`
	Coalesce    time.Duration `yaml:"coalesce"`    // how long a busy session's response waits for more
	Origins     []string      `yaml:"origins"`     // CORS; "*" for any
	Compression bool          `yaml:"compression"` // gzip
	// PrebindKeyFile may be empty: see Config.PrebindKey. Load makes it relative to
	// the configuration file's folder.
	PrebindKeyFile string `yaml:"prebind_key_file"`
}

// WebSocket is what holds for connections of RFC 7395.
type WebSocket struct {
	PingInterval time.Duration `yaml:"ping_interval"` // of silence before the server pings; 0 for never
	PingTimeout  time.Duration `yaml:"ping_timeout"`  // shorter than PingInterval
	Origins      []string      `yaml:"origins"`       // besides the server's own; "*" for any
	Compression  bool          `yaml:"compression"`   // permessage-deflate (RFC 7692)
	SeeOtherURI  string        `yaml:"see_other_uri"` // ws or wss; where every client is sent, empty for nowhere
}

// What web clients need: the checks of BOSH, WebSocket and their addresses.

// maxRequests bounds what the server remembers of each client's requests.
const maxRequests = 20

func checkBOSH(c *Config, r *report) {
	b := &c.BOSH
	seconds(r, "bosh.wait", b.Wait, time.Second, 10*time.Minute)
	seconds(r, "bosh.inactivity", b.Inactivity, 5*time.Second, time.Hour)
	seconds(r, "bosh.max_pause", b.MaxPause, 0, time.Hour)
	seconds(r, "bosh.polling", b.Polling, 0, 10*time.Minute)
	between(r, "bosh.hold", b.Hold, 1, 10)
	if b.Requests != 0 && (b.Requests <= b.Hold || b.Requests > maxRequests) && !r.bad["bosh.hold"] {
		r.add("bosh.requests", "%d is out of range: more than bosh.hold, which is %d, and at most %d, or 0 for one more than hold", b.Requests, b.Hold, maxRequests)
	}
	between(r, "bosh.coalesce", b.Coalesce, 0, time.Second)
	if b.Polling >= b.Inactivity && !r.bad["bosh.inactivity"] {
		r.add("bosh.polling", "%s is not shorter than bosh.inactivity, %s: a polling client could not stay", show(b.Polling), show(b.Inactivity))
	}
	if b.MaxPause > 0 && b.MaxPause < b.Inactivity && !r.bad["bosh.inactivity"] {
		r.add("bosh.max_pause", "%s is shorter than bosh.inactivity, %s: a pause would end a session earlier than none; write 0s for no pauses", show(b.MaxPause), show(b.Inactivity))
	}
	checkOrigins(r, "bosh.origins", b.Origins)
	prebind := func(l HTTPListener) bool { return l.Prebind }
	if b.PrebindKeyFile != "" && !slices.ContainsFunc(c.Listen.HTTP, prebind) {
		r.add("bosh.prebind_key_file", "has no effect, since no listener says prebind: true")
	}
}

func checkWebSocket(c *Config, r *report) {
	w := &c.WebSocket
	if w.PingInterval != 0 {
		between(r, "websocket.ping_interval", w.PingInterval, 5*time.Second, time.Hour)
	}
	between(r, "websocket.ping_timeout", w.PingTimeout, time.Second, time.Hour)
	if w.PingInterval != 0 && w.PingTimeout >= w.PingInterval && !r.bad["websocket.ping_interval"] {
		r.add("websocket.ping_timeout", "%s is not shorter than websocket.ping_interval, %s: the next ping would go out before this one is given up", show(w.PingTimeout), show(w.PingInterval))
	}
	checkOrigins(r, "websocket.origins", w.Origins)
	if w.SeeOtherURI == "" {
		return
	}
	// RFC 6455 section 3: no fragment. RFC 7395 section 3.6.1 knows other transports,
	// too, but strophe.js follows only this one.
	u, err := url.Parse(w.SeeOtherURI)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" || u.User != nil || strings.Contains(w.SeeOtherURI, "#") {
		r.add("websocket.see_other_uri", "%s is not the address of a WebSocket: write it as in wss://other.example.org/xmpp-websocket", quote(w.SeeOtherURI))
	}
}

// checkOrigins notes what no browser sends as Origin (RFC 6454 section 7), and puts
// the rest in the form that they send.
func checkOrigins(r *report, path string, origins []string) {
	for i, text := range origins {
		here := fmt.Sprintf("%s[%d]", path, i)
		if text == "*" {
			if len(origins) > 1 {
				r.add(here, `"*" permits every origin already: remove it or the others`)
			}
			continue
		}
		origin, ok := parseOrigin(text)
		if !ok {
			r.add(here, `%s is not an origin: write it as in https://app.example.org, without a path, or "*" for any`, quote(text))
			continue
		}
		origins[i] = origin
	}
}

// parseOrigin takes the scheme and host of an HTTP server, with nothing after them,
// and returns them as browsers write them (RFC 6454 section 6.2): in lower case, with
// A-labels, and without a port that goes without saying.
func parseOrigin(text string) (string, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		strings.Contains(text, "*") || !strings.EqualFold(text, u.Scheme+"://"+u.Host) {
		return "", false
	}
	host, port := strings.ToLower(u.Host), u.Port()
	if rest, colon := strings.CutSuffix(host, ":"+port); colon {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", false
		}
		host = rest
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) {
		if host, err = idna.Lookup.ToASCII(host); err != nil {
			return "", false
		}
	}
	if port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host += ":" + port
	}
	return u.Scheme + "://" + host, true
}

// seconds is between for what the protocol counts in whole seconds (XEP-0124
// section 7).
func seconds(r *report, path string, v, low, high time.Duration) {
	between(r, path, v, low, high)
	if v%time.Second != 0 {
		r.add(path, "%s is not a whole number of seconds, which is what the protocol can say (XEP-0124)", show(v))
	}
}
