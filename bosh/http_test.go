package bosh

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/ns"
)

func (r *rig) request(method, path, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	c := r.serve(req, false)
	<-c.done
	return c.rec
}

func TestB36Methods(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, path := range []string{"/http-bind", "/http-bind/"} {
			for _, method := range []string{"GET", "HEAD"} {
				w := r.request(method, path, "")
				if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
					t.Errorf("%s: %d %v", method, w.Code, w.Header())
				}
			}
			for _, method := range []string{"PUT", "DELETE", "PATCH"} {
				if w := r.request(method, path, ""); w.Code != 405 || !strings.Contains(w.Header().Get("Allow"), "POST") {
					t.Errorf("%s: %d %v", method, w.Code, w.Header())
				}
			}
			if w := r.request("POST", path, creation(usualAttrs)); !strings.Contains(w.Body.String(), " sid='") {
				t.Errorf("POST: %s", w.Body)
			}
		}
	})
}

func TestB37CrossOrigin(t *testing.T) {
	const page = "https://app.example"
	for _, test := range []struct {
		origins []string
		origin  string
		allowed bool
	}{
		{[]string{"*"}, page, true},
		{[]string{"https://other.example", page}, page, true},
		{[]string{"https://other.example"}, page, false},
		{nil, page, false},
		{[]string{"*"}, "", false},
	} {
		inBubble(t, func(r *rig) {
			ask := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type, x-custom"}
			if test.origin != "" {
				ask = append(ask, "Origin", test.origin)
			}
			before := r.request("OPTIONS", "/http-bind", "", ask...).Header()
			answer := r.request("POST", "/http-bind", creation(usualAttrs), ask...).Header()
			for _, h := range []http.Header{before, answer} {
				want, credentials := "", ""
				if test.allowed {
					want, credentials = page, "true"
				}
				if h.Get("Access-Control-Allow-Origin") != want || h.Get("Access-Control-Allow-Credentials") != credentials ||
					!strings.Contains(fmt.Sprint(h.Values("Vary")), "Origin") {
					t.Errorf("%+v: %v", test, h)
				}
			}
			if test.allowed != (before.Get("Access-Control-Allow-Headers") == "content-type, x-custom") ||
				test.allowed != strings.Contains(before.Get("Access-Control-Allow-Methods"), "POST") ||
				test.allowed != (before.Get("Access-Control-Max-Age") != "") {
				t.Errorf("%+v: %v", test, before)
			}
		}, func(c *Config) { c.Origins = test.origins })
	}
}

func TestB8ContentType(t *testing.T) {
	inBubble(t, func(r *rig) {
		for asked, want := range map[string]string{
			"":                           "text/xml; charset=utf-8",
			"text/xml":                   "text/xml; charset=utf-8",
			"application/xml":            "application/xml; charset=utf-8",
			"text/plain; charset=UTF-8":  "text/plain; charset=utf-8",
			"text/xml; charset=latin1":   "text/xml; charset=utf-8",
			"text/html; charset=utf-8":   "text/xml; charset=utf-8",
			"image/svg+xml":              "text/xml; charset=utf-8",
			"text/xml&#13;&#10;X-Evil:1": "text/xml; charset=utf-8",
		} {
			w := r.request("POST", "/", creation("to='example.com' ver='1.6' content='"+asked+"'"), "Content-Type", "text/rubbish")
			if got := w.Header().Get("Content-Type"); got != want || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%q: %v", asked, w.Header())
			}
		}
	})
}

// listen serves the rig over connections inside the bubble, with net/http in
// between.
func (r *rig) listen() (dial func() net.Conn) {
	ln := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{Handler: r.h}
	go func() {
		if err := srv.Serve(ln); err != http.ErrServerClosed {
			r.t.Error(err)
		}
	}()
	r.t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return func() net.Conn {
		here, there := net.Pipe()
		ln.conns <- there
		r.t.Cleanup(func() { here.Close() })
		return here
	}
}

// pipes is a listener in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// exchangeRaw writes a request and reads the answer's head and body.
func exchangeRaw(t *testing.T, c net.Conn, in *bufio.Reader, version, body string) (head, entity string) {
	t.Helper()
	writeRaw(t, c, version, body)
	return readRaw(t, in)
}

