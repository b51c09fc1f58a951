//go:build clients

package test

import (
	"fmt"
	"testing"

	"rollcall/conf"
)

// TestDemoPageWebSocket is TestDemoPage over WebSocket. Left out is what looks at
// requests, and losses of the network, which Chromium does not play to a WebSocket.
func TestDemoPageWebSocket(t *testing.T) {
	a := startForClients(t, func(c *conf.Config) { c.Listen.HTTP[0].WebSocket = true })
	_, http := a.Addresses()
	run(t, "strophe", "node", "demo.mjs", "--url", fmt.Sprintf("http://%s", http[0]), "--out", t.TempDir(),
		"--transport", "websocket", "--skip", "network,last one",
		"--inactivity", seconds(clientInactivity), "--grace", seconds(clientGrace))
}
