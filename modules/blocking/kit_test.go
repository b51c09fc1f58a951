package blocking_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/servertest"
	"rollcall/internal/xmlscan"
	"rollcall/modules/blocking"
	"rollcall/modules/projects"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
)

const (
	stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"
	list    = "<blocklist xmlns='urn:xmpp:blocking'/>"
	// refused is what somebody is told who writes to whom they block.
	refused = "<error type='cancel'><not-acceptable xmlns='" + stanzas + "'/><blocked xmlns='urn:xmpp:blocking:errors'/></error>"
	unheard = "<error type='cancel'><service-unavailable xmlns='" + stanzas + "'/></error>"
)

// world is alice, bob and carol in one project, dave in none.
func world() *servertest.Directory {
	return servertest.NewDirectory().AddUser("alice", "").AddUser("bob", "").AddUser("carol", "").AddUser("dave", "").
		AddProject("p", "Apollo", "alice", "bob", "carol")
}

func modules(dir *servertest.Directory, docs storage.Documents, presence storage.Presence, contacts int) []server.Module {
	return []server.Module{
		blocking.New(blocking.Options{Contacts: contacts, Documents: docs, Owners: dir}),
		projects.New(projects.Options{ServiceHost: "wtmuc.@HOST@", Directory: dir, Presence: presence}),
	}
}

func start(t *testing.T, docs storage.Documents) *servertest.Server {
	t.Helper()
	dir := world()
	return servertest.New(t, servertest.Options{Directory: dir, Modules: modules(dir, docs, memory.NewPresence(), 10)})
}

func online(s *servertest.Server, addresses ...string) (clients []*servertest.Client) {
	for _, a := range addresses {
		c := s.Login(a)
		c.Send("<presence/>")
		clients = append(clients, c)
	}
	drain(clients...)
	return clients
}

func drain(clients ...*servertest.Client) {
	for _, c := range clients {
		c.Drain()
	}
}

func nothing(t *testing.T, clients ...*servertest.Client) {
	t.Helper()
	for _, c := range clients {
		c.ExpectNothing()
	}
}

func items(name string, addresses ...string) string {
	if len(addresses) == 0 {
		return "<" + name + " xmlns='urn:xmpp:blocking'/>"
	}
	return "<" + name + " xmlns='urn:xmpp:blocking'><item jid='" + strings.Join(addresses, "'/><item jid='") + "'/></" + name + ">"
}

// set sends a block or unblock and takes its result, empty as it must be.
func set(t *testing.T, c *servertest.Client, name string, addresses ...string) {
	t.Helper()
	c.Match("<iq type='result' id='{any}' from='"+c.JID.Bare().String()+"' to='"+c.JID.String()+"'/>", c.Ask("set", "", items(name, addresses...)))
}

// listed compares the list and makes the client interested in it.
func listed(t *testing.T, c *servertest.Client, addresses ...string) {
	t.Helper()
	c.Match("<iq type='result' id='{any}' from='"+c.JID.Bare().String()+"' to='"+c.JID.String()+"'>"+items("blocklist", addresses...)+"</iq>", c.Ask("get", "", list))
}

func push(c *servertest.Client, name string, addresses ...string) string {
	return "<iq type='set' id='{any}' from='" + c.JID.Bare().String() + "' to='" + c.JID.String() + "'>" + items(name, addresses...) + "</iq>"
}

func gone(from, to *servertest.Client) string {
	return fmt.Sprintf("<presence from='%s' to='%s' type='unavailable'>...</presence>", from.JID, to.JID)
}

func there(from, to *servertest.Client) string {
	return fmt.Sprintf("<presence from='%s' to='%s'>...</presence>", from.JID, to.JID)
}

// meet returns when messages get from each of two clients to the other: what their nodes
// posted before has arrived then, too.
func meet(t *testing.T, a, b *servertest.Client) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for try := 0; !reaches(t, a, b, fmt.Sprint("there ", try)) || !reaches(t, b, a, fmt.Sprint("back ", try)); try++ {
		if time.Now().After(deadline) {
			t.Fatalf("%s and %s do not meet", a, b)
		}
	}
}

// reaches reports whether a message arrives, or comes back; it takes what else the two
// are sent.
func reaches(t *testing.T, a, b *servertest.Client, id string) bool {
	t.Helper()
	has := func(c *servertest.Client) bool {
		return slices.ContainsFunc(c.Drain(), func(el *etree.Element) bool { return el.SelectAttrValue("id", "") == id })
	}
	a.Send("<message to='" + b.JID.String() + "' id='" + id + "'/>")
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if has(b) {
			return true
		}
		if has(a) {
			return false
		}
	}
	t.Fatalf("a message from %s to %s is lost", a, b)
	return false
}

// element reads one element.
func element(t *testing.T, text string) *xmlscan.Element {
	t.Helper()
	el := new(xmlscan.Element)
	scan := xmlscan.New(xmlscan.Limits{Bytes: 1000, Depth: 10, Attrs: 10})
	scan.Scope(nil)
	if _, err := scan.Next([]byte(text), el); err != nil {
		t.Fatal(err)
	}
	return el
}
