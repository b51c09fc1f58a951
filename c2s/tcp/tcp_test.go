package tcp_test

import (
	"context"
	stdbase64 "encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/conf"
	"rollcall/server"
)

func base64(s string) string { return stdbase64.StdEncoding.EncodeToString([]byte(s)) }

func TestHeader(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(strings.Replace(header, " to=", " from='ann@example.com' to=", 1))
		got := p.until("<stream:features ")
		want := regexp.MustCompile(`^<\?xml version='1.0'\?><stream:stream id="[A-Z2-7]{26}" xmlns:stream="http://etherx\.jabber\.org/streams" xmlns="jabber:client" from="example\.com" to="ann@example\.com" version="1\.0" xml:lang="en"><stream:features $`)
		if !want.MatchString(got) {
			t.Errorf("got %s", got)
		}
	})
}

// TestOldHeader: a client from before XMPP 1.0 gets the server's header, though no features
// follow it, and goes on from there (XEP-0078).
func TestOldHeader(t *testing.T) {
	loops(t, options{legacy: true}, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(strings.Replace(header, " version='1.0' ", " ", 1))
		if got := p.until("xml:lang=\"en\">"); strings.Contains(got, "version=\"1.0\"") {
			t.Errorf("header: %s", got)
		}
		p.send("<iq type='set' id='1'><query xmlns='jabber:iq:auth'><username>alice</username><password>" + password +
			"</password><resource>old</resource></query></iq>")
		p.until("type='result' id='1'/>")
	})
}

func TestHeaderIsEscaped(t *testing.T) {
	h := start(t, options{})
	p := h.dial()
	p.send(strings.Replace(header, " to=", ` from="a&quot;&gt;&lt;evil/>" to=`, 1))
	got := p.until("<stream:features ")
	if strings.Contains(got, "<evil") || !strings.Contains(got, ` to="a&quot;&gt;&lt;evil/&gt;" `) {
		t.Errorf("got %s", got)
	}
}

// A client may send everything at once.
func TestPipelined(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(header + auth64("ann") + header + bind("x") +
			"<message to='ann@example.com/x' id='m'><body>to myself</body></message></stream:stream>")
		got := p.all()
		for _, want := range []string{"<success ", "<jid>ann@example.com/x</jid>", "<body>to myself</body>"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in %s", want, got)
			}
		}
		if !strings.HasSuffix(got, "</message></stream:stream>") {
			t.Errorf("end: %s", got)
		}
		h.expectClose("client")
	})
}

func TestDripped(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		p := h.dial()
		all := header + " " + auth64("ann") + "\n" + header + bind("x") + " <message to='ann@example.com/x'><body>é &amp; co</body></message> </stream:stream>"
		for i := range len(all) {
			p.send(all[i : i+1])
		}
		if got := p.all(); !strings.HasSuffix(got, "<body>é &amp; co</body></message></stream:stream>") {
			t.Errorf("got %s", got)
		}
	})
}

// A large element that arrives in many pieces is looked at once.
func TestLargeElement(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		p := h.login("ann", "x")
		body := strings.Repeat("0123456789", 20_000)
		p.send("<message to='ann@example.com/x'><body>" + body + "</body></message><presence to='ann@example.com/x' id='after'/>")
		got := p.until("id='after'")
		if !strings.Contains(got, "<body>"+body+"</body>") {
			t.Errorf("%d bytes came back", len(got))
		}
	})
}

