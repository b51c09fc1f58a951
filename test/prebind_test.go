//go:build clients

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"rollcall/conf"
)

// TestStrophePrebind is strophe.js in Chromium with sessions that others opened.
func TestStrophePrebind(t *testing.T) {
	const key = "5f0c8e3b9d7a4412a6c1d8e7f3b2905c"
	file := filepath.Join(t.TempDir(), "prebind.key")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startForClients(t, func(c *conf.Config) {
		c.Listen.HTTP[0].Prebind = true
		c.BOSH.PrebindKeyFile = file
	})
	_, http := a.Addresses()
	run(t, "strophe", "node", "prebind.mjs", "--url", fmt.Sprintf("http://%s", http[0]), "--key", key)
}
