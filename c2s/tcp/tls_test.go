package tcp_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"rollcall/conf"
)

const startTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"

// secure turns to TLS with whatever the peer is to send instead of a polite
// request.
func (p *peer) secure(request string, config *tls.Config) *peer {
	p.t.Helper()
	p.send(request)
	p.until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	p.Conn = tls.Client(&recorder{Conn: p.Conn}, config)
	return p
}

// tlsVersions runs a test over both links and both versions.
func tlsVersions(t *testing.T, o options, f func(t *testing.T, h *house, config *tls.Config)) {
	t.Helper()
	loops(t, o, func(t *testing.T, h *house) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tls.VersionName(version), func(t *testing.T) {
				config := h.tls.Clone()
				config.MaxVersion = version
				f(t, h, config)
			})
		}
	})
}

func TestStartTLS(t *testing.T) {
	tlsVersions(t, options{tls: true}, func(t *testing.T, h *house, config *tls.Config) {
		p := h.dial()
		p.send(header)
		if got := p.until("</stream:features>"); !strings.Contains(got, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>") {
			t.Errorf("features %s", got)
		}
		p.secure(startTLS, config)
		p.send(header)
		if got := p.until("</stream:features>"); strings.Contains(got, "<starttls") || !strings.Contains(got, "<mechanism>PLAIN<") {
			t.Errorf("features under TLS %s", got)
		}
		p.send(auth64("ann") + header + bind("x") + "<message to='ann@example.com/x' id='m'/>")
		p.until("id='m'")
		p.send("</stream:stream>")
		p.expectEnd("</stream:stream>")
		h.expectClose("client")
		expectGoodbye(t, p.Conn.(*tls.Conn))
	})
}

// recorder keeps the bytes that are read.
type recorder struct {
	net.Conn
	seen bytes.Buffer
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.seen.Write(p[:n])
	return n, err
}

// expectGoodbye checks that the last record was the close_notify alert, without
// which a client cannot know that nothing was cut off (RFC 8446 section 6.1).
func expectGoodbye(t *testing.T, c *tls.Conn) {
	t.Helper()
	var kind byte
	var size int
	for seen := c.NetConn().(*recorder).seen.Bytes(); len(seen) > 5; seen = seen[5+size:] {
		kind, size = seen[0], int(seen[3])<<8|int(seen[4])
	}
	alert := kind == 21 // as TLS 1.2 shows it
	if c.ConnectionState().Version == tls.VersionTLS13 {
		alert = kind == 23 && size == 2+1+16 // the alert, its type and the tag
	}
	if !alert {
		t.Errorf("the last record is of type %d and %d bytes", kind, size)
	}
}

// One record at a time, one byte at a time, and more than a record.
func TestPiecesUnderTLS(t *testing.T) {
	tlsVersions(t, options{direct: true}, func(t *testing.T, h *house, config *tls.Config) {
		p := h.dial()
		raw := p.Conn
		p.Conn = tls.Client(&dripper{Conn: raw}, config)
		p.login("ann", "x")
		p.Conn.(*tls.Conn).NetConn().(*dripper).quick = true
		body := strings.Repeat("0123456789", 20_000)
		p.send("<message to='ann@example.com/x'><body>" + body + "</body></message><presence to='ann@example.com/x' id='after'/>")
		if got := p.until("id='after'"); !strings.Contains(got, "<body>"+body+"</body>") {
			t.Errorf("%d bytes came back", len(got))
		}
	})
}

// dripper writes one byte at a time.
type dripper struct {
	net.Conn
	quick bool
}

func (d *dripper) Write(p []byte) (int, error) {
	if d.quick {
		return d.Conn.Write(p)
	}
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestDirectTLS(t *testing.T) {
	loops(t, options{direct: true}, func(t *testing.T, h *house) {
		p := h.dial()
		config := h.tls.Clone()
		config.NextProtos = []string{"xmpp-client"}
		secured := tls.Client(p.Conn, config)
		p.Conn = secured
		p.login("ann", "x")
		if proto := secured.ConnectionState().NegotiatedProtocol; proto != "xmpp-client" {
			t.Errorf("protocol %q", proto)
		}
		p.send("</stream:stream>")
		p.expectEnd("</stream:stream>")
		h.expectClose("client")

		config.NextProtos = []string{"http/1.1"}
		wrong := h.dial()
		if err := tls.Client(wrong.Conn, config).Handshake(); err == nil {
			t.Error("a client of another protocol was let in")
		}
		h.expectClose("tls")
	})
}

// What is sent ahead of the handshake is not taken for what came under TLS.
func TestInjection(t *testing.T) {
	loops(t, options{tls: true}, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(header)
		p.until("</stream:features>")
		p.secure(startTLS+header+auth64("eve")+"<message>", h.tls)
		p.send(header)
		got := p.until("</stream:features>")
		if strings.Contains(got, "success") || strings.Count(got, "<stream:stream") != 1 {
			t.Errorf("got %s", got)
		}
		p.send(auth64("ann") + header + bind("x"))
		p.until("<jid>ann@example.com/x</jid>")
	})
}