func TestStreamErrors(t *testing.T) {
	big := strings.Repeat("x", 300<<10)
	for _, test := range []struct{ name, in, want string }{
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not-well-formed"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00", "not-well-formed"},
		{"wrong root", "<html xmlns='http://www.w3.org/1999/xhtml'>", "invalid-namespace"},
		{"wrong stream namespace", strings.Replace(header, "etherx", "other", 1), "invalid-namespace"},
		{"wrong content namespace", strings.Replace(header, "jabber:client", "jabber:server", 1), "invalid-namespace"},
		{"no content namespace", strings.Replace(header, " xmlns='jabber:client'", "", 1), "invalid-namespace"},
		{"other name", strings.Replace(header, "stream:stream", "stream:other", 1), "invalid-namespace"},
		{"other prefix", strings.NewReplacer("stream:stream", "s:stream", "xmlns:stream", "xmlns:s").Replace(header), "bad-namespace-prefix"},
		{"undeclared stream", "<stream:stream to='example.com' version='1.0' xmlns='jabber:client'>", "not-well-formed"},
		{"wrong host", strings.Replace(header, host, "elsewhere.org", 1), "host-unknown"},
		{"no host", strings.Replace(header, " to='"+host+"'", "", 1), "improper-addressing"},
		{"old version", strings.Replace(header, "version='1.0' xmlns=", "xmlns=", 1), "unsupported-version"},
		{"DTD first", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "restricted-xml"},
		{"text", header + "text", "not-well-formed"},
		{"mismatch", header + "<a></b>", "not-well-formed"},
		{"other end", header + "</other>", "not-well-formed"},
		{"comment", header + "<!-- x -->", "restricted-xml"},
		{"inner comment", header + "<iq><!-- x --></iq>", "restricted-xml"},
		{"instruction", header + "<?php x ?>", "restricted-xml"},
		{"DTD", header + "<!DOCTYPE a>", "restricted-xml"},
		{"entity bomb", header + "<!DOCTYPE a [<!ENTITY a 'lol'><!ENTITY b '&a;&a;'>]><a>&b;</a>", "restricted-xml"},
		{"entity", header + "<a>&lol;</a>", "restricted-xml"},
		{"undeclared prefix", header + "<x:a/>", "not-well-formed"},
		{"attribute twice", header + "<a b='1' b='2'/>", "not-well-formed"},
		{"no UTF-8", header + "<a>\xff</a>", "unsupported-encoding"},
		{"zero", header + "<a>\x00</a>", "not-well-formed"},
		{"deep", header + strings.Repeat("<a>", 100_000), "policy-violation"},
		{"many attributes", header + "<a" + manyAttributes() + "/>", "policy-violation"},
		{"long before authentication", header + "<auth>" + big, "policy-violation"},
		{"long header", "<stream:stream a='" + big, "policy-violation"},
		{"stanza before authentication", header + "<presence/>", "not-authorized"},
		{"long stanza", header + auth64("ann") + header + bind("x") + "<message>" + big + "</message>", "policy-violation"},
		{"no stanza", header + auth64("ann") + header + bind("x") + "<a/>", "unsupported-stanza-type"},
		{"second header", header + header, "restricted-xml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			loops(t, options{}, func(t *testing.T, h *house) {
				p := h.dial()
				sent := make(chan struct{})
				go func() { // more than fits in the pipe
					defer close(sent)
					_, _ = io.WriteString(p, test.in) // the server may hang up meanwhile
				}()
				got := p.all()
				if !strings.HasPrefix(got, "<?xml version='1.0'?><stream:stream id=") || !strings.HasSuffix(got, streamError(test.want)) {
					t.Errorf("got %q, want %s", got, test.want)
				}
				<-sent
				h.expectClose("stream-error")
			})
		})
	}
}

func manyAttributes() string {
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, " a%d=''", i)
	}
	return b.String()
}

// 64 MB before authentication end with an error, long before they are read.
func TestFloodBeforeAuthentication(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(header + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>")
		sent := make(chan int)
		go func() {
			total, chunk := 0, make([]byte, 64<<10)
			for i := range chunk {
				chunk[i] = 'x'
			}
			for total < 64<<20 {
				n, err := p.Write(chunk)
				total += n
				if err != nil {
					break
				}
			}
			sent <- total
		}()
		got := p.until("</stream:stream>")
		if !strings.HasSuffix(got, streamError("policy-violation")) {
			t.Errorf("got %s", got)
		}
		h.expectClose("stream-error")
		if n := <-sent; n >= 64<<20 {
			t.Errorf("all %d bytes were taken", n)
		}
	})
}

func TestPoliteClose(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		p := h.login("ann", "x")
		p.send("</stream:stream>")
		if got := p.all(); got != "</stream:stream>" {
			t.Errorf("got %q", got)
		}
		h.expectClose("client")
	})
}

