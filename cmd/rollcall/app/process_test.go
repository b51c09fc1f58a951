package app

import (
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"rollcall/conf"
)

func profiled(o *Options) { o.Config.Listen.Profiles = "127.0.0.1:0" }

// Profiles are where they are asked for, and nowhere else.
func TestProfiles(t *testing.T) {
	a := startWeb(t, conf.HTTPListener{BOSH: true, WebSocket: true, Demo: true}, profiled)
	base := "http://" + a.ProfilesAddress().String() + "/debug/pprof/"
	for path, want := range map[string]string{
		"": "/debug/pprof/", "heap?debug=1": "heap profile:", "goroutine?debug=1": "goroutine profile:",
		"profile?seconds=1": "\x1f\x8b", "trace?seconds=0.01": "go 1.", "cmdline": "app.test",
	} {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
			t.Errorf("%s: %s, %d bytes, %v", path, resp.Status, len(text), err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	if resp, _ := web(t, a, http.MethodGet, "/debug/pprof/", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("clients get profiles: %s", resp.Status)
	}
	if b := startWeb(t, conf.HTTPListener{BOSH: true}); b.ProfilesAddress() != nil {
		t.Errorf("profiles are at %s, and nobody asked", b.ProfilesAddress())
	}
}

// A profile that takes long does not hold a shutdown up.
func TestShutdownDuringAProfile(t *testing.T) {
	a := startWeb(t, conf.HTTPListener{BOSH: true}, profiled)
	ended := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + a.ProfilesAddress().String() + "/debug/pprof/trace?seconds=600")
		if err == nil { // the trace has begun
			_, err = io.Copy(io.Discard, resp.Body)
		}
		ended <- err
	}()
	for deadline := time.Now().Add(20 * time.Second); !tracing(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("no trace begins")
		}
	}
	start := time.Now()
	if err := a.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || time.Since(start) > 20*time.Second {
		t.Errorf("the profile ends with %v after %s", err, time.Since(start))
	}
}

// tracing reports whether some goroutine waits in pprof's handler.
func tracing() bool {
	stacks := make([]byte, 1<<20)
	return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "net/http/pprof.sleep")
}

func TestGiveBackIsAnOption(t *testing.T) {
	for _, on := range []bool{true, false} {
		a := startWeb(t, conf.HTTPListener{BOSH: true}, func(o *Options) { o.Config.Memory.GiveBack = on })
		if got := strings.Contains(observe(t, a), "rollcall_memory_given_back_times_total\n"); got != on {
			t.Errorf("give_back is %v, and the keeper's metric is there: %v", on, got)
		}
	}
}

func TestSetUp(t *testing.T) {
	percent, limit, rate := debug.SetGCPercent(100), debug.SetMemoryLimit(-1), runtime.MemProfileRate
	defer func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
		runtime.MemProfileRate = rate
	}()
	c := conf.Default()
	c.Memory.GCPercent, c.Memory.Limit = 321, 3*conf.GiB
	c.Listen.Profiles = "127.0.0.1:6060"
	SetUp(c, func(string) string { return "" }, quiet())
	if got := debug.SetMemoryLimit(-1); got != 3<<30 {
		t.Errorf("the limit is %d", got)
	}
	if runtime.MemProfileRate != rate {
		t.Error("no heap profiles, though they are configured")
	}
	c.Listen.Profiles = ""
	SetUp(c, func(string) string { return "" }, quiet())
	if got := debug.SetGCPercent(100); got != 321 {
		t.Errorf("gc_percent is %d", got)
	}
	if runtime.MemProfileRate != 0 {
		t.Error("allocations are sampled, and nobody can ask for what comes of it")
	}
}