func TestTLSFailures(t *testing.T) {
	loops(t, options{tls: true}, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(header + startTLS)
		p.until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
		p.send("this is no handshake")
		p.all()
		h.expectClose("tls")

		p = h.dial()
		p.send(header + auth64("ann"))
		p.until("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><encryption-required/></failure>")
		p.Close()
		h.expectClose("lost")
	})
	loops(t, options{}, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(header + startTLS)
		p.expectEnd("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>")
		h.expectClose("tls")
	})
}

// A handshake that stalls ends with the time to log in.
func TestStalledHandshake(t *testing.T) {
	short := func(l *conf.Limits) { l.LoginTime = 100 * time.Millisecond }
	for _, o := range []options{{tls: true, limits: short}, {direct: true, limits: short}} {
		loops(t, o, func(t *testing.T, h *house) {
			p := h.dial()
			if !o.direct {
				p.send(header + startTLS)
				p.until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			}
			p.send("\x16\x03\x01")
			p.all()
			select {
			case got := <-h.closes:
				// The session's timer and the deadline of the handshake end together.
				if got != "tls" && got != "login-timeout" {
					t.Errorf("closed for %s", got)
				}
			case <-time.After(patience):
				t.Error("not closed")
			}
		})
	}
}

// Nothing can be said to a client whose handshake is under way.
func TestShutdownDuringHandshake(t *testing.T) {
	loops(t, options{direct: true}, func(t *testing.T, h *house) {
		p := h.dial()
		p.send("\x16\x03\x01")
		// A whole login shows that the first connection was accepted before it.
		q := h.dial()
		q.Conn = tls.Client(q.Conn, h.tls)
		q.login("ann", "x")
		go h.stop()
		q.expectEnd(streamError("system-shutdown"))
		q.Close()
		p.all()
		h.stop()
	})
}

// The login time between the end of TLS's handshake and the new header.
func TestErrorBeforeRestartedHeader(t *testing.T) {
	loops(t, options{tls: true, limits: func(l *conf.Limits) { l.LoginTime = 300 * time.Millisecond }}, func(t *testing.T, h *house) {
		p := h.dial()
		p.send(header)
		p.until("</stream:features>")
		p.secure(startTLS, h.tls)
		got := p.all()
		if !strings.HasPrefix(got, "<?xml version='1.0'?><stream:stream id=") || !strings.HasSuffix(got, streamError("connection-timeout")) {
			t.Errorf("got %q", got)
		}
	})
}

// A cut without TLS's end is a lost connection; broken records are too.
func TestBrokenTLS(t *testing.T) {
	loops(t, options{direct: true}, func(t *testing.T, h *house) {
		for _, end := range []string{"", "\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)} {
			p := h.dial()
			raw := p.Conn
			p.Conn = tls.Client(raw, h.tls)
			p.login("ann", "x")
			if _, err := io.WriteString(raw, end); err != nil {
				t.Fatal(err)
			}
			if err := raw.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			h.expectClose("lost")
			p.Conn = raw
			p.all()
		}
	})
}

// A reader that never reads, with TLS between.
func TestSlowReaderUnderTLS(t *testing.T) {
	loops(t, options{direct: true, limits: func(l *conf.Limits) { l.OutboxBytes = 64 << 10 }}, func(t *testing.T, h *house) {
		slow := h.dial()
		raw := slow.Conn
		slow.Conn = tls.Client(raw, h.tls)
		slow.login("slow", "x")
		sender := h.dial()
		sender.Conn = tls.Client(sender.Conn, h.tls)
		sender.login("ann", "x")
		message := "<message to='slow@example.com/x'><body>" + strings.Repeat("x", 16<<10) + "</body></message>"
		for closed := false; !closed; {
			sender.send(message + "<message to='ann@example.com/x' id='m'/>")
			sender.until("id='m'")
			select {
			case reason := <-h.closes:
				closed = true
				if reason != "slow-reader" {
					t.Errorf("closed for %s", reason)
				}
			default:
			}
		}
		sender.send("<message to='ann@example.com/x' id='later'/>")
		sender.until("id='later'")
	})
}

// Much goes out in order, whole, to a peer that first reads nothing.
func TestOrderUnderBackpressure(t *testing.T) {
	for _, direct := range []bool{false, true} {
		loops(t, options{direct: direct, limits: func(l *conf.Limits) { l.OutboxBytes = 64 << 20 }}, func(t *testing.T, h *house) {
			p := h.dial()
			if direct {
				p.Conn = tls.Client(p.Conn, h.tls)
			}
			p.login("ann", "x")
			const count = 500 // 15 MB, more than the kernel takes
			body := strings.Repeat("x", 30<<10)
			for i := range count {
				p.send(fmt.Sprintf("<message to='ann@example.com/x' id='%d'><body>%s</body></message>", i, body))
			}
			for i := range count {
				want := fmt.Sprintf(" id='%d'><body>%s</body></message>", i, body)
				if got := p.until("</message>"); !strings.HasSuffix(got, want) {
					t.Fatalf("message %d: %.200s, %d bytes", i, got, len(got))
				}
			}
		})
	}
}
