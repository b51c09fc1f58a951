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
)

// stock is one of tsung's own scenarios, and how it is run.
type stock struct {
	file string
	// name tells apart two ways of running one file.
	name  string
	hosts string
	// user and password are the prefixes of the users, count how many there are. Those
	// of scenarios that read a file are in that file.
	user, password string
	count          int
	kind           string // of server: what it is in the scenario, unless said here
	// short and long are who arrives. The pauses of a short run are divided.
	short, long Load
	thinking    float64
	// explained are the errors that are none of the server's, and why.
	explained map[string]string
	requests  []string // samples that have to be there: transactions
}

var scenarios = []stock{
	{file: "jabber.xml", hosts: "mydomain.org", user: "user", password: "pass", count: 10000,
		short: Load{Seconds: 5, Interarrival: 0.2}, long: Load{Seconds: 60, Interarrival: 0.25}, thinking: 20,
		explained: map[string]string{"error_no_online": "the first to come finds nobody to write to"},
		requests:  []string{"tr_authenticate", "tr_roster", "tr_online", "tr_offline", "tr_close"}},
	{file: "jabber.xml", name: "jabber over websocket", hosts: "mydomain.org", user: "user", password: "pass", count: 10000,
		kind: "websocket", short: Load{Seconds: 5, Interarrival: 0.2}, long: Load{Seconds: 60, Interarrival: 0.25}, thinking: 20,
		explained: map[string]string{"error_no_online": "the first to come finds nobody to write to"},
		requests:  []string{"tr_authenticate", "tr_roster", "tr_online", "tr_offline", "tr_close"}},
	{file: "jabber_muc.xml", hosts: "mydomain.org", user: "user", password: "pass", count: 10000,
		short: Load{Seconds: 5, Interarrival: 0.25}, long: Load{Seconds: 60, Interarrival: 0.25}, thinking: 50,
		requests: []string{"tr_authenticate", "tr_roster", "tr_online_chat", "tr_close"}},
	{file: "jabber_node.xml", hosts: "localhost", user: "user", password: "pass", count: 1,
		short: Load{Seconds: 10, Interarrival: 4}, long: Load{Seconds: 60, Interarrival: 20}, thinking: 20,
		explained: map[string]string{"error_no_free_userid": "the scenario has one user, who is still there when others come"}},
	{file: "jabber_privacy.xml", hosts: "localhost", user: "user", password: "pass", count: 1,
		requests: []string{"tr_authenticate"}},
	{file: "jabber_register.xml", hosts: "erlang-projects.org",
		short: Load{Seconds: 5, Interarrival: 0.05}, long: Load{Seconds: 60, Interarrival: 0.02}},
	{file: "jabber_roster.xml", hosts: "erlang-projects.org", user: "tsung", password: "tsung", count: 20000,
		short: Load{Seconds: 5, Interarrival: 0.1}, long: Load{Seconds: 60, Interarrival: 0.1}, thinking: 60,
		explained: map[string]string{"error_no_online": "the first to come find nobody to add"},
		requests:  []string{"tr_authenticate", "tr_rosteradd"}},
	{file: "jabber_starttls.xml", hosts: "mydomain", user: "user", password: "pass", count: 500,
		short: Load{Seconds: 5, Interarrival: 0.25}, long: Load{Seconds: 60, Interarrival: 0.5}, thinking: 5,
		requests: []string{"tr_authenticate", "tr_roster", "xmpp_starttls"}},
	{file: "bosh.xml", hosts: "mydomain", user: "user", password: "pass", count: 500,
		short: Load{Seconds: 5, Interarrival: 0.2}, long: Load{Seconds: 60, Interarrival: 0.25}, thinking: 5,
		requests: []string{"tr_authenticate", "tr_roster"}},
	{file: "bosh.xml", name: "bosh over websocket", hosts: "mydomain", user: "user", password: "pass", count: 500,
		kind: "websocket", short: Load{Seconds: 5, Interarrival: 0.2}, long: Load{Seconds: 60, Interarrival: 0.25}, thinking: 5,
		requests: []string{"tr_authenticate", "tr_roster"}},
}

