package front_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"rollcall/internal/front"
)

const get = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"

func TestHeldAndAnswered(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		p := h.dial()
		for i := range 3 {
			body := fmt.Sprint("question ", i)
			p.send(post(body))
			r := h.next()
			if r.body != body || r.err != nil || r.remote != p.LocalAddr().String() || r.secure != h.tls {
				t.Fatalf("%+v", r)
			}
			r.reply("answer")
			got := p.expect(http.StatusOK, "answer")
			if got.Close || got.ContentLength != 6 || got.Header.Get("Date") == "" || got.Header.Get("Content-Type") != "text/plain" {
				t.Errorf("%+v", got)
			}
			r.expectDone(t, true)
		}
		p.send(post("now"))
		p.expect(http.StatusOK, "now")
	})
}

// Other requests go to net/http, whose connections come back.
func TestRest(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		p := h.dial()
		for range 2 {
			p.send(get)
			p.expect(http.StatusOK, fmt.Sprint("rest GET /page ", h.tls))
			p.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
			p.expect(http.StatusOK, "rest GET /held")
			for range 2 {
				p.send(post("question"))
				r := h.next()
				if r.secure != h.tls {
					t.Error("secure: ", r.secure)
				}
				r.reply("answer")
				p.expect(http.StatusOK, "answer")
				r.expectDone(t, true)
			}
		}
		p.send(get + post("now") + get)
		p.expect(http.StatusOK, "rest GET /page")
		p.expect(http.StatusOK, "now")
		p.expect(http.StatusOK, "rest GET /page")
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		p := h.dial()
		p.send(strings.Replace(post("now", "Connection: keep-alive"), "1.1", "1.0", 1))
		if got := p.expect(http.StatusOK, "now"); got.Close || got.Header.Get("Connection") != "keep-alive" {
			t.Errorf("%+v", got)
		}
		p.send(strings.Replace(post("now"), "1.1", "1.0", 1))
		if got := p.expect(http.StatusOK, "now"); !got.Close {
			t.Errorf("%+v", got)
		}
		p.expectEnd()

		p = h.dial()
		p.send(post("now", "Connection: close") + post("unanswered"))
		if got := p.expect(http.StatusOK, "now"); !got.Close {
			t.Errorf("%+v", got)
		}
		p.expectEnd()
	})
}

// Answers keep the order of requests that were sent ahead.
func TestPipelined(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		p := h.dial()
		p.send(post("1") + "\r\n" + post("now") + post("3"))
		first := h.next()
		select {
		case <-h.held:
			t.Error("the third request is served before the first is answered")
		default:
		}
		first.reply("one")
		p.expect(http.StatusOK, "one")
		p.expect(http.StatusOK, "now")
		third := h.next()
		if first.body != "1" || third.body != "3" {
			t.Errorf("%q, %q", first.body, third.body)
		}
		p.send(get)
		third.reply("three")
		p.expect(http.StatusOK, "three")
		p.expect(http.StatusOK, "rest GET")
	})
}

func TestDripped(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		p := h.dial()
		for _, b := range []byte(post("now") + strings.ReplaceAll(post("now"), "\r\n", "\n")) {
			p.send(string(b))
		}
		p.expect(http.StatusOK, "now")
		p.expect(http.StatusOK, "now")
	})
}

func TestBodies(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		p := h.dial()
		p.send("POST /held/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n1\r\nw\r\n0\r\n\r\n" + post("now"))
		p.expect(http.StatusOK, "now")
		p.expect(http.StatusOK, "now")

		large := strings.Repeat("0123456789", 100_000)
		p.send(post(large))
		r := h.next()
		if r.body != large {
			t.Errorf("%d bytes, %v", len(r.body), r.err)
		}
		r.reply(large)
		p.expect(http.StatusOK, large)

		p.send("POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
		if got, err := http.ReadResponse(p.in, nil); err != nil || got.StatusCode != http.StatusContinue {
			t.Fatal(got, err)
		}
		p.send("now")
		p.expect(http.StatusOK, "now")

		p.send("POST /held HTTP/1.1\r\nHost: x\r\n\r\n") // no body at all
		h.next().reply("nothing")
		p.expect(http.StatusOK, "nothing")

		// The rest of a body that is not read is not awaited.
		p.send("POST /held HTTP/1.1\r\nHost: x\r\nX-Do: part\r\nContent-Length: 1000\r\n\r\nx")
		if got := p.expect(http.StatusOK, "part"); !got.Close {
			t.Error("the connection goes on")
		}
		p.expectEnd()
	})
}

// What is wrong is net/http's to say.
func TestWrongRequests(t *testing.T) {
	for _, test := range []struct {
		name, in string
		status   int
	}{
		{"no HTTP", "<?xml version='1.0'?><stream:stream>\r\n\r\n", http.StatusBadRequest},
		{"no host", "POST /held HTTP/1.1\r\nContent-Length: 0\r\n\r\n", http.StatusBadRequest},
		{"bad field", "POST /held HTTP/1.1\r\nHost: x\r\nbad field: x\r\n\r\n", http.StatusBadRequest},
		{"bad length", "POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", http.StatusBadRequest},
		{"two lengths", "POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", http.StatusBadRequest},
		{"coding", "POST /held HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", http.StatusNotImplemented},
		{"version", "POST /held HTTP/3.0\r\nHost: x\r\n\r\n", http.StatusHTTPVersionNotSupported},
		{"expectation", "POST /held HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\n\r\n", http.StatusExpectationFailed},
		{"long head", "POST /held HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
		{"long head without end", "POST /held HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 20<<10), http.StatusRequestHeaderFieldsTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			every(t, config(), func(t *testing.T, h *house) {
				p := h.dial()
				p.send(test.in)
				p.expect(test.status, "")
			})
		})
	}
}

