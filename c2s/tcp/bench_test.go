//go:build unix

package tcp_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"rollcall/internal/testkit"
)

// BenchmarkRoute measures a 200-byte chat message from one connection to another,
// one at a time and as fast as they go. cpu-us/op is the CPU time of the whole
// process, the clients' part included.
func BenchmarkRoute(b *testing.B) {
	for _, o := range []struct {
		name string
		options
	}{{"plain", options{plain: true}}, {"TLS", options{plain: true, direct: true}}, {"simple", options{plain: true, simple: true}}} {
		b.Run(o.name+"/one at a time", func(b *testing.B) { route(b, o.options, 1) })
		b.Run(o.name+"/pipelined", func(b *testing.B) { route(b, o.options, 50) })
	}
}

func route(b *testing.B, o options, window int) {
	h := start(b, o)
	from, to := h.dial(), h.dial()
	if o.direct {
		from.Conn, to.Conn = tls.Client(from.Conn, h.tls), tls.Client(to.Conn, h.tls)
	}
	from.login("ann", "x")
	to.login("ben", "x")
	message := []byte("<message to='ben@example.com/x' type='chat' id='1234'><body>" + strings.Repeat("x", 200-60-17) + "</body></message>")
	forwarded := len(message) + len(" xmlns='jabber:client' from='ann@example.com/x'")
	from.send(string(message))
	if got := to.until("</message>"); len(got) != forwarded {
		b.Fatalf("%d bytes arrive: %s", len(got), got)
	}
	buf := make([]byte, 64<<10)
	b.ReportAllocs()
	before := testkit.CPUTime(b)
	b.ResetTimer()
	sent, arrived := 0, 0
	for arrived < b.N*forwarded {
		for sent < b.N && sent*forwarded-arrived < window*forwarded {
			if _, err := from.Write(message); err != nil {
				b.Fatal(err)
			}
			sent++
		}
		n, err := to.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		arrived += n
	}
	b.ReportMetric((testkit.CPUTime(b)-before)*1e6/float64(b.N), "cpu-us/op")
}

// BenchmarkIdle measures what an idle session costs the process; the clients are
// in another one. Run it with -benchtime=5000x.
func BenchmarkIdle(b *testing.B) {
	b.Run("plain", func(b *testing.B) { idle(b, options{plain: true}) })
	b.Run("TLS", func(b *testing.B) { idle(b, options{plain: true, direct: true}) })
	b.Run("simple", func(b *testing.B) { idle(b, options{plain: true, simple: true}) })
}

func idle(b *testing.B, o options) {
	h := start(b, o)
	testkit.Idle(b, func(n int) (leave func()) {
		return h.clients(b, crowd{Conns: n, TLS: o.direct})
	})
}

// BenchmarkLogin measures what it costs the process to take a connection and log its
// client in with PLAIN, and to bind; the clients are in another process.
func BenchmarkLogin(b *testing.B) {
	b.Run("plain", func(b *testing.B) { login(b, options{plain: true}) })
	b.Run("TLS", func(b *testing.B) { login(b, options{plain: true, direct: true}) })
}

func login(b *testing.B, o options) {
	h := start(b, o)
	h.clients(b, crowd{Conns: 50, TLS: o.direct})() // fills pools
	b.ReportAllocs()
	before := testkit.CPUTime(b)
	b.ResetTimer()
	leave := h.clients(b, crowd{Conns: b.N, TLS: o.direct})
	b.StopTimer()
	b.ReportMetric((testkit.CPUTime(b)-before)*1e6/float64(b.N), "cpu-us/op")
	leave()
}
