package redistest

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Sentinel starts a Sentinel that watches a master by that name, and waits until it
// knows the replicas. Give its address and the name to a client.
func Sentinel(t testing.TB, name string, master *Server, replicas int, options ...Option) *Server {
	t.Helper()
	s := Start(t, append([]Option{sentinel(name, master)}, options...)...)
	c := s.Client(t)
	// A Sentinel asks once in ten seconds what its servers are.
	if err := c.Do(t.Context(), "SENTINEL", "DEBUG", "INFO-PERIOD", "100", "PING-PERIOD", "100", "PUBLISH-PERIOD", "100").Err(); err != nil {
		t.Fatal(err)
	}
	Until(t, "the Sentinel knows the replicas", func() bool {
		got, err := c.Do(t.Context(), "SENTINEL", "REPLICAS", name).Slice()
		return err == nil && len(got) == replicas
	})
	return s
}

// Until asks again and again until something holds, and fails the test when that takes
// too long.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	late := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(late) {
			t.Fatalf("not in %v: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond) // between two questions, not instead of one
	}
}

// Info reads a section of INFO, as soon as the server answers.
func (s *Server) Info(t testing.TB, section string) map[string]string {
	t.Helper()
	c := s.newClient()
	defer c.Close() //nolint:errcheck // nothing is lost with it
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var text string
	// A Sentinel cuts the connections of servers that change places.
	Until(t, "INFO "+section, func() (ok bool) {
		var err error
		text, err = c.Info(ctx, section).Result()
		return err == nil
	})
	values := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			values[name] = value
		}
	}
	return values
}

// Calls says how often a command was called since the server started or ResetCalls,
// by clients and by scripts; a container command is "client|kill".
func (s *Server) Calls(t testing.TB, command string) int {
	t.Helper()
	stat, ok := s.Info(t, "commandstats")["cmdstat_"+command]
	if !ok {
		return 0
	}
	for field := range strings.SplitSeq(stat, ",") {
		if n, ok := strings.CutPrefix(field, "calls="); ok {
			calls, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			return calls
		}
	}
	t.Fatalf("commandstats without calls: %s", stat)
	return 0
}

// ResetCalls begins to count anew.
func (s *Server) ResetCalls(t testing.TB) {
	t.Helper()
	if err := s.Client(t).ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}