// TestTsung is Debian's tsung with the scenarios that it ships, of which only the server,
// the load and paths on its author's machine are changed; a short run divides pauses too.
func TestTsung(t *testing.T) {
	program, err := subject.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scenarios {
		name := s.name
		if name == "" {
			name = strings.TrimSuffix(s.file, ".xml")
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.run(t, program)
		})
	}
}

func (s stock) run(t *testing.T, program string) {
	dir := folder(t)
	text, err := Stock(s.file)
	if err != nil {
		t.Fatal(err)
	}
	srv := started(t, program, dir, strings.Split(s.hosts, " "), s)
	r := played(t, srv, dir, text, s.change(t, srv, dir))
	for _, name := range s.requests {
		if r.Samples[name].Count == 0 {
			t.Errorf("tsung never saw an end of %s", name)
		}
	}
	judged(t, srv, r, s.explained)
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
func started(t *testing.T, program, dir string, hosts []string, s stock) *subject.Server {
	log, err := os.Create(filepath.Join(dir, "rollcall.log"))
	if err != nil {
		t.Fatal(err)
	}
	// It has to outlive the test's own context, to be stopped.
	srv, err := bench(context.Background(), program, hosts, numbered(s.user, s.password, s.count), log)
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

// change makes the scenario one for the server.
func (s stock) change(t *testing.T, srv *subject.Server, dir string) Change {
	c := Change{Type: s.kind, Load: s.long, Thinking: 1}
	if !*full {
		c.Load, c.Thinking = s.short, s.thinking
	}
	address := srv.TCP
	switch {
	case s.kind == "websocket":
		address, c.Path = srv.HTTP, "/xmpp-websocket"
	case s.file == "bosh.xml":
		address = srv.HTTP
	}
	var err error
	if c.Host, c.Port, err = split(address); err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(dir, "users.csv")
	var lines strings.Builder
	for u, secret := range numbered(s.user, s.password, s.count) {
		fmt.Fprintf(&lines, "%s,%s\n", u.ID, secret.Plain)
	}
	if err := os.WriteFile(users, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Files = map[string]string{"userdb": users}
	return c
}

// played runs a scenario.
func played(t *testing.T, srv *subject.Server, dir string, text []byte, c Change) *Result {
	scenario, err := c.Apply(text)
	if err != nil {
		t.Fatal(err)
	}
	before, err := srv.Usage()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r, err := Run(t.Context(), dir, scenario)
	if err != nil {
		t.Fatal(err)
	}
	after, err := srv.Usage()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s\nserver: %v of CPU time in %v, RSS %d KiB", r, after.CPU-before.CPU,
		time.Since(began).Round(time.Second), after.RSS>>10)
	return r
}

// ends are the reasons for which connections may end: the client's wish, and its death.
var ends = []string{"client", "lost"}

// judged looks at what tsung and the server counted.
func judged(t *testing.T, srv *subject.Server, r *Result, explained map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(r.Errors())) {
		n := r.Errors()[name]
		if why := explained[name]; why != "" {
			t.Logf("%d %s: %s", n, name, why)
			continue
		}
		t.Errorf("tsung counts %d %s", n, name)
	}
	if r.Counts["users_count"] == 0 {
		t.Error("nobody came")
	}
	m, err := srv.Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		n := m[name]
		switch {
		case n == 0:
		case strings.HasPrefix(name, "rollcall_closes_total{"):
			t.Logf("%s %.0f", name, n)
			if !slices.ContainsFunc(ends, func(why string) bool { return strings.Contains(name, fmt.Sprintf("reason=%q", why)) }) {
				t.Errorf("%s is %.0f", name, n)
			}
		case strings.HasPrefix(name, "rollcall_authentications_total{"):
			t.Logf("%s %.0f", name, n)
		case strings.HasPrefix(name, "rollcall_panics_total"), strings.HasPrefix(name, "rollcall_connections"),
			strings.HasPrefix(name, "rollcall_sessions"):
			t.Errorf("%s is %.0f", name, n)
		}
	}
}
