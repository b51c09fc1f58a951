//go:build unix

package tcp_test

import (
	"bytes"
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

func cpuTime(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
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
	idleClients(b, h, o, 100)() // fills pools and tables
	var before, after runtime.MemStats
	settle(&before)
	rss := resident(b)
	leave := idleClients(b, h, o, b.N)
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
const idleEnv = "TCP_TEST_IDLE"

// idleClients starts a process that logs in n times and stays until leave.
func idleClients(b *testing.B, h *house, o options, n int) (leave func()) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %v", idleEnv, h.address, n, o.direct))
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
	var direct bool
	if _, err := fmt.Sscan(about, &address, &n, &direct); err != nil {
		return err
	}
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		if direct {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		}
		user := fmt.Sprint("u", i)
		if _, err := io.WriteString(conn, header+auth64(user)+header+bind("x")); err != nil {
			return err
		}
		var got []byte
		buf := make([]byte, 4096)
		for !bytes.Contains(got, []byte("</jid></bind></iq>")) {
			k, err := conn.Read(buf)
			got = append(got, buf[:k]...)
			if err != nil {
				return fmt.Errorf("%w: %s", err, got)
			}
		}
		conns[i] = conn
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