// What comes too slowly, or not at all, ends.
func TestSlow(t *testing.T) {
	c := config()
	c.HeaderTime, c.BodyTime, c.IdleTime = 300*time.Millisecond, 50*time.Millisecond, 300*time.Millisecond
	every(t, c, func(t *testing.T, h *house) {
		p := h.dial()
		if h.tls {
			p.send("")
		}
		p.expectEnd() // without a request

		p = h.dial()
		p.send("POST /held HTTP")
		p.expectEnd()

		p = h.dial()
		p.send("POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nslow")
		r := h.next()
		if r.body != "slow" || !errors.Is(r.err, context.DeadlineExceeded) && !strings.Contains(fmt.Sprint(r.err), "timeout") {
			t.Errorf("%q, %v", r.body, r.err)
		}
		r.reply("too slow")
		if got := p.expect(http.StatusOK, "too slow"); !got.Close {
			t.Error("the connection goes on")
		}
		p.expectEnd()

		// A request that is held may take longer, and then the next one begins.
		p = h.dial()
		p.send(post("question"))
		r = h.next()
		<-time.After(2 * c.IdleTime) // the times above must not matter
		r.reply("answer")
		p.expect(http.StatusOK, "answer")
		p.expectEnd()
	})
}

// A client that goes is noticed while its request is held.
func TestAbort(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		for range 2 {
			p := h.dial()
			p.send(post("question"))
			r := h.next()
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			r.expectDone(t, false)
			r.reply("too late")
			select {
			case <-r.done:
				t.Error("told twice")
			default:
			}
		}
	})
}

// A reader that never reads is given up.
func TestNeverReads(t *testing.T) {
	c := config()
	c.ReplyTime = 50 * time.Millisecond
	every(t, c, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(post("question"))
		r := h.next()
		r.reply(strings.Repeat("x", 32<<20))
		r.expectDone(t, false)
	})
}

func TestPanic(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		p := h.dial()
		p.send(post("panic"))
		p.expectEnd()
		p = h.dial()
		p.send(get + post("panic"))
		p.expect(http.StatusOK, "rest")
		p.expectEnd()
		p = h.dial()
		p.send(post("now"))
		p.expect(http.StatusOK, "now")
	})
}

// Shutdown lets the requests under way be answered.
func TestShutdown(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		idle, p, q := h.dial(), h.dial(), h.dial()
		idle.send(post("now"))
		idle.expect(http.StatusOK, "now")
		q.send(get + post("question"))
		q.expect(http.StatusOK, "rest")
		p.send(post("question"))
		first, second := h.next(), h.next()
		done := make(chan error, 1)
		go func() { done <- h.stop() }()
		idle.expectEnd()
		idle.Close()
		select {
		case err := <-done:
			t.Fatal("done already: ", err)
		default:
		}
		first.reply("last")
		second.reply("last")
		for _, c := range []*peer{p, q} {
			c.expect(http.StatusOK, "last")
			c.expectEnd()
			c.Close()
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := net.Dial("tcp", h.address); err == nil {
			t.Error("the listener is still open")
		}
	})
}

// A request that was on its way when the shutdown began is answered, as the last.
func TestLastCall(t *testing.T) {
	c := config()
	c.LastCall = patience / 2
	every(t, c, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(post("now"))
		p.expect(http.StatusOK, "now")
		done := make(chan error, 1)
		go func() { done <- h.stop() }()
		for {
			nc, err := net.Dial("tcp", h.address)
			if err != nil {
				break // the shutdown has begun
			}
			nc.Close()
		}
		p.send(post("now"))
		for !p.expect(http.StatusOK, "now").Close {
			p.send(post("now")) // the connection was not told yet
		}
		p.expectEnd()
		p.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// When the time is over the rest is cut.
func TestShutdownCuts(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		p := h.dial()
		p.send(post("question"))
		r := h.next()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := h.front.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		r.expectDone(t, false)
		_, _ = io.Copy(io.Discard, p) // cut, one way or another
	})
}

// On a server of another kind a goroutine waits.
func TestBlock(t *testing.T) {
	h := &house{t: t, held: make(chan *held, 1)}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		front.Block(h, w, r, patience, 50*time.Millisecond)
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	ask := func(ctx context.Context, body string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL+"/held", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return srv.Client().Do(r)
	}
	got, err := ask(t.Context(), "now")
	if err != nil || got.ProtoMajor != 2 || got.StatusCode != http.StatusOK || got.ContentLength != 3 || got.Header.Get("Content-Type") != "text/plain" {
		t.Fatalf("%v, %+v", err, got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	aborted := make(chan error, 1)
	go func() {
		_, err := ask(ctx, "question")
		aborted <- err
	}()
	r := h.next()
	cancel()
	r.expectDone(t, false)
	if err := <-aborted; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.reply("too late")
	go func() {
		r := h.next()
		r.reply(strings.Repeat("x", 16<<20))
		r.expectDone(t, false) // nobody reads
		h.held <- nil
	}()
	if _, err = ask(t.Context(), "much"); err != nil {
		t.Error(err)
	}
	h.next()
}
