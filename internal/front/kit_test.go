package front_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/front"
	"rollcall/internal/testkit"
)

// patience is how long a test waits for what should happen at once.
const patience = 20 * time.Second

var certificate = sync.OnceValues(func() (*tls.Config, error) {
	c, err := testkit.Certificate("localhost")
	if err == nil {
		c.NextProtos = []string{"http/1.1"}
	}
	return c, err
})

// held is a request that a test answers.
type held struct {
	front.Exchange
	body   string
	err    error // of reading it
	remote string
	secure bool
	done   chan bool
	wait   chan struct{} // before it says that it is done; nil for not at all
}

// house is a Front whose held requests the test gets.
type house struct {
	t        testing.TB
	front    *front.Front
	address  string
	tls      bool
	held     chan *held
	stop     func() error
	much     chan struct{} // gets one when "/much" is done
	hijacked chan net.Conn // gets the connections of "/hijack"
}

// Exchange implements front.Handler.
func (h *house) Exchange() *front.Exchange {
	r := &held{done: make(chan bool, 2)}
	r.Waiter = r
	return &r.Exchange
}

// Done implements front.Waiter.
func (r *held) Done(written bool) {
	// Where the reply was faster than the end of reading the request, who reads writes
	// it: nothing could come meanwhile.
	if r.wait != nil && !bytes.Contains(debug.Stack(), []byte("(*Exchange).attach(")) {
		<-r.wait
	}
	r.done <- written
}

// Serve implements front.Handler. What the body says first decides: "panic",
// "now", which is answered at once, "part", of which nothing more is read.
func (h *house) Serve(x *front.Exchange, request *front.Request) {
	r := x.Waiter.(*held)
	r.remote, r.secure = request.RemoteAddr(), request.Secure()
	if request.Value("X-Do") == "part" {
		r.reply("part")
		return
	}
	body, err := request.AppendBody(nil, math.MaxInt)
	r.body, r.err = string(body), err
	switch r.body {
	case "panic":
		panic("as told")
	case "told panic":
		h.held <- r
		panic("as told")
	case "now":
		r.reply("now")
	default:
		h.held <- r
	}
}

func (r *held) reply(body string) {
	r.Reply(http.StatusOK, []front.Field{{Name: "Content-Type", Value: "text/plain"}}, []byte(body))
	go r.Send() // whose Done may wait here
}

func (h *house) next() *held {
	h.t.Helper()
	select {
	case r := <-h.held:
		return r
	case <-time.After(patience):
		h.t.Fatal("no request")
		return nil
	}
}

func (r *held) expectDone(t testing.TB, want bool) {
	t.Helper()
	select {
	case got := <-r.done:
		if got != want {
			t.Errorf("written: %t", got)
		}
	case <-time.After(patience):
		t.Fatal("nobody said how it went")
	}
}

func config() front.Config {
	return front.Config{
		Paths:      []string{"/held", "/held/"},
		HeaderTime: patience, BodyTime: patience, ReplyTime: patience, IdleTime: patience,
		HeaderBytes: 8 << 10, Log: slog.New(slog.DiscardHandler),
	}
}

// rest serves what is not held.
func (h *house) rest(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/panic":
		panic("as told")
	case "/hijack":
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			h.t.Error(err)
		}
		h.hijacked <- nc
	case "/much":
		for some := make([]byte, 1<<20); ; {
			if _, err := w.Write(some); err != nil {
				h.much <- struct{}{}
				return
			}
		}
	default:
		fmt.Fprintf(w, "rest %s %s %t", r.Method, r.URL.Path, r.TLS != nil)
	}
}

func start(t testing.TB, c front.Config) *house {
	t.Helper()
	h := &house{
		t: t, held: make(chan *held, 100), tls: c.TLS != nil,
		much: make(chan struct{}, 1), hijacked: make(chan net.Conn, 1),
	}
	if c.Held == nil {
		c.Held = h
	}
	c.Rest = http.HandlerFunc(h.rest)
	h.front = front.New(c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- h.front.Serve(ln) }()
	h.stop = sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return errors.Join(h.front.Shutdown(ctx), <-served)
	})
	t.Cleanup(func() {
		if err := h.stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// every runs a test over both kinds of connection, plain and under TLS.
func every(t *testing.T, c front.Config, f func(t *testing.T, h *house)) {
	t.Helper()
	secure, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []struct {
		name     string
		tls      *tls.Config
		portable bool
	}{{"plain", nil, false}, {"TLS", secure, false}, {"portable", nil, true}, {"portable TLS", secure, true}} {
		t.Run(kind.name, func(t *testing.T) {
			c.TLS, c.Portable = kind.tls, kind.portable
			f(t, start(t, c))
		})
	}
}

// peer is a client that says what it likes.
type peer struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

func (h *house) dial() *peer {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		h.t.Fatal(err)
	}
	if h.tls {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	}
	return &peer{Conn: nc, t: h.t, in: bufio.NewReader(nc)}
}

func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		p.t.Fatal(err)
	}
}

// expect reads one response.
func (p *peer) expect(status int, body string) *http.Response {
	p.t.Helper()
	r, err := http.ReadResponse(p.in, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	got, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != status || !strings.Contains(string(got), body) {
		p.t.Fatalf("status %d, %v, %q; want %d, %q", r.StatusCode, err, got, status, body)
	}
	return r
}

// expectEnd reads to the end of the connection.
func (p *peer) expectEnd() {
	p.t.Helper()
	rest, err := io.ReadAll(p.in)
	if err != nil || len(rest) > 0 {
		p.t.Errorf("at the end: %v, %q", err, rest)
	}
}

// post is a request with a body.
func post(body string, lines ...string) string {
	return fmt.Sprintf("POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s",
		len(body), strings.Join(append(lines, ""), "\r\n"), body)
}
