//go:build unix

package websocket_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"rollcall/c2s/websocket"
	"rollcall/internal/testkit"
)

// BenchmarkRoute measures a 200-byte chat message from one connection to another, one
// at a time and as fast as they go. cpu-us/op is the CPU time of the whole process, the
// clients' part included.
func BenchmarkRoute(b *testing.B) {
	for _, o := range []struct {
		name string
		websocket.Config
		window int
	}{
		{"one at a time", websocket.Config{}, 1},
		{"pipelined", websocket.Config{}, 50},
		{"portable", websocket.Config{Portable: true}, 50},
		{"compressed", websocket.Config{Compression: true}, 50},
	} {
		b.Run(o.name, func(b *testing.B) { route(b, options{Config: o.Config}, o.window) })
	}
}

func route(b *testing.B, o options, window int) {
	h := start(b, o)
	headers := []string{"Sec-WebSocket-Protocol: xmpp"}
	if o.Compression {
		headers = append(headers, "Sec-WebSocket-Extensions: permessage-deflate")
	}
	from, to := h.dial(headers...), h.dial(headers...)
	from.login("ann", "x")
	to.login("ben", "x")
	text := "<message xmlns='jabber:client' to='ben@example.com/x' type='chat' id='1234'><body>" + strings.Repeat("x", 200-82-17) + "</body></message>"
	if o.Compression {
		text = strings.Replace(text, "<body>", "<body>"+strings.Repeat("y", compressible), 1)
	}
	message := frame(ws.OpText, true, text)
	from.raw(message)
	f, err := websocket.ReadFrame(to.in)
	if err != nil || f.Header.Rsv1() != o.Compression {
		b.Fatalf("%+v %v", f.Header, err)
	}
	forwarded := ws.HeaderSize(f.Header) + len(f.Payload)
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

// compressible is how many bytes make a message worth compressing.
const compressible = 100

// BenchmarkIdle measures what an idle session costs the process; the clients are in
// another one. Run it with -benchtime=5000x.
func BenchmarkIdle(b *testing.B) {
	b.Run("no pings", func(b *testing.B) { idle(b, options{}) })
	b.Run("pings", func(b *testing.B) { idle(b, options{Config: pings}) })
	b.Run("portable", func(b *testing.B) { idle(b, options{Config: websocket.Config{Portable: true}}) })
	b.Run("front", func(b *testing.B) { idle(b, options{front: true, Config: pings}) })
	b.Run("front, TLS", func(b *testing.B) { idle(b, options{front: true, cipher: true, Config: pings}) })
}

func idle(b *testing.B, o options) {
	h := start(b, o)
	testkit.Idle(b, func(n int) (leave func()) {
		return h.clients(b, n)
	})
}

// clients log in, from another process.
func (h *house) clients(b *testing.B, n int) (leave func()) {
	b.Helper()
	end := testkit.Clients(b, fmt.Sprintf("%s %d %v", h.address, n, h.cipher))
	return func() {
		end()
		for range n {
			h.expectClose("lost")
		}
	}
}

// BenchmarkLogin measures what it costs the process to take a connection and log its
// client in with PLAIN, and to bind; the clients are in another process.
func BenchmarkLogin(b *testing.B) {
	b.Run("net-http", func(b *testing.B) { login(b, options{Config: pings}) })
	b.Run("front", func(b *testing.B) { login(b, options{front: true, Config: pings}) })
	b.Run("front-TLS", func(b *testing.B) { login(b, options{front: true, cipher: true, Config: pings}) })
}

func login(b *testing.B, o options) {
	h := start(b, o)
	h.clients(b, 50)() // fills pools
	b.ReportAllocs()
	before := testkit.CPUTime(b)
	b.ResetTimer()
	leave := h.clients(b, b.N)
	b.StopTimer()
	b.ReportMetric((testkit.CPUTime(b)-before)*1e6/float64(b.N), "cpu-us/op")
	leave()
}

func TestMain(m *testing.M) { os.Exit(testkit.Main(m, beIdle)) }

// beIdle logs in as often as it is told.
func beIdle(about string) (any, error) {
	var address string
	var n int
	var cipher bool
	if _, err := fmt.Sscan(about, &address, &n, &cipher); err != nil {
		return nil, err
	}
	url := "ws://" + address
	if cipher {
		url = "wss://" + address
	}
	dialer := ws.Dialer{Protocols: []string{"xmpp"}, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := logIn(&dialer, url, fmt.Sprint("u", i))
		if err != nil {
			return nil, err
		}
		conns[i] = conn
	}
	return conns, nil
}

func logIn(dialer *ws.Dialer, url, user string) (net.Conn, error) {
	conn, _, _, err := dialer.Dial(context.Background(), url)
	if err != nil {
		return nil, err
	}
	for _, step := range []struct{ say, until string }{
		{open, "</stream:features>"}, {plain(user), "<success"}, {open, "</stream:features>"}, {bind("x"), "</jid></bind></iq>"},
	} {
		if _, err := conn.Write(frame(ws.OpText, true, step.say)); err != nil {
			return nil, err
		}
		for got := ""; !strings.Contains(got, step.until); {
			f, err := websocket.ReadFrame(conn)
			if err != nil {
				return nil, err
			}
			got = string(f.Payload)
		}
	}
	return conn, nil
}
