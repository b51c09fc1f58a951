// Package footprint keeps the process small: it sets the garbage collector up, and
// gives memory back to the system after a storm. What it does holds for the whole
// process.
package footprint

import (
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// Settings are what Tune sets up.
type Settings struct {
	Percent int   // of garbage in proportion to what lives, as GOGC
	Limit   int64 // in bytes, as GOMEMLIMIT; 0 for what Limit finds
	System  fs.FS // the file system from its root, for Limit
	Getenv  func(string) string
}

// Tuned is what holds now, as GOGC and GOMEMLIMIT would say it. No limit is "".
type Tuned struct{ Percent, Limit string }

// Tune sets the garbage collector up. GOGC and GOMEMLIMIT count before the settings:
// the runtime has read them already.
func Tune(s Settings) Tuned {
	t := Tuned{Percent: s.Getenv("GOGC"), Limit: s.Getenv("GOMEMLIMIT")}
	if t.Percent == "" {
		debug.SetGCPercent(s.Percent)
		t.Percent = strconv.Itoa(s.Percent)
	}
	if t.Limit != "" {
		return t
	}
	limit := s.Limit
	if limit == 0 {
		limit = Limit(s.System)
	}
	if limit != 0 {
		debug.SetMemoryLimit(limit)
		t.Limit = strconv.FormatInt(limit, 10)
	}
	return t
}

// Limit is nine tenths of what the control groups of the process permit it to use, in
// bytes, or 0 when they permit everything. The last tenth is for the kernel's share:
// the group pays for the program itself and for the buffers of its connections too.
// Only version 2 is read.
func Limit(system fs.FS) int64 {
	least := int64(math.MaxInt64)
	for group := ownGroup(system); ; group = path.Dir(group) {
		// A group is bound by those above it.
		text, err := fs.ReadFile(system, path.Join("sys/fs/cgroup", group, "memory.max"))
		if err == nil { // the topmost group has no such file, and "max" is no number
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				least = min(least, n)
			}
		}
		if group == "/" {
			break
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least - least/10
}

// ownGroup is the path of the process's group below the mounted ones: "/" in a
// container, which sees its own as the topmost.
func ownGroup(system fs.FS) string {
	text, err := fs.ReadFile(system, "proc/self/cgroup")
	if err != nil {
		return "/" // not Linux
	}
	for line := range strings.Lines(string(text)) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path.Join("/", group)
		}
	}
	return "/"
}
