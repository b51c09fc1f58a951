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
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/c2s/websocket"
	"rollcall/conf"
	"rollcall/internal/front"
	"rollcall/internal/servertest"
	"rollcall/server"
)

const (
	// rawPatience is how long a case waits for what should happen at once.
	rawPatience = 10 * time.Second
	rawHost     = "example.com"
	rawPath     = "/xmpp-websocket"
	exactClose  = `<close xmlns="urn:ietf:params:xml:ns:xmpp-framing" />`
)

// way is how connections come to a listener.
type way struct {
	name     string
	front    bool // by the HTTP front of the program, otherwise by net/http
	tls      bool
	portable bool // links with a goroutine and a buffer
}

// usual is the program's way on a port without TLS.
var usual = way{name: "front", front: true}

// endpoint is a server with one WebSocket listener, for clients that say what
// they like.
type endpoint struct {
	*servertest.Server
	way     way
	address string
}

// listen starts an endpoint of the usual way; change may alter its configuration.
func listen(t testing.TB, change func(*websocket.Config)) *endpoint {
	t.Helper()
	return usual.listen(t, change)
}

func (w way) listen(t testing.TB, change func(*websocket.Config)) *endpoint {
	t.Helper()
	e := &endpoint{way: w}
	e.Server = servertest.New(t, servertest.Options{
		Hosts:     []string{rawHost},
		Directory: servertest.NewDirectory().AddUser("alice", "Alice").AddUser("bob", "Bob"),
	})
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	c := websocket.Config{Limits: conf.Default().Limits, Log: log, Portable: w.portable}
	if change != nil {
		change(&c)
	}
	acceptor := websocket.New(e.Server.Server, server.Listener{PlainWithoutTLS: true}, c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.address = ln.Addr().String()
	stop := w.serve(t, ln, acceptor, log)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), rawPatience)
		defer cancel()
		e.Stop()
		if err := errors.Join(acceptor.Close(ctx), stop(ctx)); err != nil {
			t.Error(err)
		}
	})
	return e
}

// serve serves HTTP until stop.
func (w way) serve(t testing.TB, ln net.Listener, acceptor *websocket.Acceptor, log *slog.Logger) (stop func(context.Context) error) {
	t.Helper()
	h := http.NewServeMux()
	h.Handle(rawPath, acceptor)
	var config *tls.Config
	if w.tls {
		config = certificate(t)
	}
	served := make(chan error, 1)
	if w.front {
		f := front.New(front.Config{
			TLS: config, Rest: h, Upgraders: map[string]front.Upgrader{rawPath: acceptor}, HeaderTime: rawPatience, BodyTime: rawPatience,
			ReplyTime: rawPatience, IdleTime: rawPatience, HeaderBytes: 16 << 10, Portable: w.portable, Log: log,
		})
		go func() { served <- f.Serve(ln) }()
		return func(ctx context.Context) error { return errors.Join(ln.Close(), f.Shutdown(ctx), <-served) }
	}
	web := &http.Server{Handler: h, ReadHeaderTimeout: rawPatience, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelInfo)}
	if w.tls {
		ln = tls.NewListener(ln, config)
	}
	go func() { served <- web.Serve(ln) }()
	return func(ctx context.Context) error {
		err := web.Shutdown(ctx)
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	}
}

// rawPeer is a client that says what it likes.
type rawPeer struct {
	net.Conn
	t    testing.TB
	in   *bufio.Reader
	full string // address, once logged in
	next int    // number of the next request
}

// dialRaw connects, without a word.
func (e *endpoint) dialRaw(t testing.TB) *rawPeer {
	t.Helper()
	nc, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	if e.way.tls {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) // the certificate is the test's own
	}
	p := &rawPeer{Conn: nc, t: t, in: bufio.NewReader(nc)}
	t.Cleanup(func() { nc.Close() })
	if err := p.SetDeadline(time.Now().Add(rawPatience)); err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	rawKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	rawAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" // RFC 6455 section 1.3
)

// request is an opening handshake; fields are lines that replace those of the
// same name, or delete them when they have no value.
func (e *endpoint) request(fields ...string) string {
	lines := []string{
		"Host: " + e.address, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: " + rawKey, "Sec-WebSocket-Protocol: xmpp",
	}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ":")
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, name+":") })
		if value != "" {
			lines = append(lines, field)
		}
	}
	return "GET " + rawPath + " HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// handshake sends a request and returns the response.
func (p *rawPeer) handshake(request string) *http.Response {
	p.t.Helper()
	p.write([]byte(request))
	response, err := http.ReadResponse(p.in, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { response.Body.Close() })
	return response
}

// upgrade opens a WebSocket.
func (e *endpoint) upgrade(t testing.TB, fields ...string) *rawPeer {
	t.Helper()
	p := e.dialRaw(t)
	if r := p.handshake(e.request(fields...)); r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %s", r.Status)
	}
	return p
}

// login opens a WebSocket and a session of alice's on it.
func (e *endpoint) login(t testing.TB) *rawPeer {
	t.Helper()
	p := e.upgrade(t)
	p.signIn("alice")
	return p
}

const rawOpen = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='" + rawHost + "' version='1.0'/>"

