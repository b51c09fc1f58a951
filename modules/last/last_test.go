package last_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/servertest"
	"rollcall/internal/xmlscan"
	"rollcall/modules/last"
	"rollcall/modules/projects"
	"rollcall/server"
	"rollcall/storage/memory"
)

const (
	query     = "<query xmlns='jabber:iq:last'/>"
	forbidden = "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
)

// world is alice, bob and carol in one project, dave in none.
func world() *servertest.Directory {
	return servertest.NewDirectory().AddUser("alice", "").AddUser("bob", "").AddUser("carol", "").AddUser("dave", "").
		AddProject("p", "Apollo", "alice", "bob", "carol")
}

func start(t *testing.T, dir *servertest.Directory, docs *servertest.Documents, log *bytes.Buffer) *servertest.Server {
	t.Helper()
	o := servertest.Options{Directory: dir, Hosts: []string{"example.com", "example.org"}, Modules: []server.Module{
		last.New(last.Options{Documents: docs, Owners: dir}),
		projects.New(projects.Options{ServiceHost: "wtmuc.@HOST@", Directory: dir, Presence: memory.NewPresence()}),
	}}
	if log != nil {
		o.Log = slog.New(slog.NewTextHandler(log, nil))
	}
	return servertest.New(t, o)
}

// asked compares the answer to a query; want is its child.
func asked(t *testing.T, c *servertest.Client, to, want string) {
	t.Helper()
	typ, from := "result", to
	if strings.HasPrefix(want, "<error") {
		typ = "error"
	}
	if from == "" {
		from = c.JID.Bare().String()
	}
	c.Match("<iq type='"+typ+"' from='"+from+"' to='"+c.JID.String()+"' id='{any}'>"+want+"</iq>", c.Ask("get", to, query))
}

func seconds(n int, status string) string {
	return fmt.Sprintf("<query xmlns='jabber:iq:last' seconds='%d'>%s</query>", n, status)
}

func TestServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := start(t, world(), servertest.NewDocuments(), nil).Login("alice/web")
		time.Sleep(90 * time.Second)
		asked(t, alice, "example.com", seconds(90, ""))
		asked(t, alice, "", seconds(0, ""))
		asked(t, alice, "alice@example.com", seconds(0, ""))
		for _, to := range []string{"example.com", "", "bob@example.com"} {
			if alice.Ask("set", to, query).FindElement("./error/service-unavailable") == nil {
				t.Errorf("a set to %q", to)
			}
		}
	})
}

// TestUsers: who is gone, for how long and with which words (section 3).
func TestUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, world(), servertest.NewDocuments(), nil)
		alice, dave := s.Login("alice/web"), s.Login("dave/web")
		asked(t, alice, "bob@example.com", "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error>")
		bob, phone := s.Login("bob/web"), s.Login("bob/phone")
		asked(t, alice, "bob@example.com", seconds(0, "")) // connected, if not available
		bob.Send("<presence/><presence type='unavailable'><status>Early</status></presence><presence/>")
		phone.Send("<presence/>")
		bob.Send("<presence type='unavailable'><status xml:lang='en'>Heading &lt; Home</status><status xml:lang='de'>x</status></presence>")
		phone.Drop()
		time.Sleep(time.Minute)
		asked(t, alice, "bob@example.com", seconds(0, ""))
		bob.Hangup()
		time.Sleep(time.Second)
		asked(t, alice, "bob@example.com", seconds(1, "Heading &lt; Home")) // not stored yet
		time.Sleep(902 * time.Second)
		asked(t, alice, "bob@example.com", seconds(903, "Heading &lt; Home"))
		for _, to := range []string{"bob@example.com", "alice@example.com", "nobody@example.com", "alice@example.org"} {
			asked(t, dave, to, forbidden)
		}
		asked(t, alice, "dave@example.com", forbidden)
		// Who comes back without a word, and leaves without one.
		bob = s.Login("bob/web")
		bob.Send("<presence/><presence type='unavailable'><status>Again</status></presence><presence/>")
		bob.Drop()
		time.Sleep(10 * time.Second)
		asked(t, alice, "bob@example.com", seconds(10, ""))
	})
}

