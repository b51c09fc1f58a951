package main

import (
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// byLayer is each layer's part of a CPU profile's time.
func byLayer(p *profile.Profile) map[string]float64 {
	parts := make(map[string]float64)
	value := slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == "cpu" })
	if value < 0 {
		return parts
	}
	total := 0.0
	for _, sample := range p.Sample {
		v := float64(sample.Value[value])
		parts[layerOf(framesOf(sample))] += v
		total += v
	}
	for layer := range parts {
		parts[layer] /= total
	}
	return parts
}

// What a sample's functions say about its layer: the first entry counts of which one of
// the functions is found.
var (
	// kernelCalls are known by who makes a system call; functions in between only wrap it.
	kernelCalls = []rule{
		{"kernel: write", []string{"syscall.write", "syscall.Write", "syscall.writev", "syscall.sendmsg", "rollcall/internal/link.write"}},
		{"kernel: read", []string{"syscall.read", "syscall.Read", "syscall.recvfrom", "rollcall/internal/link.read"}},
		{"kernel: epoll", []string{"internal/runtime/syscall.EpollWait", "internal/runtime/syscall/linux.EpollWait", "rollcall/internal/link.epollWait",
			"internal/runtime/syscall.EpollCtl", "internal/runtime/syscall/linux.EpollCtl", "syscall.EpollCtl"}},
		{"kernel: accept and close", []string{"syscall.accept", "syscall.Close", "syscall.setsockopt", "syscall.getsockname", "syscall.shutdown"}},
		{"kernel: other", []string{"internal/runtime/syscall.Syscall6", "internal/runtime/syscall/linux.Syscall6", "syscall.RawSyscall6", "runtime.cgocall"}},
	}
	runtimeWork = []rule{
		{"Go: collector", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart", "runtime.gcMarkTermination", "runtime.wbBufFlush"}},
		{"Go: allocation", []string{"runtime.mallocgc", "runtime.newobject", "runtime.growslice", "runtime.makeslice", "runtime.mapassign", "runtime.newproc"}},
		{"Go: scheduler", []string{"runtime.mcall", "runtime.schedule", "runtime.findRunnable", "runtime.mstart", "runtime.goready", "runtime.ready", "runtime.gopark",
			"runtime.park_m", "runtime.semrelease1", "runtime.semacquire1", "runtime.netpollunblock", "runtime.netpollblock", "runtime.wakep", "runtime.sysmon",
			"runtime.chansend", "runtime.chanrecv", "runtime.selectgo", "runtime.selectnbsend", "runtime.selectnbrecv", "runtime.exitsyscall", "runtime.entersyscall", "runtime.reentersyscall",
			"runtime.lock2", "runtime.unlock2"}},
	}
)

type rule struct {
	layer string
	names []string
}

// layerOf tells to whom a stack's time belongs: to the kernel or the runtime, or else to
// the innermost layer that has a name. What libraries do counts for who calls them, but
// for those with a layer of their own.
func layerOf(frames []frame) string {
	if len(frames) == 0 {
		return "unknown"
	}
	leaf := frames[0].name
	if strings.Contains(leaf, "yscall") || leaf == "runtime.futex" || leaf == "runtime.cgocall" {
		if inRuntime(frames) {
			return schedulerOr(frames)
		}
		if layer := match(kernelCalls, frames); layer != "" {
			return layer
		}
	}
	if strings.HasPrefix(leaf, "runtime.") || strings.HasPrefix(leaf, "internal/runtime/") {
		if layer := match(runtimeWork, frames); layer != "" {
			return layer
		}
	}
	for _, f := range frames {
		if layer := roomOf(f.name); layer != "" {
			return layer
		}
	}
	return "Go: other"
}

// inRuntime reports whether the runtime made a system call for itself, as to sleep.
func inRuntime(frames []frame) bool {
	for _, f := range frames {
		switch {
		case strings.HasPrefix(f.name, "syscall.") || strings.Contains(f.name, "sys/unix."):
			return false
		case f.name == "runtime.netpoll", f.name == "runtime.futex":
			return true
		}
	}
	return false
}

// schedulerOr tells waiting for descriptors from waiting for work.
func schedulerOr(frames []frame) string {
	for _, f := range frames {
		if f.name == "runtime.netpoll" {
			return "kernel: epoll"
		}
	}
	return "Go: scheduler"
}

func match(rules []rule, frames []frame) string {
	for _, r := range rules {
		for _, f := range frames {
			if slices.Contains(r.names, f.name) {
				return r.layer
			}
		}
	}
	return ""
}

// roomOf is the layer of a function, "" if it counts for its caller.
func roomOf(name string) string {
	if rest, ours := strings.CutPrefix(name, "rollcall/"); ours {
		// The package is what stands before the first dot after the last slash.
		slash := strings.LastIndexByte(rest, '/')
		dot := strings.IndexByte(rest[slash+1:], '.')
		if dot < 0 {
			return rest
		}
		return rest[:slash+1+dot]
	}
	for prefix, layer := range map[string]string{
		"crypto/tls.": "TLS", "modernc.org/sqlite": "SQLite", "modernc.org/libc": "SQLite", "database/sql.": "SQLite",
		"net/http.": "net/http", "log/slog.": "logging", "github.com/prometheus/": "metrics",
	} {
		if strings.HasPrefix(name, prefix) {
			return layer
		}
	}
	return ""
}
