package tsung

import (
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

const scenario = `<?xml version="1.0"?>
<!DOCTYPE tsung SYSTEM "/home/somebody/tsung-1.0.dtd" [] >
<tsung loglevel="notice" version="1.0">
  <servers><server host="myserver" port="5222" type="tcp"></server></servers>
  <load><arrivalphase phase="1" duration="1" unit="hour"><users arrivalrate="2" unit="second"></users></arrivalphase></load>
  <options><option name="file_server" id="userdb" value="/home/somebody/users.csv"/></options>
  <sessions><session probability="100" name="a" type="ts_jabber">
    <request> <jabber type="connect" ack="no_ack"></jabber> </request>
    <thinktime value="5  "></thinktime>
    <for from="1" to="2" var="i"><thinktime value="10" random="true"/></for>
  </session></sessions>
</tsung>`

func TestApply(t *testing.T) {
	files := map[string]string{"userdb": "/here/users.csv"}
	places := Change{Streams: Place{"127.1.2.3", 4567}, HTTP: Place{"127.1.2.4", 4568}, Files: files}
	with := func(f func(*Change)) Change {
		c := places
		f(&c)
		return c
	}
	for _, test := range []struct {
		name   string
		change Change
		want   []string
	}{
		{"nothing", places, []string{
			`<!DOCTYPE tsung SYSTEM "/usr/share/tsung/tsung-1.0.dtd" []>`, `<server host="127.1.2.3" port="4567" type="tcp"/>`,
			`value="/here/users.csv"`, `duration="1" unit="hour"`, `arrivalrate="2"`, `<thinktime value="5  "/>`}},
		{"type", with(func(c *Change) { c.Type, c.Path = "websocket", "/ws" }), []string{
			`<server host="127.1.2.4" port="4568" type="websocket"/>`, `<option name="websocket_path" value="/ws"/>`}},
		{"load", with(func(c *Change) { c.Load = Load{Seconds: 7, Interarrival: 0.25, Most: 3} }), []string{
			`duration="7" unit="second"`, `<users unit="second" interarrival="0.25" maxnumber="3"/>`}},
		{"pauses", with(func(c *Change) { c.Thinking = 4 }), []string{`<thinktime value="1.250"/>`, `<thinktime value="2.500" random="true"/>`}},
		{"edited", with(func(c *Change) {
			c.Edit = func(root *etree.Element) error { root.CreateAttr("loglevel", "debug"); return nil }
		}), []string{`loglevel="debug"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.change.Apply([]byte(scenario))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if !strings.Contains(string(got), want) {
					t.Errorf("without %s:\n%s", want, got)
				}
			}
		})
	}
	for name, broken := range map[string]string{
		"no XML":          "tsung",
		"not tsung's":     "<scenario/>",
		"another file":    strings.ReplaceAll(scenario, "userdb", "rooms"),
		"a dynamic pause": strings.ReplaceAll(scenario, `"10"`, `"%%_n%%"`),
	} {
		if got, err := with(func(c *Change) { c.Thinking = 2 }).Apply([]byte(broken)); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestParse(t *testing.T) {
	const log = "# stats: dump at 1\nstats: users 3 3\nstats: error_timeout 9 9\n" +
		"# stats: dump at 2\nstats: users 0 4\nstats: {cpu,\"a@b\"} 1 2 3 4 5 6 7\nstats: request 2 10 1.5 30 1 4 6\n" +
		"stats: users_count 1 5\nstats: finish_users_count 2 4\nstats: error_timeout 0 9\nstats: request_noack 0 7\nstats: timeout 0 0\nEndMonitor:{1,2,3}\n"
	r, err := parse([]byte(log))
	if err != nil {
		t.Fatal(err)
	}
	// Of 8 samples, the last two took 10 ms on average and those before 4.
	if want := (Sample{Count: 8, Mean: 5.5, Max: 30, Min: 1}); r.Samples["request"] != want || len(r.Samples) != 1 {
		t.Errorf("samples %v", r.Samples)
	}
	if got, want := r.Errors(), map[string]int{"error_timeout": 9, "unfinished": 1}; !maps.Equal(got, want) {
		t.Errorf("errors %v, want %v", got, want)
	}
	for _, bad := range []string{
		"", "stats: users 0 4\nEndMonitor:{1,2,3}\n", "# stats: dump at 2\nstats: users 0 4\n",
		"# stats: dump at 2\nstats: users 0 four\nEndMonitor:{1,2,3}\n", "# stats: dump at 2\nstats: users\nEndMonitor:{1,2,3}\n",
		"# stats: dump at 2\nstats: request 2 10 1.5 30 1 4 x\nEndMonitor:{1,2,3}\n",
	} {
		if r, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q is taken for %v", bad, r)
		}
	}
}

// TestStopped reads what tsung says of users that failed.
func TestStopped(t *testing.T) {
	r := Result{Dir: t.TempDir()}
	if _, err := r.Stopped(); err == nil {
		t.Error("no log, and no error")
	}
	const log = "=INFO REPORT==== 1 ===\n Session ending\n\n=INFO REPORT==== 2 ===\n Stop in state think, reason= a\n\n=INFO REPORT==== 3 ===\n Stop in state wait_ack, reason= {b,\n c}\n"
	if err := os.WriteFile(r.Dir+"/tsung_controller@127.0.0.1.log", []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := r.Stopped()
	if err != nil || len(got) != 2 || !strings.Contains(got[1], "c}") || strings.Contains(got[1], "reason= a") {
		t.Errorf("%q, %v", got, err)
	}
}