// A client that closes its side without a word still gets what it asked for.
func TestHalfClose(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		p := h.login("ann", "x")
		p.send("<message to='ann@example.com/x'><body>last</body></message>")
		if err := p.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		p.expectEnd("<body>last</body></message></stream:stream>")
		h.expectClose("lost")
	})
}

func TestReset(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		p := h.login("ann", "x")
		if err := p.Conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		p.Close()
		h.expectClose("lost")
	})
}

// White space alone is a sign of life.
func TestKeepalive(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		p := h.login("ann", "x")
		session := h.acceptor.Sessions()[0]
		before := session.Seen()
		p.send(" \n ")
		late := time.Now().Add(patience)
		for !session.Seen().After(before) {
			if time.Now().After(late) {
				t.Fatal("not noticed")
			}
			runtime.Gosched()
		}
		p.send("<presence to='ann@example.com/x' id='after'/>")
		p.until("id='after'")
	})
}

// Sessions that wait for a store do not keep others from going on.
func TestWaitingTurns(t *testing.T) {
	loops(t, options{plain: true}, func(t *testing.T, h *house) {
		waiting := make([]*peer, 200) // more than the workers that are kept
		for i := range waiting {
			waiting[i] = h.dial()
			waiting[i].send(header + auth64("stuck") + header + bind(strconv.Itoa(i)))
		}
		for range waiting {
			<-h.users.waits
		}
		h.login("ann", "x")
		close(h.users.stuck)
		for _, p := range waiting {
			p.until("<success ")
		}
	})
}

// A panic ends one connection, not the process.
func TestPanic(t *testing.T) {
	loops(t, options{panics: true, tap: func(e server.TapEvent) {
		if e.Kind == server.TapClose && e.JID.Local() == "bad" {
			panic("tap")
		}
	}}, func(t *testing.T, h *house) {
		bad, ann := h.login("bad", "x"), h.login("ann", "x")
		bad.send("</stream:stream>")
		bad.expectEnd(streamError("internal-server-error"))
		ann.send("<presence to='ann@example.com/x' id='after'/>")
		ann.until("id='after'")
	})
}

func TestShutdown(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		bound, fresh, silent := h.login("ann", "x"), h.dial(), h.dial()
		fresh.send(header)
		fresh.until("</stream:features>")
		// What a third one says shows that the silent one was accepted before it.
		last := h.login("eve", "x")
		last.Close()
		h.expectClose("lost")
		done := make(chan struct{})
		go func() { defer close(done); h.stop() }()
		for _, p := range []*peer{bound, fresh, silent} {
			p.expectEnd(streamError("system-shutdown"))
			p.Close()
			h.expectClose("shutdown")
		}
		<-done
		if _, err := net.Dial("tcp", h.address); err == nil {
			t.Error("the listener is still open")
		}
	})
}

// The time to log in also bounds clients that say nothing.
func TestLoginTime(t *testing.T) {
	loops(t, options{limits: func(l *conf.Limits) { l.LoginTime = 50 * time.Millisecond }}, func(t *testing.T, h *house) {
		p := h.dial()
		p.expectEnd(streamError("connection-timeout"))
		h.expectClose("login-timeout")
	})
}

// An error of Accept does not end the loop.
func TestAcceptErrors(t *testing.T) {
	h := start(t, options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken := &brokenListener{Listener: ln, left: 3}
	served := make(chan error, 1)
	go func() { served <- h.acceptor.Serve(broken) }()
	h.address = ln.Addr().String()
	h.login("ann", "x")
	h.stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := h.acceptor.Serve(ln); err != nil {
		t.Errorf("serving after Close: %v", err)
	}
}

type brokenListener struct {
	net.Listener
	left int
}

func (l *brokenListener) Accept() (net.Conn, error) {
	if l.left > 0 {
		l.left--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// Connections that do not go in time are cut.
func TestCloseCuts(t *testing.T) {
	loops(t, options{}, func(t *testing.T, h *house) {
		p := h.login("ann", "x")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := h.acceptor.Close(ctx)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("close: %v", err)
		}
		// Whether it was told in time or cut, it ends.
		_, _ = io.Copy(io.Discard, p)
	})
}
