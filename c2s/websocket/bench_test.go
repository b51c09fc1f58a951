//go:build unix

package websocket_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/gobwas/ws"

	"rollcall/c2s/websocket"
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
	before := cpuTime(b)
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
	b.ReportMetric((cpuTime(b)-before)*1e6/float64(b.N), "cpu-us/op")
}

// compressible is how many bytes make a message worth compressing.
const compressible = 100

func cpuTime(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

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
	idleClients(b, h, 100)() // fills pools and tables
	var before, after runtime.MemStats
	settle(&before)
	rss := resident(b)
	leave := idleClients(b, h, b.N)
	settle(&after)
	n := float64(b.N)
	b.ReportMetric(float64(resident(b)-rss)/n, "resident-B/conn")
	b.ReportMetric(float64(after.HeapAlloc)/n-float64(before.HeapAlloc)/n, "heap-B/conn")
	b.ReportMetric(float64(after.StackInuse)/n-float64(before.StackInuse)/n, "stack-B/conn")
	b.ReportMetric(float64(after.HeapObjects)/n-float64(before.HeapObjects)/n, "objects/conn")
	leave()
}

func settle(m *runtime.MemStats) {
	for range 5 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	runtime.ReadMemStats(m)
}

func resident(b *testing.B) int {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("needs /proc: ", err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(data), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// idleEnv makes the test program a client with many connections.
const idleEnv = "WEBSOCKET_TEST_IDLE"

// idleClients starts a process that logs in n times and stays until leave.
func idleClients(b *testing.B, h *house, n int) (leave func()) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %v", idleEnv, h.address, n, h.cipher))
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		b.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		b.Fatal("the clients: ", err)
	}
	return func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			b.Error(err)
		}
		for range n {
			h.expectClose("lost")
		}
	}
}

func TestMain(m *testing.M) {
	if about := os.Getenv(idleEnv); about != "" {
		if err := beIdle(about); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// beIdle logs in as often as it is told, says so, and waits for the end of input.
func beIdle(about string) error {
	var address string
	var n int
	var cipher bool
	if _, err := fmt.Sscan(about, &address, &n, &cipher); err != nil {
		return err
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
			return err
		}
		conns[i] = conn
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(conns)
	return err
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
