package websocket_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
	"github.com/prometheus/client_golang/prometheus"

	"rollcall/c2s/websocket"
	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/front"
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
type users struct{}

func (users) User(_ context.Context, id string) (storage.User, error) {
	return storage.User{ID: id}, nil
}

func (users) Credentials(context.Context, string) (storage.Credentials, error) {
	return storage.Credentials{Plain: password}, nil
}

func (users) Mechanisms() []string { return []string{"SCRAM-SHA-1", "SCRAM-SHA-256"} }

// options of a listener.
type options struct {
	websocket.Config
	limits func(*conf.Limits)
	tls    bool // is required
	front  bool // of our own instead of a server of net/http
	cipher bool // TLS from the first byte
}

// house is a server with one listener.
type house struct {
	*server.Server
	t        testing.TB
	acceptor *websocket.Acceptor
	address  string
	cipher   bool
	closes   testkit.Closes
	metrics  *prometheus.Registry
	stop     func()
}

// build makes a server without a network.
func build(t testing.TB, o options) *house {
	t.Helper()
	h := &house{t: t, closes: testkit.NewCloses(), metrics: prometheus.NewRegistry()}
	limits := conf.Default().Limits
	limits.LoginTime = patience
	if o.limits != nil {
		o.limits(&limits)
	}
	a, err := auth.New(auth.Config{Users: users{}, Iterations: auth.MinIterations, Secret: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	log := h.closes.Log()
	h.Server, err = server.New(server.Config{
		Hosts: []string{host}, Limits: limits, Session: conf.Default().Session,
		StreamManagement: conf.Default().StreamManagement,
		Auth:             a, AuthAttempts: 3, Log: log, Metrics: h.metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Config.Limits, o.Config.Log = limits, log
	h.acceptor = websocket.New(h.Server, server.Listener{PlainWithoutTLS: !o.tls, RequireTLS: o.tls}, o.Config)
	return h
}

func start(t testing.TB, o options) *house {
	t.Helper()
	h := build(t, o)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = ln.Addr().String()
	var web interface {
		Serve(net.Listener) error
		Shutdown(context.Context) error
	}
	var config *tls.Config
	if h.cipher = o.cipher; o.cipher {
		config = certificate(t)
	}
	if o.front {
		web = front.New(front.Config{
			TLS: config, Rest: h.acceptor, Upgraders: map[string]front.Upgrader{"/": h.acceptor, rawPath: h.acceptor}, HeaderBytes: 8 << 10, Log: slog.New(slog.DiscardHandler), Portable: o.Portable,
			HeaderTime: patience, BodyTime: patience, ReplyTime: patience, IdleTime: patience,
		})
	} else {
		if o.cipher {
			ln = tls.NewListener(ln, config)
		}
		web = &http.Server{Handler: h.acceptor, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(ln) }()
	h.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := web.Shutdown(ctx)
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		if err := errors.Join(err, h.Shutdown(ctx), h.acceptor.Close(ctx)); err != nil {
			t.Error(err)
		}
		h.expectNoPanic()
	})
	t.Cleanup(h.stop)
	return h
}

func certificate(t testing.TB) *tls.Config {
	t.Helper()
	c, err := testkit.Certificate(host)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *house) expectNoPanic() {
	h.t.Helper()
	if n := testkit.Panics(h.t, h.metrics); n > 0 {
		h.t.Errorf("the core caught %d panics", n)
	}
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

// peer is a client that says what it likes.
type peer struct {
	compressed bool // the client agreed to permessage-deflate
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

const handshake = "GET /xmpp-websocket HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// dial connects, with the subprotocol xmpp unless other headers are given.
func (h *house) dial(headers ...string) *peer {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { nc.Close() })
	if h.cipher {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	}
	p := newPeer(h.t, nc)
	if err := p.SetDeadline(time.Now().Add(patience)); err != nil {
		h.t.Fatal(err)
	}
	if len(headers) == 0 {
		headers = []string{"Sec-WebSocket-Protocol: xmpp"}
	}
	p.raw([]byte(handshake + strings.Join(headers, "\r\n") + "\r\n\r\n"))
	res, err := http.ReadResponse(p.in, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(res.Body)
		h.t.Fatal("the handshake was refused: ", res.Status, string(body), err)
	}
	return p
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	return &peer{Conn: nc, t: t, in: bufio.NewReader(nc)}
}

func (p *peer) raw(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatal("send: ", err)
	}
}

// frame is a masked frame.
func frame(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, []byte(payload))))
}

