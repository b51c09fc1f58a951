package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/modules/ping"
	"rollcall/server"
	"rollcall/storage"
)

// pipe is a connection without a network and without a client that reads: input goes
// through a scanner as it does in a real transport, output into a buffer that is used
// again.
type pipe struct {
	*server.Session
	scan    xmlscan.Scanner
	el      xmlscan.Element
	queued  []byte
	writes  int // elements
	flushes int // that found something
}

var pipeInfo = server.Info{Kind: "pipe", Remote: "pipe", Secure: true}

func (p *pipe) Info() server.Info        { return pipeInfo }
func (p *pipe) Open(server.StreamHeader) {}
func (p *pipe) Close(server.Close)       {}

func (p *pipe) Write(el []byte) error {
	p.queued = append(p.queued, el...)
	p.writes++
	return nil
}

func (p *pipe) Flush() {
	if len(p.queued) > 0 {
		p.queued = p.queued[:0]
		p.flushes++
	}
}

// send brings elements in one turn, as a transport does that has read them all.
func (p *pipe) send(tb testing.TB, elements []byte) {
	turn := p.Begin()
	for len(elements) > 0 {
		n, err := p.scan.Next(elements, &p.el)
		if err != nil {
			tb.Fatal(err)
		}
		turn.Element(&p.el)
		elements = elements[n:]
	}
	turn.End()
}

// silent is a connection that carries nothing and that any number of sessions share,
// so that what they weigh is theirs alone.
type silent struct{}

func (silent) Info() server.Info        { return pipeInfo }
func (silent) Open(server.StreamHeader) {}
func (silent) Write([]byte) error       { return nil }
func (silent) Flush()                   {}
func (silent) Close(server.Close)       {}

// everybody is a storage.Users in which there is everybody.
type everybody struct{}

func (everybody) User(_ context.Context, id string) (storage.User, error) {
	return storage.User{ID: id, Name: id}, nil
}

func (everybody) Credentials(context.Context, string) (storage.Credentials, error) {
	return storage.Credentials{}, storage.ErrNotFound
}

func (everybody) Mechanisms() []string { return nil }

// hostOf is a module that lends its Host to the test.
type hostOf struct{ *server.Host }

func (*hostOf) Name() string { return "host" }

func (m *hostOf) Start(h *server.Host) error {
	m.Host = h
	return nil
}

// core is a server whose sessions are pipes.
type core struct {
	*server.Server
	host     hostOf
	listener server.Listener
	scan     xmlscan.Scanner
	el       xmlscan.Element
}

func newCore(tb testing.TB, modules ...server.Module) *core {
	tb.Helper()
	a, err := auth.New(auth.Config{
		Users: everybody{}, Iterations: auth.MinIterations, Secret: []byte(strings.Repeat("s", 32)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	defaults := conf.Default()
	defaults.Session.Coalesce = 0 // everything is flushed here, by this goroutine
	srv, err := server.New(server.Config{
		Hosts: []string{"example.com"}, Limits: defaults.Limits, Session: defaults.Session,
		StreamManagement: defaults.StreamManagement,
		Auth:             a, AuthAttempts: defaults.Auth.Attempts, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	c := &core{Server: srv}
	c.scan = streamScanner()
	if err := srv.Start(tb.Context(), append(modules, &c.host, ping.New(ping.Options{}))...); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return c
}

func streamScanner() (s xmlscan.Scanner) {
	s.SetLimits(xmlscan.Limits{Bytes: 1 << 20, Depth: 100, Attrs: 100})
	s.Scope([]xmlscan.Attr{
		{Name: []byte("xmlns"), Value: []byte(ns.Client), Quote: '\''},
		{Name: []byte("xmlns:stream"), Value: []byte(ns.Stream), Quote: '\''},
	})
	return s
}

// enter binds a session of a transport to a full address, and sends what else there is.
func (c *core) enter(tb testing.TB, t server.Transport, full jid.JID, more string) *server.Session {
	s := c.NewSession(t, &c.listener)
	turn := s.Begin()
	defer turn.End()
	header := server.StreamHeader{To: full.Domain(), Version: "1.0", Lang: "en"}
	turn.Open(header)
	if turn.Authenticated(full.Bare()) != server.Restart {
		tb.Fatalf("%s is not let in", full)
	}
	turn.Open(header)
	in := []byte("<iq type='set' id='b'><bind xmlns='" + ns.Bind + "'><resource>")
	in = append(xmlscan.AppendText(in, full.Resource()), "</resource></bind></iq>"+more...)
	for len(in) > 0 {
		n, err := c.scan.Next(in, &c.el)
		if err != nil {
			tb.Fatal(err)
		}
		turn.Element(&c.el)
		in = in[n:]
	}
	if s.JID() != full {
		tb.Fatalf("%s is bound, not %s", s.JID(), full)
	}
	return s
}

// dial is a pipe of somebody who is available.
func (c *core) dial(tb testing.TB, address string) *pipe {
	p := &pipe{scan: streamScanner()}
	p.Session = c.enter(tb, p, address2jid(tb, address), "<presence/>")
	return p
}

// crowd binds n users, available, to silent connections.
func (c *core) crowd(tb testing.TB, n int, more string) []*server.Session {
	list := make([]*server.Session, n)
	for i := range list {
		list[i] = c.enter(tb, silent{}, user(tb, i), more)
	}
	return list
}

// user is an address like those of the yardstick.
func user(tb testing.TB, i int) jid.JID {
	return address2jid(tb, fmt.Sprintf("u%07d@example.com/web-0123456789", i))
}

func address2jid(tb testing.TB, address string) jid.JID {
	j, err := jid.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	return j
}
