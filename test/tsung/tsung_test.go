//go:build clients

package tsung

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/test/performance/subject"
)

var (
	full = flag.Bool("full", false, "keep the pauses of the scenarios, and have more users")
	keep = flag.String("keep", "", "a folder for what tsung and the servers wrote, by test")
	// At info there are two lines for each connection, with the reason for its end.
	level = flag.String("level", "warn", "what the servers write: debug, info, warn or error")
)

// excuses are the errors that are none of the server's, and why. Of error_unknown, which
// is a failure within tsung, the reason is what each report of it has to contain.
type excuses map[string]string

// run is a scenario and how it is run.
type run struct {
	file, name string // the name only where it is not that of the file
	host       string
	// user and password are the prefixes of the users, count how many there are.
	user, password string
	count          int
	// change says what else is changed than the load, the server and its own files.
	change Change
	// short and long are who arrives. A short run divides pauses by thinking.
	short, long Load
	thinking    float64
	excuses     excuses
	// seen are samples that have to be there.
	seen []string
}

const (
	nobodyYet = "the first to come finds nobody"
	// ts_digest joins lists, and what a regular expression found is a binary.
	digestFails = "ts_digest"
	oneUser     = "no_free_userid"
)

var (
	xmppWebSocket = Change{Type: "websocket", Path: "/xmpp-websocket"}
	ofJabber      = []string{"tr_authenticate", "tr_auth_plain", "tr_roster", "tr_online", "tr_offline", "tr_close"}
)

var stock = []run{
	{file: "jabber.xml", host: "mydomain.org", user: "user", password: "pass", count: 10000,
		short: Load{Seconds: 8, Interarrival: 0.1}, long: Load{Seconds: 60, Interarrival: 0.25}, thinking: 20,
		excuses: excuses{"error_no_online": nobodyYet, "error_unknown": digestFails}, seen: ofJabber},
	{file: "jabber.xml", name: "jabber over websocket", host: "mydomain.org", user: "user", password: "pass", count: 10000,
		change: xmppWebSocket, short: Load{Seconds: 8, Interarrival: 0.1}, long: Load{Seconds: 60, Interarrival: 0.25}, thinking: 20,
		excuses: excuses{"error_no_online": nobodyYet, "error_unknown": digestFails}, seen: ofJabber},
	{file: "jabber.xml", name: "jabber with digests", host: "mydomain.org", user: "user", password: "pass", count: 10000,
		change: Change{Edit: mendDigest}, short: Load{Seconds: 3, Interarrival: 0.2}, long: Load{Seconds: 30, Interarrival: 0.5}, thinking: 20,
		seen: []string{"tr_auth_digest", "tr_close"}},
	{file: "jabber_muc.xml", host: "mydomain.org", user: "user", password: "pass", count: 10000,
		short: Load{Seconds: 5, Interarrival: 0.25}, long: Load{Seconds: 60, Interarrival: 0.25}, thinking: 50,
		seen: []string{"tr_authenticate", "tr_roster", "tr_online_chat", "tr_close"}},
	{file: "jabber_node.xml", host: "localhost", user: "user", password: "pass", count: 1,
		short: Load{Seconds: 10, Interarrival: 4}, long: Load{Seconds: 60, Interarrival: 20}, thinking: 20,
		excuses: excuses{"error_no_free_userid": "the scenario has one user, who is still there when others come", "error_unknown": oneUser}},
	{file: "jabber_privacy.xml", host: "localhost", user: "user", password: "pass", count: 1,
		seen: []string{"tr_authenticate"}},
	{file: "jabber_register.xml", host: "erlang-projects.org",
		short: Load{Seconds: 5, Interarrival: 0.05}, long: Load{Seconds: 60, Interarrival: 0.02},
		excuses: excuses{"match_stop": "tsung registers names twice, and who comes second is told of the conflict"}},
	{file: "jabber_roster.xml", host: "erlang-projects.org", user: "tsung", password: "tsung", count: 20000,
		short: Load{Seconds: 5, Interarrival: 0.1}, long: Load{Seconds: 60, Interarrival: 0.1}, thinking: 60,
		excuses: excuses{"error_no_online": nobodyYet}, seen: []string{"tr_authenticate", "tr_rosteradd"}},
	{file: "jabber_starttls.xml", host: "mydomain", user: "user", password: "pass", count: 500,
		short: Load{Seconds: 5, Interarrival: 0.25}, long: Load{Seconds: 60, Interarrival: 0.5}, thinking: 5,
		seen: []string{"tr_authenticate", "tr_roster", "xmpp_starttls"}},
	{file: "bosh.xml", host: "mydomain", user: "user", password: "pass", count: 500,
		short: Load{Seconds: 5, Interarrival: 0.2}, long: Load{Seconds: 60, Interarrival: 0.25}, thinking: 5,
		seen: []string{"tr_authenticate", "tr_roster"}},
	{file: "bosh.xml", name: "bosh over websocket", host: "mydomain", user: "user", password: "pass", count: 500,
		change: xmppWebSocket, short: Load{Seconds: 5, Interarrival: 0.2}, long: Load{Seconds: 60, Interarrival: 0.25}, thinking: 5,
		seen: []string{"tr_authenticate", "tr_roster"}},
}

// TestTsung is Debian's tsung with the scenarios that it ships, of which only the server,
// the load and paths on their author's machine are changed, but for one that tsung cannot
// play as it is. A short run divides the pauses too.
func TestTsung(t *testing.T) {
	program, err := subject.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range stock {
		name := r.name
		if name == "" {
			name = strings.TrimSuffix(r.file, ".xml")
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := Stock(r.file)
			if err != nil {
				t.Fatal(err)
			}
			r.play(t, program, text, 0)
		})
	}
}

