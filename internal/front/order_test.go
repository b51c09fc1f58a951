package front_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/front"
)

// The wait for the next request must not bound one that has come meanwhile.
func TestNextWhileTold(t *testing.T) {
	c := config()
	c.IdleTime = 400 * time.Millisecond
	every(t, c, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(post("first"))
		first := h.next()
		release := make(chan struct{})
		first.wait = release
		first.reply("one")
		p.expect(http.StatusOK, "one")
		p.send(post("second"))
		second := h.next()
		close(release)
		first.expectDone(t, true)
		select {
		case written := <-second.done:
			t.Fatal("told already: ", written)
		case <-time.After(2 * c.IdleTime): // it must not matter
		}
		second.reply("two")
		p.expect(http.StatusOK, "two")
	})
}

// A connection that ends with a reply does not serve what comes after.
func TestNothingAfterTheLast(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		p := h.dial()
		p.send(post("last", "Connection: close"))
		r := h.next()
		release := make(chan struct{})
		r.wait = release
		p.send(post("unanswered"))
		r.reply("answer")
		p.expect(http.StatusOK, "answer")
		p.send(post("unanswered") + get)
		close(release)
		p.expectEnd()
		select {
		case r := <-h.held:
			t.Errorf("served: %q", r.body)
		default:
		}
	})
}

// A slow reader has as long for the last reply as for any other.
func TestLongLast(t *testing.T) {
	h := start(t, config())
	p := h.dial()
	p.send(post("last", "Connection: close"))
	much := strings.Repeat("0123456789abcdef", 1<<20)
	r := h.next()
	r.reply(much)
	<-time.After(2500 * time.Millisecond) // more than the time to take leave
	p.expect(http.StatusOK, much)
	p.expectEnd()
	r.expectDone(t, true)
}

// Every request is told how it ended, also one whose Handler panics.
func TestPanicIsTold(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		for _, before := range []string{"", get} {
			p := h.dial()
			p.send(before + post("told panic"))
			h.next().expectDone(t, false)
		}
	})
	h := &house{t: t, held: make(chan *held, 1)}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		front.Block(h, w, r, patience, patience)
	}))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	srv.Start()
	defer srv.Close()
	if _, err := http.Post(srv.URL, "text/plain", strings.NewReader("told panic")); err == nil {
		t.Error("there is an answer")
	}
	h.next().expectDone(t, false)
}

// lockedBuffer is a buffer for a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Who panics outside of held requests is in the log too, but not who gives up.
func TestRestPanics(t *testing.T) {
	log := new(lockedBuffer)
	c := config()
	c.Log = slog.New(slog.NewTextHandler(log, nil))
	h := start(t, c)
	for _, path := range []string{"/abort", "/panic"} {
		logged := path == "/panic"
		p := h.dial()
		p.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
		p.expectEnd()
		if strings.Contains(log.String(), "level=ERROR") != logged {
			t.Errorf("%s: %q", path, log)
		}
		if logged != strings.Contains(log.String(), "as told") {
			t.Errorf("%s: %q", path, log)
		}
	}
}

// A reader that never reads what net/http has to say is given up too.
func TestRestIsNotRead(t *testing.T) {
	c := config()
	c.BodyTime, c.ReplyTime = 50*time.Millisecond, 50*time.Millisecond
	every(t, c, func(t *testing.T, h *house) {
		p := h.dial()
		p.send("GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
		select {
		case <-h.much:
		case <-time.After(patience):
			t.Error("still writing")
		}
	})
}

// What a hijacker gets has no deadlines left.
func TestHijacked(t *testing.T) {
	c := config()
	c.HeaderTime, c.BodyTime, c.ReplyTime, c.IdleTime = time.Second, time.Second, 50*time.Millisecond, time.Second
	every(t, c, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(post("now"))
		p.expect(http.StatusOK, "now")
		p.send("GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
		nc := <-h.hijacked
		defer nc.Close()
		<-time.After(c.IdleTime + 100*time.Millisecond)
		p.send("hello")
		got := make([]byte, 5)
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := nc.Write(got); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(p.in, got); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// Requests in records of their own, which come together, are all served, whoever
// has the connection.
func TestRecords(t *testing.T) {
	secure, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	c := config()
	c.TLS = secure
	h := start(t, c)
	nc, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	together := &together{Conn: nc}
	sc := tls.Client(together, &tls.Config{InsecureSkipVerify: true})
	if err := sc.Handshake(); err != nil {
		t.Fatal(err)
	}
	together.holds = true
	p := &peer{Conn: sc, t: t}
	p.in = bufio.NewReader(sc)
	pad := "X-Pad: " + strings.Repeat("x", 600)
	for range 2 {
		p.send("GET /page HTTP/1.1\r\nHost: x\r\n" + pad + "\r\n\r\n")
		p.send(post("now", pad))
		p.send(post("now", pad))
	}
	if _, err := together.held.WriteTo(nc); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p.expect(http.StatusOK, "rest GET /page")
		p.expect(http.StatusOK, "now")
		p.expect(http.StatusOK, "now")
	}
}

// together holds back what is written.
type together struct {
	net.Conn
	held  bytes.Buffer
	holds bool
}

func (w *together) Write(p []byte) (int, error) {
	if w.holds {
		return w.held.Write(p)
	}
	return w.Conn.Write(p)
}

// Nothing is left of a Front that was shut down, whatever its clients did.
func TestNothingIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		every(t, config(), func(t *testing.T, h *house) {
			var requests []*held
			for i := range 60 {
				p := h.dial()
				if i%6 == 0 && !h.tls {
					continue // says nothing
				}
				switch i % 6 {
				case 1:
					p.send("POST /held HT")
				case 2:
					p.send(post("question") + post("ahead"))
					requests = append(requests, h.next())
				case 3:
					p.send(get + post("question"))
					requests = append(requests, h.next())
					p.Close()
				case 4:
					p.send(get)
					p.expect(http.StatusOK, "rest")
				case 5:
					p.send("POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx")
				}
			}
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			if err := h.front.Shutdown(ctx); err == nil {
				t.Error("nothing had to be cut")
			}
			for _, r := range requests {
				r.expectDone(t, false)
				r.reply("too late")
			}
		})
	})
	http.DefaultClient.CloseIdleConnections()
	for limit := time.Now().Add(patience); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(limit) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// One connection serves as many requests as it is asked to.
func TestManyRequests(t *testing.T) {
	every(t, config(), func(t *testing.T, h *house) {
		const n = 2000
		p := h.dial()
		go func() {
			for range n {
				if _, err := io.WriteString(p, post("now")+post("now")); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		for range 2 * n {
			p.expect(http.StatusOK, "now")
		}
	})
}
