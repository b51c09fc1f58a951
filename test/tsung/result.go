package tsung

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Result is what tsung counted during a run.
type Result struct {
	// Dir is where its logs are.
	Dir string
	// Counts are how often something happened in all: users_count, finish_users_count,
	// request_noack, size_sent, error_timeout and the like.
	Counts map[string]int
	// Samples are what took time: session, connect, request, the transactions of the
	// scenario, xmpp_msg_latency.
	Samples map[string]Sample
}

// Sample is what tsung keeps of something that it measured, in milliseconds.
type Sample struct {
	Count          int
	Mean, Max, Min float64
}

var errNoStats = errors.New("tsung's log ends without its numbers")

// parse reads tsung.log: blocks of lines, one block for every ten seconds and one for
// the end, whose totals count.
func parse(log []byte) (*Result, error) {
	i := bytes.LastIndex(log, []byte("# stats: dump at "))
	end := bytes.LastIndex(log, []byte("EndMonitor:"))
	if i < 0 || end < i {
		return nil, errNoStats
	}
	r := &Result{Counts: map[string]int{}, Samples: map[string]Sample{}}
	for line := range strings.Lines(string(log[i:end])) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "stats: ")
		if !ok || strings.HasPrefix(rest, "{") {
			continue // the machine's load
		}
		f := strings.Fields(rest)
		var err error
		switch len(f) {
		case 3: // name, during the last interval, in all
			r.Counts[f[0]], err = strconv.Atoi(f[2])
		case 8: // name, count, mean, deviation, maximum, minimum, mean before, count before
			r.Samples[f[0]], err = sample(f[1:])
		default:
			err = errors.New("neither a count nor a sample")
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
	}
	return r, nil
}

func sample(fields []string) (Sample, error) {
	var n [7]float64
	for i, f := range fields {
		var err error
		if n[i], err = strconv.ParseFloat(f, 64); err != nil {
			return Sample{}, err
		}
	}
	s := Sample{Count: int(n[0] + n[6]), Max: n[3], Min: n[4]}
	if s.Count > 0 {
		s.Mean = (n[0]*n[1] + n[6]*n[5]) / float64(s.Count)
	}
	return s, nil
}

// Errors are the counts that tell of something that went wrong.
func (r *Result) Errors() map[string]int {
	errs := map[string]int{}
	for name, n := range r.Counts {
		if n != 0 && (strings.HasPrefix(name, "error") || name == "timeout" || name == "abort_session") {
			errs[name] = n
		}
	}
	if lost := r.Counts["users_count"] - r.Counts["finish_users_count"]; lost != 0 {
		errs["unfinished"] = lost
	}
	return errs
}

// Stopped are the users whose sessions ended because something in tsung failed: what it
// says of each.
func (r *Result) Stopped() ([]string, error) {
	logs, err := filepath.Glob(filepath.Join(r.Dir, "tsung*@*.log"))
	if err != nil || len(logs) == 0 {
		return nil, errors.Join(errors.New("tsung wrote nothing about its users"), err)
	}
	var stopped []string
	for _, name := range logs {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for _, entry := range strings.Split(string(data), "\n=") {
			if strings.Contains(entry, "Stop in state ") {
				stopped = append(stopped, entry)
			}
		}
	}
	return stopped, nil
}

// String shows everything, for people.
func (r *Result) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.Samples)) {
		s := r.Samples[name]
		fmt.Fprintf(&b, "%-24s %8d  mean %9.3f ms  min %9.3f  max %9.3f\n", name, s.Count, s.Mean, s.Min, s.Max)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(&b, "%-24s %8d\n", name, r.Counts[name])
	}
	return b.String()
}