// send sends each text as a message.
func (p *peer) send(texts ...string) {
	p.t.Helper()
	for _, text := range texts {
		p.raw(frame(ws.OpText, true, text))
	}
}

// next returns the next frame.
func (p *peer) next() ws.Frame {
	p.t.Helper()
	f, err := websocket.ReadFrame(p.in)
	if err != nil {
		p.t.Fatal("read: ", err)
	}
	if p.compressed && f.Header.Rsv1() {
		if f, err = wsflate.DecompressFrame(f); err != nil {
			p.t.Fatal("decompress: ", err)
		}
	}
	if !f.Header.Fin || f.Header.Rsv != 0 || f.Header.Masked {
		p.t.Fatalf("frame with header %+v", f.Header)
	}
	return f
}

// text returns the next message.
func (p *peer) text() string {
	p.t.Helper()
	f := p.next()
	if f.Header.OpCode != ws.OpText {
		p.t.Fatalf("frame with opcode %d, want text: %q", f.Header.OpCode, f.Payload)
	}
	return string(f.Payload)
}

// expect compares the next messages with texts; "..." at the end of one stands for
// anything.
func (p *peer) expect(texts ...string) {
	p.t.Helper()
	for _, want := range texts {
		got := p.text()
		if start, open := strings.CutSuffix(want, "..."); got != want && !(open && strings.HasPrefix(got, start)) {
			p.t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

// expectClosing expects a close frame with a code, 0 for none, and the end.
func (p *peer) expectClosing(code ws.StatusCode) {
	p.t.Helper()
	f := p.next()
	if f.Header.OpCode != ws.OpClose {
		p.t.Fatalf("frame with opcode %d, want close: %q", f.Header.OpCode, f.Payload)
	}
	got, _ := ws.ParseCloseFrameData(f.Payload)
	if len(f.Payload) == 0 {
		got = 0
	}
	if got != code {
		p.t.Errorf("closed with %d, want %d", got, code)
	}
	if rest, err := io.ReadAll(p.in); err != nil || len(rest) > 0 {
		p.t.Errorf("after the close frame: %q %v", rest, err)
	}
}

const (
	framing  = `xmlns="urn:ietf:params:xml:ns:xmpp-framing"`
	open     = "<open " + framing + " to='" + host + "' version='1.0'/>"
	closing  = "<close " + framing + " />" // as strophe.js compares it
	features = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>"
)

// streamError is how the core says why a stream ends.
func streamError(condition string) string {
	return "<stream:error xmlns:stream='http://etherx.jabber.org/streams'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
}

func plain(user string) string {
	return "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)) + "</auth>"
}

func bind(resource string) string {
	return "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>"
}

// login logs in.
func (h *house) login(user, resource string) *peer {
	h.t.Helper()
	p := h.dial()
	p.login(user, resource)
	return p
}

func (p *peer) login(user, resource string) {
	p.t.Helper()
	p.send(open)
	p.expect("<open "+framing+" id=...", features+"<mechanisms...")
	p.send(plain(user))
	p.expect("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	p.send(open)
	p.expect("<open "+framing+" id=...", features+"<bind...")
	p.send(bind(resource))
	p.expect(fmt.Sprintf("<iq xmlns='jabber:client' from='%s@%s' to=...", user, host))
}
