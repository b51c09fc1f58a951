package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// TestTables takes every measure once, small.
func TestTables(t *testing.T) {
	for _, c := range []struct {
		args   string
		titles []string
		row    string // of the first table
	}{
		{"footprint -transport tcp -sessions 20,40 -sites 20",
			[]string{"KB for each idle session", "sessions in projects of 50", "Where the live heap of a session is"},
			`\| tcp \| 40 \| -?\d+\.\d\d \|`},
		{"cost -transport bosh", []string{"Server CPU for each login, message", "Where each microsecond is", "by how the client proves itself"},
			`\| bosh \| message \| \d+ \| \d+\.\d \|`},
		{"latency -transport ws", []string{"from sending a message"}, `\| ws \| off \| 2 \| \d+ \|`},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			server, err := program()
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			args := append(strings.Fields(c.args), strings.Fields("-settle 10ms -idle 100ms -logins 20 -members 100 -pairs 1,2 -chat 400ms -server "+server)...)
			if err := run(t.Context(), &out, args); err != nil {
				t.Fatal(err)
			}
			for _, title := range c.titles {
				if !strings.Contains(out.String(), title) {
					t.Errorf("no table about %q", title)
				}
			}
			if !regexp.MustCompile(c.row).MatchString(out.String()) {
				t.Errorf("no row like %s", c.row)
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

func TestSettings(t *testing.T) {
	for _, args := range []string{
		"footprints", "footprint -transport smtp", "cost -sessions 5,4", "cost -sessions x", "cost -pairs 0", "cost -what",
	} {
		if err := run(t.Context(), new(strings.Builder), strings.Fields(args)); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

func TestLayerOf(t *testing.T) {
	for _, c := range []struct{ stack, layer string }{
		{"internal/runtime/syscall.Syscall6 syscall.RawSyscall6 syscall.Syscall syscall.write syscall.Write rollcall/internal/link.(*Conn).flush", "kernel: write"},
		{"internal/runtime/syscall/linux.Syscall6 syscall.RawSyscall6 syscall.Syscall syscall.read syscall.Read rollcall/internal/link.(*Conn).read", "kernel: read"},
		{"internal/runtime/syscall.Syscall6 syscall.RawSyscall6 syscall.RawSyscall rollcall/internal/link.call rollcall/internal/link.write rollcall/internal/link.(*lean).write", "kernel: write"},
		{"internal/runtime/syscall.Syscall6 internal/runtime/syscall.EpollWait runtime.netpoll runtime.findRunnable runtime.schedule", "kernel: epoll"},
		{"runtime.futex runtime.futexsleep runtime.notesleep runtime.stopm runtime.findRunnable", "Go: scheduler"},
		{"runtime.scanobject runtime.gcDrain runtime.gcBgMarkWorker.func2 runtime.systemstack runtime.gcBgMarkWorker", "Go: collector"},
		{"runtime.nextFreeFast runtime.mallocgc runtime.newobject rollcall/server.(*Server).NewSession", "Go: allocation"},
		{"runtime.memmove rollcall/bosh.(*window).put rollcall/bosh.(*Handler).Serve", "bosh"},
		{"bytes.IndexByte rollcall/internal/xmlscan.(*Scanner).run rollcall/c2s/tcp.(*Conn).Bytes", "internal/xmlscan"},
		{"crypto/aes.encrypt crypto/tls.(*halfConn).encrypt crypto/tls.(*Conn).Write rollcall/internal/link.(*Conn).flush", "TLS"},
		{"runtime.rt0_go", "Go: other"},
		{"", "unknown"},
	} {
		var frames []frame
		for name := range strings.FieldsSeq(c.stack) {
			frames = append(frames, frame{name: name})
		}
		if got := layerOf(frames); got != c.layer {
			t.Errorf("%s: %s, want %s", c.stack, got, c.layer)
		}
	}
}

func TestSites(t *testing.T) {
	f := func(name, file string, line int64) *profile.Location {
		return &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: name, Filename: file}, Line: line}}}
	}
	heap := func(n int64) *profile.Profile {
		return &profile.Profile{
			SampleType: []*profile.ValueType{{Type: "inuse_objects"}, {Type: "inuse_space"}},
			Sample: []*profile.Sample{
				{Value: []int64{n, 100 * n}, Location: []*profile.Location{f("net.newFD", "net/fd.go", 1), f("rollcall/internal/link.(*Pool).Serve", "/src/pool.go", 89)}},
				{Value: []int64{n, 10 * n}, Location: []*profile.Location{f("runtime.malg[go.shape.[]a.b[c.d],e/f.g]", "proc.go", 5), f("runtime.newproc", "proc.go", 6)}},
			},
		}
	}
	rows, err := siteRows(heap(5), heap(25), 10)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"internal/link.(*Pool).Serve (pool.go:89)", "net.newFD", "200", "2.00"},
		{"runtime.newproc", "runtime.malg", "20", "2.00"},
		{"all others", "", "0", "0.00"},
		{"sum", "", "220", "4.00"},
	}
	if len(rows) != len(want) {
		t.Fatalf("%q", rows)
	}
	for i := range want {
		if strings.Join(rows[i], "|") != strings.Join(want[i], "|") {
			t.Errorf("%q, want %q", rows[i], want[i])
		}
	}
}