// TestWorktile is our own scenario, over each transport alone and over both.
func TestWorktile(t *testing.T) {
	program, err := subject.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../deploy/tsung/worktile.xml")
	if err != nil {
		t.Fatal(err)
	}
	for _, transport := range []string{"tcp", "bosh", "both"} {
		t.Run(transport, func(t *testing.T) {
			if !*full { // nobody looks at what it takes
				t.Parallel()
			}
			r := run{
				file: "worktile.xml", host: "localhost", user: "worktile", password: "worktile", count: 20000,
				change: Change{Edit: only(transport)}, thinking: 10,
				short: Load{Seconds: 5, Interarrival: 0.05}, excuses: excuses{"error_no_online": nobodyYet},
				seen: []string{"tr_login", "tr_presence", "tr_message", "tr_close", "xmpp_msg_latency"},
			}
			r.play(t, program, text, 10)
		})
	}
}

// play runs a scenario and looks at what came of it.
func (r run) play(t *testing.T, program string, text []byte, each int) {
	dir := folder(t)
	srv := started(t, program, dir, r, each)
	c := r.change
	c.Load, c.Thinking = r.long, 1
	if !*full {
		c.Load, c.Thinking = r.short, r.thinking
	}
	var err error
	if c.Streams, err = split(srv.TCP); err == nil {
		c.HTTP, err = split(srv.HTTP)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Files = map[string]string{"userdb": userFile(t, dir, r)}
	result := played(t, srv, dir, text, c)
	for _, name := range r.seen {
		if result.Samples[name].Count == 0 {
			t.Errorf("tsung never saw an end of %s", name)
		}
	}
	judged(t, srv, result, r.excuses)
}

// folder is where a test's files are.
func folder(t *testing.T) string {
	if *keep == "" {
		return t.TempDir()
	}
	dir := filepath.Join(*keep, strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// started is a server with the bench profile and the scenario's users.
func started(t *testing.T, program, dir string, r run, each int) *subject.Server {
	log, err := os.Create(filepath.Join(dir, "rollcall.log"))
	if err != nil {
		t.Fatal(err)
	}
	// It has to outlive the test's own context, to be stopped.
	srv, err := bench(context.Background(), program, r.host, numbered(r.user, r.password, r.count, each), *level, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("the server said:\n%.10000s", said)
		}
	})
	return srv
}

// userFile is what scenarios read that do not make their users up.
func userFile(t *testing.T, dir string, r run) string {
	var lines strings.Builder
	for _, record := range numbered(r.user, r.password, r.count, 0) {
		fmt.Fprintf(&lines, "%s,%s\n", record.User.ID, record.User.Credentials.Plain)
	}
	name := filepath.Join(dir, "users.csv")
	if err := os.WriteFile(name, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// played runs a scenario.
func played(t *testing.T, srv *subject.Server, dir string, text []byte, c Change) *Result {
	scenario, err := c.Apply(text)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := startWatch(srv)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r, err := Run(t.Context(), dir, scenario)
	if err != nil {
		t.Fatal(err)
	}
	cpu, rss, err := watch.stop()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s\nserver: %v of CPU time in %v; %d KiB of RSS at first, %d at most", r, cpu, time.Since(began).Round(time.Second),
		watch.begin.RSS>>10, rss>>10)
	return r
}

// judged looks at what tsung and the server counted.
func judged(t *testing.T, srv *subject.Server, r *Result, e excuses) {
	errs := r.Errors()
	for _, name := range slices.Sorted(maps.Keys(errs)) {
		if why := e[name]; why != "" {
			t.Logf("%d %s: %s", errs[name], name, why)
			continue
		}
		t.Errorf("tsung counts %d %s", errs[name], name)
	}
	if n := errs["error_unknown"]; n > 0 && e["error_unknown"] != "" {
		stopped, err := r.Stopped()
		if err != nil {
			t.Fatal(err)
		}
		if len(stopped) != n {
			t.Errorf("%d users failed, and tsung's log tells of %d", n, len(stopped))
		}
		for _, s := range stopped {
			if !strings.Contains(s, e["error_unknown"]) {
				t.Errorf("a user failed: %.2000s", s)
			}
		}
	}
	if r.Counts["users_count"] == 0 {
		t.Error("nobody came")
	}
	given := r.Counts["match_stop"]
	if why := e["match_stop"]; given > 0 && (why == "" || given > r.Counts["nomatch"]) {
		t.Errorf("%d users gave up at an answer: %s", given, why)
	}
	counted(t, srv, errs["error_unknown"]+given)
}

// counted looks at the server's metrics: connections end as their clients wish, apart
// from those that tsung dropped when it failed, and there is none left.
func counted(t *testing.T, srv *subject.Server, dropped int) {
	m, err := srv.Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		n := int(m[name])
		switch {
		case n == 0:
		case strings.HasPrefix(name, "rollcall_closes_total{"):
			t.Logf("%s %d", name, n)
			if !strings.Contains(name, `reason="client"`) && !(strings.Contains(name, `reason="lost"`) && n <= dropped) {
				t.Errorf("%s is %d", name, n)
			}
		case strings.HasPrefix(name, "rollcall_authentications_total{"):
			t.Logf("%s %d", name, n)
			if !strings.Contains(name, `outcome="success"`) {
				t.Errorf("%s is %d", name, n)
			}
		case strings.HasPrefix(name, "rollcall_panics_total"), strings.HasPrefix(name, "rollcall_connections"),
			strings.HasPrefix(name, "rollcall_sessions"):
			t.Errorf("%s is %d", name, n)
		}
	}
}
