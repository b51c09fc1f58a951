//go:build clients

package test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"rollcall/cmd/rollcall/app"
	"rollcall/cmd/rollcall/demo"
	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/storage"
)

// The server's times in these tests: long enough for a busy machine, short
// enough to wait for.
const (
	clientGrace      = time.Second
	clientInactivity = 8 * time.Second
)

// startForClients starts a server as real clients meet it, with the demo page.
func startForClients(t *testing.T, change ...func(*conf.Config)) *app.App {
	t.Helper()
	users := make([]demo.User, len(people))
	for i, u := range people {
		users[i] = demo.User{ID: u.ID, Name: u.Name, Password: "secret"}
	}
	return start(t, options{users: users, config: func(c *conf.Config) {
		c.Listen.HTTP[0].Demo = true
		c.BOSH.Inactivity = clientInactivity
		c.BOSH.Polling = conf.Default().BOSH.Polling
		c.Modules.Projects.Grace = clientGrace
		for _, f := range change {
			f(c)
		}
	}})
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

func port(t *testing.T, a net.Addr) string {
	t.Helper()
	_, port, err := net.SplitHostPort(a.String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// run runs a client program in its folder, and shows what it says.
func run(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	t.Logf("%s %v\n%s", program, args, out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
}

// TestSlixmpp is slixmpp over TCP, with STARTTLS, direct TLS and SCRAM.
func TestSlixmpp(t *testing.T) {
	a := startForClients(t)
	tcp, _ := a.Addresses()
	python, err := filepath.Abs("slixmpp/.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "slixmpp", python, "run.py", "--port", port(t, tcp[0]), "--tls-port", port(t, tcp[1]),
		"--grace", seconds(clientGrace))
}

// TestSlixmppAccounts is slixmpp with its plugins for accounts, and as a component.
func TestSlixmppAccounts(t *testing.T) {
	a := startForClients(t, func(c *conf.Config) {
		c.Modules.Commands.Admins = []string{"boss@localhost"}
		c.Modules.Register.Enabled = true
		c.Auth.Anonymous.Hosts = []string{"localhost"}
		c.Listen.Components = []conf.ComponentListener{{Address: "127.0.0.1:0", Name: "echo.localhost", Secret: "0123456789"}}
	})
	credentials, err := auth.NewCredentials("secret", auth.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Store().AddUser(t.Context(), storage.UserRecord{User: storage.User{ID: "boss"}, Credentials: &credentials}); err != nil {
		t.Fatal(err)
	}
	tcp, _ := a.Addresses()
	python, err := filepath.Abs("slixmpp/.venv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	run(t, "slixmpp", python, "accounts.py", "--port", port(t, tcp[0]), "--component-port", port(t, a.ComponentAddresses()[0]))
}

// TestStrophe is strophe.js over BOSH in Chromium.
func TestStrophe(t *testing.T) {
	a := startForClients(t)
	_, http := a.Addresses()
	strophe(t, fmt.Sprintf("http://%s", http[0]))
}

// strophe runs the checks with strophe.js.
func strophe(t *testing.T, url string, args ...string) {
	t.Helper()
	run(t, "strophe", "node", append([]string{"run.mjs", "--url", url,
		"--inactivity", seconds(clientInactivity), "--grace", seconds(clientGrace)}, args...)...)
}

// TestStropheReload is a page with strophe.js's keepalive that is loaded again.
func TestStropheReload(t *testing.T) {
	t.Parallel()
	a := startForClients(t)
	_, http := a.Addresses()
	reload(t, fmt.Sprintf("http://%s", http[0]))
}

func reload(t *testing.T, url string) {
	t.Helper()
	run(t, "strophe", "node", "reload.mjs", "--url", url, "--grace", seconds(clientGrace))
}

// TestDemoPage is the demo page in two tabs of Chromium. Its screenshots stay
// where ROLLCALL_SCREENSHOTS says.
func TestDemoPage(t *testing.T) {
	a := startForClients(t)
	_, http := a.Addresses()
	out := os.Getenv("ROLLCALL_SCREENSHOTS")
	if out == "" {
		out = t.TempDir()
	}
	run(t, "strophe", "node", "demo.mjs", "--url", fmt.Sprintf("http://%s", http[0]), "--out", out,
		"--inactivity", seconds(clientInactivity), "--grace", seconds(clientGrace))
}
