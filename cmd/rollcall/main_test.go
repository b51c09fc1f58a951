package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/conf"
	"rollcall/internal/transcript"
)

// call runs the command line in this process.
func call(t *testing.T, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	cmd := root()
	var out bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// must is call for what has to work.
func must(t *testing.T, want, stdin string, args ...string) {
	t.Helper()
	out, err := call(t, stdin, args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	if squeeze(out) != squeeze(want) {
		t.Fatalf("%v says\n%s\nwant\n%s", args, out, want)
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// fails is call for what must not work.
func fails(t *testing.T, want, stdin string, args ...string) {
	t.Helper()
	out, err := call(t, stdin, args...)
	if err == nil {
		t.Fatalf("%v works, and says %s", args, out)
	}
	if !strings.Contains(err.Error(), want) {
		t.Fatalf("%v: %v, want %s", args, err, want)
	}
}

const testConfig = `
listen:
  tcp: [{address: "127.0.0.1:0"}]
  http: []
  metrics: ""
modules: {projects: {grace: 0s}}
log: {level: debug}
`

func writeConfig(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "rollcall.yml")
	if err := os.WriteFile(path, []byte(testConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultConfig(t *testing.T) {
	out, err := call(t, "", "default-config")
	if err != nil || out != string(conf.DefaultYAML()) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestCheckConfig(t *testing.T) {
	good := writeConfig(t)
	must(t, good+": no problems", "", "check-config", good)
	must(t, good+": no problems", "", "check-config", "--config", good)
	bad := filepath.Join(t.TempDir(), "bad.yml")
	if err := os.WriteFile(bad, []byte("hosts: []\nlog:\n  level: loud\nunknown: 1\nlimits: {login_time: soon}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := call(t, "", "check-config", bad)
	var problems conf.Problems
	if !errors.As(err, &problems) || len(problems) != 4 {
		t.Fatalf("problems: %v", err)
	}
	for i, place := range []string{":1:", ":3:10:", ":4:1:", ":5:"} {
		if line := problems[i].String(); !strings.HasPrefix(line, bad+place) {
			t.Errorf("%s, want %s%s", line, bad, place)
		}
	}
	fails(t, "", "", "serve", "--config", bad)
	_, err = call(t, "", "check-config", filepath.Join(t.TempDir(), "none.yml"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestManageUsersAndProjects(t *testing.T) {
	c := "--config=" + writeConfig(t)
	must(t, "", "first\n", "user", "add", "alice", "--name", "Alice", c)
	must(t, "", "other", "user", "add", "bob", c)
	fails(t, "exists", "x\n", "user", "add", "alice", c)
	fails(t, "invalid", "x\n", "user", "add", "Alice Smith", c)
	fails(t, "no password", "", "user", "add", "carol", c)
	fails(t, "not found", "x\n", "user", "passwd", "carol", c)
	must(t, "", "second\n", "user", "passwd", "alice", c)
	must(t, "alice Alice bob", "", "user", "list", c)
	must(t, "", "", "project", "add", "p1", "--name", "Apollo", c)
	must(t, "", "", "project", "join", "p1", "alice", c)
	must(t, "", "", "project", "join", "p1", "bob", c)
	must(t, "", "", "project", "join", "p1", "bob", c)
	fails(t, "not found", "", "project", "join", "p2", "bob", c)
	fails(t, "not found", "", "project", "join", "p1", "carol", c)
	must(t, "p1 Apollo alice bob", "", "project", "list", c)
	must(t, "", "", "project", "leave", "p1", "bob", c)
	fails(t, "not found", "", "project", "leave", "p1", "bob", c)
	must(t, "", "", "user", "remove", "alice", c)
	fails(t, "not found", "", "user", "remove", "alice", c)
	must(t, "p1 Apollo", "", "project", "list", c)
	must(t, "", "", "project", "remove", "p1", c)
	fails(t, "not found", "", "project", "remove", "p1", c)
	must(t, "", "", "project", "list", c)
}

func TestImport(t *testing.T) {
	c := "--config=" + writeConfig(t)
	file := filepath.Join(t.TempDir(), "people.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"users": [{"id": "alice", "name": "Alice", "password": "a"}, {"id": "bob", "password": "b"}],
 "projects": [{"id": "p1", "name": "Apollo", "members": ["alice", "bob"]}]}`)
	must(t, "2 users, 1 projects", "", "import", file, c)
	must(t, "2 users, 1 projects", "", "import", file, c)
	must(t, "alice Alice bob", "", "user", "list", c)
	// Everything bad is told with its place, and nothing is imported.
	write(`{"users": [{"id": "carol"}, {"id": "Dave", "password": "d"},
  {"id": "erin", "password": "e"}],
 "projects": [{"id": "p1", "members": ["alice", "nobody"]}]}`)
	_, err := call(t, "", "import", file, c)
	if err == nil {
		t.Fatal("imported")
	}
	for _, want := range []string{file + ":1:12: ", file + ":1:36: ", file + ":3:49: ", "carol", "Dave", "nobody"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	must(t, "alice Alice bob", "", "user", "list", c)
	must(t, "p1 Apollo alice bob", "", "project", "list", c)
	// Without a password the old one stays; members are replaced.
	write(`{"users": [{"id": "alice", "name": "Al"}], "projects": [{"id": "p1", "name": "A", "members": ["bob"]}]}`)
	must(t, "1 users, 1 projects", "", "import", file, c)
	must(t, "alice Al bob", "", "user", "list", c)
	must(t, "p1 A bob", "", "project", "list", c)
}

// What the command line changes reaches the clients of a running server at once.
func TestManageWhileServing(t *testing.T) {
	path := writeConfig(t)
	c := "--config=" + path
	must(t, "", "secret\n", "user", "add", "alice", "--name", "Alice", c)
	p := serve(t, path)
	must(t, "", "secret\n", "user", "add", "bob", "--name", "Bob", c)
	must(t, "", "", "project", "add", "p1", "--name", "Apollo", c)
	must(t, "", "", "project", "join", "p1", "alice", c)
	target := p.target()
	target.Actions = map[string]func(context.Context) error{
		"join":   func(context.Context) error { _, err := call(t, "", "project", "join", "p1", "bob", c); return err },
		"leave":  func(context.Context) error { _, err := call(t, "", "project", "leave", "p1", "bob", c); return err },
		"remove": func(context.Context) error { _, err := call(t, "", "user", "remove", "bob", c); return err },
	}
	script, err := transcript.Parse("manage", `# manage

alice: alice@localhost/web password=secret
bob: bob@localhost/web password=secret

alice connects
bob connects
alice sends:
    <iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>
alice receives:
    <iq type='result' id='r' from='alice@localhost' to='{alice}'><query xmlns='jabber:iq:roster' ver='{any}'/></iq>
alice sends:
    <presence/>
alice receives:
    <presence from='{alice}' to='{alice}'/>
bob sends:
    <presence/>
bob receives:
    <presence from='{bob}' to='{bob}'/>
do join
alice receives:
    <iq type='set' id='{any}' from='{any}' to='{alice}'><query xmlns='jabber:iq:roster' ver='{any}'><item jid='bob@localhost' name='Bob' subscription='both'><group>Apollo</group></item></query></iq>
    <presence from='{bob}' to='{alice}'><x xmlns='urn:rollcall:project:1' status='1' rev='{any}'><proj id='p1'/></x></presence>
bob receives:
    <presence from='{alice}' to='{bob}'><x xmlns='urn:rollcall:project:1' status='1' rev='{any}'><proj id='p1'/></x></presence>
do leave
alice receives:
    <iq type='set' id='{any}' from='{any}' to='{alice}'><query xmlns='jabber:iq:roster' ver='{any}'><item jid='bob@localhost' subscription='remove'/></query></iq>
    <presence type='unavailable' from='{bob}' to='{alice}'>...</presence>
bob receives:
    <presence type='unavailable' from='{alice}' to='{bob}'>...</presence>
do remove
bob is closed with not-authorized
alice disconnects
`)
	if err != nil {
		t.Fatal(err)
	}
	transcript.Run(t, target, script)
}

// SIGHUP reads the certificates again; SIGTERM and SIGINT end the server
// politely.
func TestSignals(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			path := writeConfig(t)
			must(t, "", "secret\n", "user", "add", "alice", "--config="+path)
			record := filepath.Join(t.TempDir(), "record.txt")
			p := serve(t, path, "--record", record)
			before := serial(t, p.address)
			for _, name := range []string{"self-signed.crt", "self-signed.key"} {
				if err := os.Remove(filepath.Join(filepath.Dir(path), "data", name)); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			p.await(t, regexp.MustCompile("certificates were read again"))
			if after := serial(t, p.address); after == before {
				t.Error("the old certificate is still there")
			}
			target := p.target()
			target.Actions = map[string]func(context.Context) error{
				"stop": func(context.Context) error { return p.Process.Signal(signal) },
			}
			script, err := transcript.Parse("signal", `# signal

alice: alice@localhost/web password=secret

alice connects
do stop
alice is closed with system-shutdown
`)
			if err != nil {
				t.Fatal(err)
			}
			transcript.Run(t, target, script)
			if err := p.Wait(); err != nil {
				t.Errorf("exit: %v\n%s", err, p.log.String())
			}
			if text, err := os.ReadFile(record); err != nil || !strings.Contains(string(text), "alice connects") {
				t.Errorf("record: %v\n%s", err, text)
			}
		})
	}
}

// serial is that of the certificate that a client gets by STARTTLS.
func serial(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const ask = "<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>" +
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	if _, err := conn.Write([]byte(ask)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for !bytes.Contains(got, []byte("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")) {
		var b [1]byte
		if _, err := conn.Read(b[:]); err != nil {
			t.Fatalf("%v after %s", err, got)
		}
		got = append(got, b[0])
	}
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}
