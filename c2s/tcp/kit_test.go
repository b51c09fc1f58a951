package tcp_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/c2s/tcp"
	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/testkit"
	"rollcall/server"
	"rollcall/storage"
)

const (
	host     = "example.com"
	password = "secret"
	// patience is how long a test waits for what should happen at once.
	patience = 20 * time.Second
)

// users are all users there can be, with one password.
type users struct {
	credentials storage.Credentials
	stuck       chan struct{} // what finding the user "stuck" waits for
	waits       chan struct{} // says that somebody does
}

func (u *users) User(_ context.Context, id string) (storage.User, error) {
	return storage.User{ID: id}, nil
}

func (u *users) Credentials(_ context.Context, id string) (storage.Credentials, error) {
	if id == "stuck" {
		u.waits <- struct{}{}
		<-u.stuck
	}
	return u.credentials, nil
}

func (u *users) Mechanisms() []string { return []string{"SCRAM-SHA-1", "SCRAM-SHA-256"} }

var credentials = sync.OnceValues(func() (storage.Credentials, error) {
	return auth.NewCredentials(password, auth.MinIterations)
})

var certificate = sync.OnceValues(func() (*tls.Config, error) { return testkit.Certificate(host) })

// options of a listener.
type options struct {
	limits func(*conf.Limits)
	tls    bool
	direct bool
	simple bool
	plain  bool // storage of plain passwords, for many logins
	legacy bool // XEP-0078
	tap    func(server.TapEvent)
	panics bool // are to be caught
	// certificate is used instead of the one that clients trust.
	certificate *tls.Config
}

// house is a server with one listener.
type house struct {
	*server.Server
	t        testing.TB
	acceptor *tcp.Acceptor
	address  string
	users    *users
	tls      *tls.Config // for clients
	closes   testkit.Closes
	metrics  *prometheus.Registry
	panics   bool // are to be caught
	stop     func()
}

func start(t testing.TB, o options) *house {
	t.Helper()
	h := &house{t: t, panics: o.panics, closes: testkit.NewCloses(), metrics: prometheus.NewRegistry()}
	limits := conf.Default().Limits
	limits.LoginTime = patience
	if o.limits != nil {
		o.limits(&limits)
	}
	keys, err := credentials()
	if err != nil {
		t.Fatal(err)
	}
	if o.plain {
		keys = storage.Credentials{Plain: password}
	}
	h.users = &users{keys, make(chan struct{}), make(chan struct{})}
	a, err := auth.New(auth.Config{Users: h.users, Iterations: auth.MinIterations, Secret: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	log := h.closes.Log()
	h.Server, err = server.New(server.Config{
		Hosts: []string{host}, Limits: limits, Session: conf.Default().Session,
		StreamManagement: conf.Default().StreamManagement,
		Auth:             a, AuthAttempts: 3, Log: log, Metrics: h.metrics, Tap: o.tap,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := tcp.Config{Listener: server.Listener{PlainWithoutTLS: true, LegacyAuth: o.legacy}, Limits: limits, Log: log, Direct: o.direct}
	if o.tls || o.direct {
		if h.tls, err = certificate(); err != nil {
			t.Fatal(err)
		}
		c.TLS = h.tls
		if o.certificate != nil {
			c.TLS = o.certificate
		}
		c.Listener.RequireTLS = true
	}
	c.Portable = o.simple
	h.acceptor = tcp.New(h.Server, c)
	h.listen()
	return h
}

func (h *house) listen() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	h.address = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- h.acceptor.Serve(ln) }()
	h.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		// As the program does it: listeners first.
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			h.t.Error(err)
		}
		if err := errors.Join(h.Shutdown(ctx), h.acceptor.Close(ctx), <-served); err != nil {
			h.t.Error(err)
		}
		if panics := testkit.Panics(h.t, h.metrics); (panics > 0) != h.panics {
			h.t.Errorf("the core caught %d panics", panics)
		}
	})
	h.t.Cleanup(h.stop)
}

// expectClose waits for the next close.
func (h *house) expectClose(reason string) {
	h.t.Helper()
	select {
	case got := <-h.closes:
		if got != reason {
			h.t.Errorf("closed for %s, want %s", got, reason)
		}
	case <-time.After(patience):
		h.t.Errorf("nothing was closed, want %s", reason)
	}
}

// loops runs a test over both links.
func loops(t *testing.T, o options, f func(t *testing.T, h *house)) {
	t.Helper()
	for _, simple := range []bool{false, true} {
		name := "lean"
		if simple {
			name = "simple"
		}
		t.Run(name, func(t *testing.T) {
			o.simple = simple
			f(t, start(t, o))
		})
	}
}

// peer is a client that says what it likes.
type peer struct {
	net.Conn
	t    testing.TB
	seen bytes.Buffer // and not asked for yet
}

func (h *house) dial() *peer {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	p := &peer{Conn: nc, t: h.t}
	h.t.Cleanup(func() { p.Close() })
	p.patient()
	return p
}

func (p *peer) patient() {
	p.t.Helper()
	if err := p.SetDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// until returns what came up to and with the text.
func (p *peer) until(text string) string {
	p.t.Helper()
	buf := make([]byte, 4096)
	for {
		if i := bytes.Index(p.seen.Bytes(), []byte(text)); i >= 0 {
			return string(p.seen.Next(i + len(text)))
		}
		n, err := p.Read(buf)
		p.seen.Write(buf[:n])
		if err != nil && !bytes.Contains(p.seen.Bytes(), []byte(text)) {
			p.t.Fatalf("waiting for %q: %v; got %q", text, err, p.seen.String())
		}
	}
}

// all returns everything up to the end of the connection.
func (p *peer) all() string {
	p.t.Helper()
	_, err := p.seen.ReadFrom(p)
	if err != nil {
		p.t.Fatalf("reading to the end: %v; got %q", err, p.seen.String())
	}
	return string(p.seen.Next(p.seen.Len()))
}

func (p *peer) expectEnd(want string) {
	p.t.Helper()
	if got := p.all(); !strings.HasSuffix(got, want) {
		p.t.Errorf("got  %q\nwant %q at the end", got, want)
	}
}

const header = "<?xml version='1.0'?><stream:stream to='" + host + "' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"

// streamError is the end of a stream that the server ends.
func streamError(condition string) string {
	return "<stream:error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
}

func auth64(user string) string {
	return "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + base64("\x00"+user+"\x00"+password) + "</auth>"
}

func bind(resource string) string {
	return "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>"
}

// login logs in over a raw connection.
func (h *house) login(user, resource string) *peer {
	h.t.Helper()
	p := h.dial()
	p.login(user, resource)
	return p
}

func (p *peer) login(user, resource string) {
	p.t.Helper()
	p.send(header + auth64(user) + header + bind(resource))
	p.until("</jid></bind></iq>")
}