func writeRaw(t *testing.T, c net.Conn, version, body string) {
	t.Helper()
	_, err := fmt.Fprintf(c, "POST /http-bind %s\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s", version, len(body), body)
	if err != nil {
		t.Error(err)
	}
}

func readRaw(t *testing.T, in *bufio.Reader) (head, entity string) {
	t.Helper()
	length := 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, head)
		}
		if line == "\r\n" {
			break
		}
		fmt.Sscanf(strings.ToLower(line), "content-length: %d", &length)
		head += line
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(in, b); err != nil {
		t.Fatal(err)
	}
	return head, string(b)
}

func TestB38B43OnTheWire(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, version := range []string{"HTTP/1.0", "HTTP/1.1"} {
			c := r.listen()()
			in := bufio.NewReader(c)
			for range 2 { // over the same connection
				head, body := exchangeRaw(t, c, in, version, creation(usualAttrs))
				if !strings.HasPrefix(head, version+" 200 OK\r\n") {
					t.Errorf("%q", head)
				}
				if !strings.Contains(head, "Content-Length: ") || strings.Contains(head, "Transfer-Encoding") ||
					!strings.Contains(head, "Cache-Control: no-store\r\n") {
					t.Errorf("%q", head)
				}
				if !strings.HasPrefix(body, "<body xmlns='http://jabber.org/protocol/httpbind' ") || !strings.HasSuffix(body, "</body>") {
					t.Errorf("%q", body)
				}
			}
		}
	})
}

// TestB21CutConnection cuts a connection of net/http while a request is held, and
// while its answer is being written.
func TestB21CutConnection(t *testing.T) {
	inBubble(t, func(r *rig) {
		dial := r.listen()
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		poll.abort()

		conn := dial()
		c.rid++
		writeRaw(t, conn, "HTTP/1.1", c.text(c.rid, "", ""))
		synctest.Wait()
		conn.Close()
		synctest.Wait()
		bob.Send(message("alice@example.com", "1"))
		r.expectMessages(c.send("", "").now(), "1")

		conn = dial()
		c.rid++
		writeRaw(t, conn, "HTTP/1.1", c.text(c.rid, "", ""))
		synctest.Wait()
		bob.Send(message("alice@example.com", "2"))
		synctest.Wait() // nobody reads, so the answer is not written
		conn.Close()
		synctest.Wait()
		bob.Send(message("alice@example.com", "3"))
		r.expectMessages(c.send("", "").now(), "2", "3")
	})
}

// TestSlowBody: who drips is cut off, and who takes an answer slowly loses no
// stanza.
func TestSlowBody(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.listen()()
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n<body"); err != nil {
			t.Fatal(err)
		}
		r.after(BodyTime, func() {
			head, _ := readRaw(t, bufio.NewReader(c))
			if !strings.HasPrefix(head, "HTTP/1.1 408 ") || !strings.Contains(head, "Connection: close\r\n") {
				t.Errorf("%q", head)
			}
		})
	})
}

// TestBrokenBody: what HTTP itself does not allow is no question of time.
func TestBrokenBody(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.listen()()
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nrubbish\r\n"); err != nil {
			t.Fatal(err)
		}
		r.after(0, func() {
			head, _ := readRaw(t, bufio.NewReader(c))
			if !strings.HasPrefix(head, "HTTP/1.1 400 ") || !strings.Contains(head, "Connection: close\r\n") {
				t.Errorf("%q", head)
			}
		})
	})
}

// TestB43HeldLongerThanDeadlines: the deadline of the body must not end a request that
// waits.
func TestB43HeldLongerThanDeadlines(t *testing.T) {
	inBubble(t, func(r *rig) {
		c, poll := r.online("alice")
		poll.abort()
		conn := r.listen()()
		in := bufio.NewReader(conn)
		for range 3 {
			c.rid++
			r.after(55*time.Second, func() {
				if _, body := exchangeRaw(t, conn, in, "HTTP/1.1", c.text(c.rid, "", "")); body != string(emptyReply().body) {
					t.Errorf("%q", body)
				}
			})
		}
	})
}

