//go:build unix

package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/ns"
	"rollcall/internal/testkit"
	"rollcall/internal/xmlscan"
	"rollcall/server"
	"rollcall/storage"
)

const (
	benchProjects = 100
	benchMembers  = 50 // of each project
)

// BenchmarkLogin is a whole login, without a network: header, PLAIN, restart,
// binding, roster and first presence of a member of a project of 50, whose other
// members are not available. What is between two batches of logins is not counted.
// "keys" is with the keys of SCRAM instead of passwords in the store, so that each
// password is hashed.
func BenchmarkLogin(b *testing.B) {
	b.Run("passwords=plain", func(b *testing.B) { benchLogin(b, conf.PasswordsPlain) })
	b.Run("passwords=keys", func(b *testing.B) { benchLogin(b, conf.PasswordsSCRAM) })
}

func benchLogin(b *testing.B, passwords conf.Passwords) {
	a := benchApp(b, passwords)
	k := newKit(a)
	// Somebody of each project has asked for the roster, as in a house full of people.
	for p := range benchProjects {
		c := newPipe(a, k, benchUser(p, 0))
		c.login(b)
		c.say(b, rosterGet)
	}
	var batch []*pipe
	leave := func() {
		for _, c := range batch {
			turn := c.session.Begin()
			turn.Hangup()
			turn.End()
		}
		batch = batch[:0]
	}
	b.ReportAllocs()
	cpu, before := 0.0, testkit.CPUTime(b)
	b.ResetTimer()
	for i := range b.N {
		if len(batch) == benchProjects {
			b.StopTimer()
			cpu += testkit.CPUTime(b) - before
			leave()
			before = testkit.CPUTime(b)
			b.StartTimer()
		}
		c := newPipe(a, k, benchUser(i%benchProjects, 1+i/benchProjects%(benchMembers-1)))
		batch = append(batch, c)
		c.login(b)
		c.say(b, rosterGet)
		c.say(b, "<presence/>")
	}
	b.StopTimer()
	cpu += testkit.CPUTime(b) - before
	b.ReportMetric(cpu*1e6/float64(b.N), "cpu-us/op")
	last := batch[len(batch)-1]
	if !bytes.Contains(last.out, []byte("<presence ")) {
		b.Fatalf("no echo of the presence: %s", last.out)
	}
	last.say(b, rosterGet)
	if n := bytes.Count(last.out, []byte("<item ")); n != benchMembers-1 {
		b.Fatalf("%d items in the roster: %s", n, last.out)
	}
	leave()
}

func benchUser(project, member int) string { return fmt.Sprintf("u%06d", project*benchMembers+member) }

const rosterGet = "<iq type='get' id='r'><query xmlns='" + ns.Roster + "'/></iq>"

// benchApp starts everything but listeners, with users in projects.
func benchApp(b *testing.B, passwords conf.Passwords) *App {
	c := conf.Default()
	c.DataDir, c.Listen = b.TempDir(), conf.Listen{}
	c.Modules.Projects.Grace = 0
	c.Storage.SQLite.Passwords = passwords
	a, err := Start(b.Context(), Options{Config: c, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := a.Shutdown(ctx); err != nil {
			b.Error(err)
		}
	})
	credentials := storage.Credentials{Plain: "secret"}
	if passwords == conf.PasswordsSCRAM {
		if credentials, err = auth.NewCredentials("secret", c.Auth.SCRAMIterations); err != nil {
			b.Fatal(err)
		}
	}
	var records []storage.Record
	for p := range benchProjects {
		project := storage.ProjectRecord{Project: storage.Project{ID: fmt.Sprintf("p%04d", p), Name: "Project"}}
		for m := range benchMembers {
			id := benchUser(p, m)
			project.Members = append(project.Members, id)
			records = append(records, storage.Record{User: &storage.UserRecord{User: storage.User{ID: id, Name: "Some Body"}, Credentials: &credentials}})
		}
		records = append(records, storage.Record{Project: &project})
	}
	if err := a.Store().Import(b.Context(), records); err != nil {
		b.Fatal(err)
	}
	return a
}

// pipe is a connection without a network: a server.Transport that remembers what
// the last turn sent, in a buffer that all pipes share as they do the rest.
type pipe struct {
	*kit
	session *server.Session
	auth    string
}

// kit is what a benchmark's only goroutine reuses.
type kit struct {
	host string
	out  []byte
	in   []byte
	scan *xmlscan.Scanner
	el   xmlscan.Element
}

func newKit(a *App) *kit {
	k := &kit{host: a.o.Config.Hosts[0]}
	k.scan = xmlscan.New(xmlscan.Limits{Bytes: 1 << 16, Depth: 100, Attrs: 100})
	k.scan.Scope([]xmlscan.Attr{
		{Name: []byte("xmlns"), Value: []byte(ns.Client), Quote: '\''},
		{Name: []byte("xmlns:stream"), Value: []byte(ns.Stream), Quote: '\''},
	})
	return k
}

var benchListener = server.Listener{PlainWithoutTLS: true, AdvertiseSession: true}

func newPipe(a *App, k *kit, user string) *pipe {
	c := &pipe{kit: k}
	c.auth = "<auth xmlns='" + ns.SASL + "' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00secret")) + "</auth>"
	c.session = a.Server().NewSession(c, &benchListener)
	return c
}

func (c *pipe) login(b *testing.B) {
	for _, el := range []string{c.auth, "<iq type='set' id='b'><bind xmlns='" + ns.Bind + "'><resource>web</resource></bind></iq>"} {
		turn := c.session.Begin()
		turn.Open(server.StreamHeader{To: c.host, Version: "1.0"})
		turn.End()
		c.say(b, el)
	}
	if !c.session.JID().IsFull() {
		b.Fatalf("no login: %s", c.out)
	}
}

// say brings an element in a turn of its own.
func (c *pipe) say(b *testing.B, text string) {
	c.in = append(c.in[:0], text...)
	if _, err := c.scan.Next(c.in, &c.el); err != nil {
		b.Fatal(err)
	}
	c.out = c.out[:0]
	turn := c.session.Begin()
	turn.Element(&c.el)
	turn.End()
}

func (c *pipe) Info() server.Info { return server.Info{Kind: "pipe", Remote: "pipe"} }

func (c *pipe) Open(server.StreamHeader) {}

func (c *pipe) Write(el []byte) error {
	c.out = append(c.out, el...)
	return nil
}

func (c *pipe) Flush() {}

func (c *pipe) Close(server.Close) {}
