//go:build clients

package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"rollcall/cmd/rollcall/app"
	"rollcall/conf"
)

// program is rollcall as a process of its own, which can be killed.
type program struct {
	t           *testing.T
	dir, binary string
	port        int
	cmd         *exec.Cmd // nil while it does not run
}

// build builds rollcall.
func build(t *testing.T) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "rollcall")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/rollcall").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// startProgram gives a built rollcall a configuration and people, and starts it.
func startProgram(t *testing.T, binary string) *program {
	t.Helper()
	p := &program{t: t, dir: t.TempDir(), port: fixedPort(t), binary: binary}
	p.write("rollcall.yml", fmt.Sprintf(`
listen:
  tcp: []
  http:
    - address: "127.0.0.1:%d"
      tls: none
      trusted_proxies: ["127.0.0.1"]
  metrics: ""
bosh:
  inactivity: %s
websocket:
  origins: ["*"]
modules:
  projects:
    grace: %s
`, p.port, clientInactivity, clientGrace))
	p.fill()
	t.Cleanup(func() {
		if p.cmd != nil {
			if err := p.end(syscall.SIGTERM); err != nil {
				t.Errorf("rollcall: %v", err)
			}
		}
	})
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// fill writes the people into the server's database.
func (p *program) fill() {
	p.t.Helper()
	c, err := conf.Load(p.path("rollcall.yml"))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	store, err := app.OpenStore(p.t.Context(), c, slog.New(slog.NewTextHandler(p.t.Output(), nil)))
	if err != nil {
		p.t.Fatal(err)
	}
	fill(p.t, store)
	if err := store.Close(); err != nil {
		p.t.Fatal(err)
	}
}

// fixedPort finds a port to which a server can come back: one that the system does
// not meanwhile give to somebody who connects.
func fixedPort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 15000 + rand.IntN(10000)
		ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no port is free")
	return 0
}

func (p *program) address() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: p.port} }

func (p *program) path(name string) string { return filepath.Join(p.dir, name) }

func (p *program) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// start starts the server and returns when it serves: its log says where it listens.
func (p *program) start() error {
	// The context of the test ends before its cleanup.
	p.cmd = exec.Command(p.binary, "serve", "-c", p.path("rollcall.yml"))
	serving := &until{text: "listening", to: p.t.Output(), seen: make(chan struct{})}
	p.cmd.Stderr = serving
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return err
	}
	select {
	case <-serving.seen:
		return nil
	case <-time.After(30 * time.Second):
		return errors.New("the server does not start")
	}
}

// end sends a signal and waits until the server is gone.
func (p *program) end(signal syscall.Signal) error {
	cmd := p.cmd
	if cmd == nil {
		return errors.New("the server does not run")
	}
	p.cmd = nil
	if err := cmd.Process.Signal(signal); err != nil {
		return err
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if signal == syscall.SIGKILL && errors.As(err, &exit) {
		return nil
	}
	return err
}

// until passes on what is written, and tells when a text has come.
type until struct {
	text string
	to   io.Writer
	once sync.Once
	seen chan struct{}
}

// Write gets whole lines from slog.
func (u *until) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(u.text)) {
		u.once.Do(func() { close(u.seen) })
	}
	return u.to.Write(p)
}

// control lets a program of another language end and start the server.
func (p *program) control() *httptest.Server {
	commands := map[string]func() error{
		"/start":     p.start,
		"/terminate": func() error { return p.end(syscall.SIGTERM) },
		"/kill":      func() error { return p.end(syscall.SIGKILL) },
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		command, ok := commands[r.URL.Path]
		if !ok || r.Method != http.MethodPost {
			http.NotFound(w, r)
			return
		}
		if err := command(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	p.t.Cleanup(s.Close)
	return s
}

// TestStropheRestart is a server that ends, politely or not, and starts again while
// two people have pages open that connect again by themselves. Over BOSH they are
// behind nginx, which answers 502 meanwhile.
func TestStropheRestart(t *testing.T) {
	binary := build(t)
	for _, tr := range []struct {
		name, path string
		url        func(t *testing.T, p *program) string
	}{
		{"bosh", "/http-bind", func(t *testing.T, p *program) string { return startNginx(t, p.address()) }},
		{"websocket", "/xmpp-websocket", func(_ *testing.T, p *program) string { return "ws://" + p.address().String() }},
	} {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			p := startProgram(t, binary)
			run(t, "strophe", "node", "restart.mjs", "--url", tr.url(t, p), "--path", tr.path,
				"--control", p.control().URL, "--grace", seconds(clientGrace))
		})
	}
}