// TestFullAddress: the client answers, to who may ask (section 4).
func TestFullAddress(t *testing.T) {
	s := start(t, world(), servertest.NewDocuments(), nil)
	alice, bob, dave := s.Login("alice/web"), s.Login("bob/web"), s.Login("dave/web")
	asked(t, dave, alice.JID.String(), forbidden)
	dave.Send("<iq type='result' id='1' to='alice@example.com/web'>" + query + "</iq>")
	alice.Expect("<iq type='result' id='1' from='{dave}' to='{alice}'>" + query + "</iq>")
	bob.Send("<iq type='get' id='2' to='alice@example.com/web'>" + query + "</iq>")
	alice.Expect("<iq type='get' id='2' from='{bob}' to='{alice}'>" + query + "</iq>")
	alice.Send("<iq type='get' id='3' to='alice@example.com/web'>" + query + "</iq>")
	alice.Expect("<iq type='get' id='3' from='{alice}' to='{alice}'>" + query + "</iq>")
	alice.ExpectNothing()
}

// gateway answers for another host, and notes what it gets.
type gateway struct {
	host *server.Host
	got  []string
}

func (*gateway) Name() string { return "gateway" }

func (g *gateway) Start(h *server.Host) error {
	g.host = h
	return h.ServeForeign("gate.example.com", g)
}

func (g *gateway) Receive(_ *server.Batch, el []byte) bool {
	g.got = append(g.got, string(el))
	return true
}

// TestForeign: components are nobody who may see anybody's presence.
func TestForeign(t *testing.T) {
	s, g := start(t, world(), servertest.NewDocuments(), nil), new(gateway)
	if err := s.Start(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	alice := s.Login("alice/web")
	for i, name := range []string{"jabber:iq:last", "urn:x"} {
		var scan xmlscan.Scanner
		scan.SetLimits(xmlscan.Limits{Bytes: 1000, Depth: 10, Attrs: 10})
		var el xmlscan.Element
		if _, err := scan.Next([]byte("<iq xmlns='jabber:client' type='get' id='1'><query xmlns='"+name+"'/></iq>"), &el); err != nil {
			t.Fatal(err)
		}
		from, err := jid.Parse("gate.example.com")
		if err != nil {
			t.Fatal(err)
		}
		b := g.host.NewBatch()
		g.host.Route(b, server.IQStanza, &el, from, alice.JID)
		b.Flush()
		if i == 0 {
			alice.ExpectNothing()
			if len(g.got) != 1 || !strings.Contains(g.got[0], "<forbidden") {
				t.Errorf("the component got %q", g.got)
			}
		} else {
			alice.Next()
		}
	}
}

// What is known lasts, at each virtual host, until the user is removed.
func TestStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, docs := world(), servertest.NewDocuments()
		first := start(t, dir, docs, nil)
		for _, address := range []string{"bob/web", "bob@example.org/web"} {
			c := first.Login(address)
			c.Send("<presence/><presence type='unavailable'><status>" + strings.Repeat("ä", 600) + "</status></presence>")
		}
		first.Stop() // at once
		time.Sleep(time.Hour)
		s := start(t, dir, docs, nil)
		for _, host := range []string{"example.com", "example.org"} {
			alice := s.Login("alice@" + host + "/web")
			asked(t, alice, "bob@"+host, seconds(3600, strings.Repeat("ä", 512)))
		}
		dir.RemoveUser("bob")
		for _, key := range []string{"bob", "bob@example.org"} {
			if data, err := docs.Document(t.Context(), key, "last"); err == nil {
				t.Errorf("left of %s: %s", key, data)
			}
		}
		carol := s.Login("carol/web")
		dir.RemoveUser("carol")
		carol.ExpectClosed(server.ReasonUserRemoved)
		time.Sleep(time.Minute)
		if data, err := docs.Document(t.Context(), "carol", "last"); err == nil {
			t.Errorf("left of carol: %s", data)
		}
	})
}

// A store that is down for a while loses nothing.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, docs := world(), servertest.NewDocuments()
		var log bytes.Buffer
		s := start(t, dir, docs, &log)
		alice := s.Login("alice/web")
		docs.Fail(errors.New("the store is broken"))
		s.Login("bob/web").Hangup()
		time.Sleep(time.Minute)
		asked(t, alice, "bob@example.com", seconds(60, ""))
		if alice.Ask("get", "carol@example.com", query).FindElement("./error/internal-server-error") == nil {
			t.Error("no error about somebody of whom nothing can be known")
		}
		docs.Fail(nil)
		time.Sleep(time.Minute)
		if _, err := docs.Document(t.Context(), "bob", "last"); err != nil {
			t.Error(err)
		}
		docs.Fail(errors.New("the store is broken"))
		s.Login("carol/web").Hangup()
		s.Stop()
		if !strings.Contains(log.String(), "are not stored") {
			t.Errorf("log: %s", log.String())
		}
	})
}

func TestValidate(t *testing.T) {
	if err := last.New(last.Options{}).Validate(); err == nil {
		t.Error("without a store")
	}
}