func (p *rawPeer) signIn(user string) {
	p.t.Helper()
	p.say(rawOpen)
	p.expectText("<open ")
	p.expectText("<stream:features ")
	p.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+servertest.Password)) + "</auth>")
	p.expectText("<success ")
	p.say(rawOpen)
	p.expectText("<open ")
	p.expectText("<stream:features ")
	p.say("<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	answer := p.expectText("<iq ")
	_, rest, _ := strings.Cut(answer, "<jid>")
	full, _, found := strings.Cut(rest, "</jid>")
	if !found {
		p.t.Fatalf("bind: %s", answer)
	}
	p.full = full
}

func (p *rawPeer) write(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// send writes frames. Where the server may close meanwhile, a failed write shows
// in what is read.
func (p *rawPeer) send(how chop, frames ...rawFrame) {
	p.t.Helper()
	var all []byte
	for _, f := range frames {
		b := f.bytes()
		if how < 0 {
			p.tryWrite(b)
		}
		all = append(all, b...)
	}
	if how < 0 {
		return
	}
	size := int(how)
	if how == 0 {
		size = len(all)
	}
	for piece := range slices.Chunk(all, max(size, 1)) {
		if !p.tryWrite(piece) {
			return
		}
	}
}

func (p *rawPeer) tryWrite(b []byte) bool {
	if _, err := p.Write(b); err != nil {
		p.t.Logf("write: %v", err)
		return false
	}
	return true
}

// say sends one text message.
func (p *rawPeer) say(text string) { p.t.Helper(); p.send(0, textFrame(text)) }

// expectText reads a text message that begins like this.
func (p *rawPeer) expectText(prefix string) string {
	p.t.Helper()
	op, payload, err := p.frame()
	if err != nil || op != opText || !strings.HasPrefix(payload, prefix) {
		p.t.Fatalf("got opcode %x %.300q, %v; want %q", op, payload, err, prefix)
	}
	return payload
}

func (p *rawPeer) expectPong(payload string) {
	p.t.Helper()
	op, got, err := p.frame()
	if err != nil || op != opPong || got != payload {
		p.t.Fatalf("got opcode %x %.300q, %v; want the pong %.300q", op, got, err, payload)
	}
}

// ping is a request of so many bytes, and its id. What is too short comes out
// longer.
func (p *rawPeer) ping(size int) (request, id string) {
	p.next++
	const around = "<iq xmlns='jabber:client' type='get' id=''><ping xmlns='urn:xmpp:ping'/></iq>"
	id = fmt.Sprintf("%d-", p.next)
	id += strings.Repeat("x", max(0, size-len(around)-len(id)))
	return strings.Replace(around, "id=''", "id='"+id+"'", 1), id
}

// expectAnswer reads the answer to a request.
func (p *rawPeer) expectAnswer(id string) {
	p.t.Helper()
	if answer := p.expectText("<iq "); !strings.Contains(answer, "id='"+id+"'") {
		p.t.Fatalf("got %.300q, want the answer to %.40q", answer, id)
	}
}

// alive proves that the session goes on and nothing unexpected was sent.
func (p *rawPeer) alive() {
	p.t.Helper()
	request, id := p.ping(0)
	p.say(request)
	p.expectAnswer(id)
}

// ending is how a connection ended.
type ending struct {
	code      int      // of the close frame; 1005 without one in it, 1006 without a frame
	condition string   // of the stream error
	closed    bool     // <close/> came
	texts     []string // other messages
}

// last reads to the end of the connection, answering the close frame.
func (p *rawPeer) last() ending {
	p.t.Helper()
	end := ending{code: 1006}
	for {
		op, payload, err := p.frame()
		switch {
		case err != nil:
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				p.t.Fatalf("the connection stays open after %+v", end)
			}
			if !errors.Is(err, io.EOF) {
				p.t.Errorf("the connection ends with %v", err)
			}
			return end
		case end.code != 1006:
			p.t.Fatalf("opcode %x %.300q after the close frame", op, payload)
		case op == opClose:
			end.code = p.closeCode(payload)
			p.send(0, rawFrame{op: opClose, payload: payload})
		case op == opText && strings.HasPrefix(payload, "<close "):
			if payload != exactClose {
				p.t.Errorf("got %q, want %q", payload, exactClose)
			}
			end.closed = true
		case op == opText && strings.HasPrefix(payload, "<stream:error "):
			_, rest, _ := strings.Cut(payload, "><")
			end.condition, _, _ = strings.Cut(rest, " ")
		default:
			end.texts = append(end.texts, payload)
		}
	}
}

// expectFailure reads to the end, which one of these codes must tell.
func (p *rawPeer) expectFailure(codes ...int) {
	p.t.Helper()
	if end := p.last(); !slices.Contains(codes, end.code) || len(end.texts) > 0 {
		p.t.Errorf("ended with %+v, want the code %d", end, codes)
	}
}

// expectStreamError reads to the end: the stream error, <close/>, and a closing
// handshake.
func (p *rawPeer) expectStreamError(conditions ...string) {
	p.t.Helper()
	end := p.last()
	if !slices.Contains(conditions, end.condition) || !end.closed || len(end.texts) > 0 || end.code == 1006 || end.code == 1005 {
		p.t.Errorf("ended with %+v, want %s", end, conditions)
	}
}
