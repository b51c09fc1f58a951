//go:build unix

package testkit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
)

// CPUTime is the CPU time that this process has taken, in seconds.
func CPUTime(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// Idle reports what each of b.N idle connections costs this process. connect makes n
// of them, whose other ends are in another process, and returns what ends them.
func Idle(b *testing.B, connect func(n int) (leave func())) {
	connect(100)() // fills pools and tables
	var before, after runtime.MemStats
	settle(&before)
	rss := resident(b)
	leave := connect(b.N)
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

// clientsVariable makes a test program a client with many connections.
const clientsVariable = "ROLLCALL_TEST_CLIENTS"

// Clients starts the test program once more, where Main calls its function with
// about, and returns when that has connected. leave ends it.
func Clients(b *testing.B, about string) (leave func()) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), clientsVariable+"="+about)
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
	}
}

// Main is for TestMain: it runs the tests, or is what Clients starts. connect returns
// what is to stay until the end. The result is for os.Exit.
func Main(m *testing.M, connect func(about string) (connections any, err error)) int {
	about := os.Getenv(clientsVariable)
	if about == "" {
		return m.Run()
	}
	connections, err := connect(about)
	if err == nil {
		fmt.Println("ready")
		_, err = io.Copy(io.Discard, os.Stdin)
	}
	runtime.KeepAlive(connections)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