func TestB41LongBodies(t *testing.T) {
	inBubble(t, func(r *rig) {
		long := func(n int) string {
			return strings.Replace(message("alice@example.com", "1"), "</body>", strings.Repeat("x", n)+"</body>", 1)
		}
		// Without a session, and before login.
		r.expectEnd(r.post(creation("to='"+long(70<<10)+"'")).now(), policyViolation)
		c := r.create(usualAttrs)
		r.expectEnd(c.send("", long(70<<10)).now(), policyViolation)
		r.expectEnd(c.send("", "").now(), policyViolation)
		// One stanza too long.
		c = r.login("alice")
		b := c.send("", long(int(testLimits.StanzaBytes))).now()
		r.expectEnd(b, remoteStreamError)
		if b.FindElement("./error/policy-violation") == nil {
			t.Errorf("%s", dump(b))
		}
		// Several in one body that are long together.
		c, poll := r.online("alice")
		size := int(testLimits.StanzaBytes) - 1000
		next := c.send("", strings.Repeat(long(size), 3))
		r.expectMessages(poll.now(), "1", "1", "1")
		next.held()
		c, poll = r.online("alice")
		r.expectEnd(c.send("", strings.Repeat(long(size), 5)).now(), policyViolation)
		r.expectEnd(poll.now(), policyViolation)
	})
}

func TestB41BadBodyEndsItsSession(t *testing.T) {
	inBubble(t, func(r *rig) {
		c, poll := r.online("alice")
		r.expectEnd(r.post("<body xmlns='"+ns.HTTPBind+"' rid='1'><!--x--></body>").now(), badRequestCondition)
		poll.held()
		r.expectEnd(c.send("", "<!--x-->").now(), badRequestCondition)
		r.expectEnd(poll.now(), badRequestCondition)
		r.expectEnd(c.send("", "").now(), badRequestCondition)
	})
}

func TestB42Proxies(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.0.0.0/8")}
	inBubble(t, func(r *rig) {
		// httptest requests come from 192.0.2.1.
		for _, test := range []struct {
			forwarded, proto, remote string
			secure                   bool
		}{
			{"", "", "192.0.2.1:1234", false},
			{"198.51.100.7", "https", "198.51.100.7", true},
			{"203.0.113.9, 198.51.100.7", "http", "198.51.100.7", false},
			{"203.0.113.9, 10.1.1.1", "https, http", "203.0.113.9", false},
			{"203.0.113.9,10.1.1.1", "http, https", "203.0.113.9", true},
		} {
			req := newPost("")
			if test.forwarded != "" {
				req.Header.Set("X-Forwarded-For", test.forwarded)
			}
			req.Header.Set("X-Forwarded-Proto", test.proto)
			if got := r.h.clientSending(req); got.remote != test.remote || got.secure != test.secure {
				t.Errorf("%+v: %+v", test, got)
			}
			req.RemoteAddr = "198.51.100.1:99"
			if got := r.h.clientSending(req); got.remote != req.RemoteAddr || got.secure {
				t.Errorf("not trusted: %+v", got)
			}
		}
		secure := []string{"X-Forwarded-Proto", "https"}
		w := r.request("POST", "/", creation(usualAttrs), secure...)
		_, rest, _ := strings.Cut(w.Body.String(), " sid='")
		sid, _, _ := strings.Cut(rest, "'")
		if !strings.Contains(w.Body.String(), " secure='true'") {
			t.Errorf("%s", w.Body)
		}
		c := &boshClient{rig: r, sid: sid, rid: 1000}
		w = r.request("POST", "/", c.text(1001, "", plain("alice")))
		if !strings.Contains(w.Body.String(), itemNotFound) || w.Header().Get("Connection") != "close" {
			t.Errorf("%v %s", w.Header(), w.Body)
		}
		w = r.request("POST", "/", c.text(1001, "", plain("alice")), secure...)
		if !strings.Contains(w.Body.String(), "<success") {
			t.Errorf("%s", w.Body)
		}
	}, func(c *Config) { c.TrustedProxies = proxies })
}

func TestShutdownTimesOut(t *testing.T) {
	inBubble(t, func(r *rig) {
		_, poll := r.online("alice")
		r.h.enter() // a request that does not end
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
		defer cancel()
		r.after(time.Second, func() {
			if err := r.h.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "1 requests") {
				t.Errorf("%v", err)
			}
		})
		r.h.leave()
		r.expectEnd(poll.now(), systemShutdown)
	})
}
