// Package test drives whole servers from outside, over every transport.
package test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"rollcall/cmd/rollcall/app"
	"rollcall/cmd/rollcall/demo"
	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/transcript"
	"rollcall/server"
	"rollcall/storage"
)

// transport is one way for clients to reach the server. A new transport is a
// line in transports, and everything here runs over it.
type transport struct {
	name   string
	kind   string
	target func(tcp, http []net.Addr) transcript.Target
}

var transports = []transport{
	{"starttls", transcript.KindTCP, func(tcp, _ []net.Addr) transcript.Target {
		return transcript.Target{Address: tcp[0].String(), TLS: insecure()}
	}},
	{"direct", transcript.KindTCP, func(tcp, _ []net.Addr) transcript.Target {
		c := insecure()
		c.NextProtos = []string{"xmpp-client"}
		return transcript.Target{Address: tcp[1].String(), TLS: c, DirectTLS: true}
	}},
	{"bosh", transcript.KindBOSH, func(_, http []net.Addr) transcript.Target {
		return transcript.Target{URL: fmt.Sprintf("http://%s/http-bind", http[0])}
	}},
	{"websocket", transcript.KindWebSocket, func(_, http []net.Addr) transcript.Target {
		return transcript.Target{URL: fmt.Sprintf("ws://%s/xmpp-websocket", http[0])}
	}},
	{"secure websocket", transcript.KindWebSocket, func(_, http []net.Addr) transcript.Target {
		return transcript.Target{URL: fmt.Sprintf("wss://%s/xmpp-websocket", http[1]), TLS: insecure()}
	}},
}

// insecure accepts the self-signed certificate that each server makes.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// options change what a test's server is like.
type options struct {
	config  func(*conf.Config)
	modules []server.Module
	users   []demo.User // of the demo page
	tap     func(server.TapEvent)
}

// people are the users that scripts know, all with the password "secret".
var people = []storage.User{
	{ID: "alice", Name: "Alice"}, {ID: "bob", Name: "Bob"}, {ID: "carol", Name: "Carol"}, {ID: "dave", Name: "Dave"},
}

// projects make alice and bob, and bob and carol see each other; dave is alone.
var projects = []storage.ProjectRecord{
	{Project: storage.Project{ID: "p1", Name: "Apollo"}, Members: []string{"alice", "bob"}},
	{Project: storage.Project{ID: "p2", Name: "Borealis"}, Members: []string{"bob", "carol"}},
}

// start starts a server on free ports, with the people and projects.
func start(t *testing.T, o options) *app.App {
	t.Helper()
	c := conf.Default()
	c.DataDir = t.TempDir()
	c.Listen.TCP = []conf.TCPListener{
		{Address: "127.0.0.1:0", TLS: conf.TLSStartTLS, RequireTLS: true},
		{Address: "127.0.0.1:0", TLS: conf.TLSDirect, RequireTLS: true},
	}
	c.Listen.HTTP = []conf.HTTPListener{
		{Address: "127.0.0.1:0", TLS: conf.TLSNone, PlainWithoutTLS: true, BOSH: true, WebSocket: true},
		{Address: "127.0.0.1:0", TLS: conf.TLSDirect, BOSH: true, WebSocket: true},
	}
	c.Listen.Metrics = "127.0.0.1:0"
	c.BOSH.Inactivity = time.Second
	c.BOSH.Polling = 0
	c.Modules.Projects.Grace = 0
	if o.config != nil {
		o.config(c)
	}
	a, err := app.Start(t.Context(), app.Options{
		Config: c, Tap: o.tap, Modules: o.modules, Users: o.users,
		Log: slog.New(slog.NewTextHandler(testLog(t), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, a) })
	fill(t, a.Store())
	return a
}

// testLog shows the server's log when the test fails.
func testLog(t *testing.T) io.Writer { return t.Output() }

func stop(t *testing.T, a *app.App) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := a.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func fill(t *testing.T, store storage.Admin) {
	t.Helper()
	credentials, err := auth.NewCredentials("secret", auth.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	var records []storage.Record
	for _, u := range people {
		records = append(records, storage.Record{User: &storage.UserRecord{User: u, Credentials: &credentials}})
	}
	for i := range projects {
		records = append(records, storage.Record{Project: &projects[i]})
	}
	if err := store.Import(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

// target is the server as clients of one transport reach it.
func (tr transport) of(a *app.App) transcript.Target {
	tcp, http := a.Addresses()
	target := tr.target(tcp, http)
	target.Kind, target.Host = tr.kind, "localhost"
	target.Actions = map[string]func(context.Context) error{"shutdown": a.Shutdown}
	return target
}

// overEach runs a test over every transport.
func overEach(t *testing.T, f func(t *testing.T, tr transport)) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) { f(t, tr) })
	}
}
