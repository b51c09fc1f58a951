package test

import (
	"os"
	"regexp"
	"testing"
	"time"

	"rollcall/conf"
)

// TestNginxTimes holds the time-outs in deploy/nginx/rollcall.conf against the
// defaults of the configuration.
func TestNginxTimes(t *testing.T) {
	data, err := os.ReadFile("../deploy/nginx/rollcall.conf")
	if err != nil {
		t.Fatal(err)
	}
	c := conf.Default()
	for _, test := range []struct {
		what, pattern string
		needs         time.Duration
	}{
		{"WebSocket clients that say nothing", `(?s)location ~ \^/xmpp-websocket[^{}]*\{[^}]*\n +proxy_read_timeout (\d+s);`, c.WebSocket.PingInterval + c.WebSocket.PingTimeout},
		{"WebSocket clients that take nothing", `(?s)location ~ \^/xmpp-websocket[^{}]*\{[^}]*\n +proxy_send_timeout (\d+s);`, c.WebSocket.PingInterval + c.WebSocket.PingTimeout},
		// strophe.js gives a request up after 1.1 times wait.
		{"BOSH requests", `(?m)^    proxy_read_timeout (\d+s);`, c.BOSH.Wait * 11 / 10},
	} {
		m := regexp.MustCompile(test.pattern).FindSubmatch(data)
		if m == nil {
			t.Errorf("%s: nothing like %s", test.what, test.pattern)
			continue
		}
		if d, err := time.ParseDuration(string(m[1])); err != nil || d <= test.needs {
			t.Errorf("%s are cut after %s (%v), and may take %v", test.what, m[1], err, test.needs)
		}
	}
}
