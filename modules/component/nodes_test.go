package component

import (
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"rollcall/internal/servertest"
	"rollcall/internal/xmlscan"
	"rollcall/server"
	"rollcall/storage/memory"
)

// beginNode starts a node with the components echo and bot, and alice.
func beginNode(t *testing.T, hub *memory.Hub, name string, change ...func(*servertest.Options)) (*servertest.Server, *Module) {
	t.Helper()
	m := New(Options{
		Components:    []Component{{Name: "echo.example.com", Secret: "0123456789"}, {Name: "bot.example.com", Secret: "9876543210"}},
		HandshakeTime: 10 * time.Second, OutboxBytes: 1 << 20, Element: xmlscan.Limits{Bytes: 20000, Depth: 20, Attrs: 20},
	})
	o := servertest.Options{Directory: servertest.NewDirectory().AddUser("alice", ""), Modules: []server.Module{m}, Bus: hub.Bus(name)}
	for _, f := range change {
		f(&o)
	}
	return servertest.New(t, o), m
}

// NodesOf lists the other nodes that the component is connected to, as far as the module
// knows.
func (m *Module) NodesOf(name string) []string {
	c := m.components[name]
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.there)
}

// await waits until the module knows that the component is at a node.
func await(t *testing.T, m *Module, name, node string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !slices.Contains(m.NodesOf(name), node); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not known to be at %s", name, node)
		}
	}
}

// TestAtOnce: a component leaves and comes at the same instant, and other nodes know that
// it is there.
func TestAtOnce(t *testing.T) {
	hub := memory.NewHub()
	_, here := beginNode(t, hub, "here")
	_, there := beginNode(t, hub, "there")
	echo, bot := here.components["echo.example.com"], here.components["bot.example.com"]
	for range 300 {
		old, young, mark := new(conn), new(conn), new(conn)
		echo.enter(old)
		var both sync.WaitGroup
		both.Go(func() { echo.leave(old) })
		for taken := true; taken; runtime.Gosched() {
			echo.mu.Lock()
			taken = echo.at != nil
			echo.mu.Unlock()
		}
		echo.enter(young)
		both.Wait()
		bot.enter(mark)
		await(t, there, "bot.example.com", "here") // what was told before is known
		if !slices.Contains(there.NodesOf("echo.example.com"), "here") {
			t.Fatal("the component is connected, and the other node does not know")
		}
		echo.leave(young)
		bot.leave(mark)
		for slices.Contains(there.NodesOf("bot.example.com"), "here") {
			runtime.Gosched()
		}
	}
}

// TestTwoNodes: of two nodes that have the component, one loses it.
func TestTwoNodes(t *testing.T) {
	hub := memory.NewHub()
	_, first := beginNode(t, hub, "first")
	_, second := beginNode(t, hub, "second")
	_, third := beginNode(t, hub, "third")
	const name = "echo.example.com"
	one, two := new(conn), new(conn)
	first.components[name].enter(one)
	await(t, third, name, "first")
	second.components[name].enter(two)
	await(t, third, name, "second")
	second.components[name].leave(two)
	for slices.Contains(third.NodesOf(name), "second") {
		runtime.Gosched()
	}
	if got := third.NodesOf(name); !slices.Equal(got, []string{"first"}) {
		t.Errorf("the component is at %q", got)
	}
	first.components[name].leave(one)
}

// TestTooLate: what another node sends to a component that has just left comes back to
// who wrote it.
func TestTooLate(t *testing.T) {
	s, m := beginNode(t, memory.NewHub(), "here")
	alice := s.Online("alice/web")
	const from = " from='alice@example.com/web' to='x@echo.example.com' id='1'"
	for _, tt := range []struct{ el, want string }{
		{"<message xmlns='jabber:client'" + from + "><body>a &lt; b</body></message>", "message"},
		{"<message xmlns='jabber:client' type='error'" + from + "/>", ""},
		{"<iq xmlns='jabber:client' type='get'" + from + "><q xmlns='urn:q'/></iq>", "iq"},
		{"<iq xmlns='jabber:client' type='result'" + from + "/>", ""},
		{"<presence xmlns='jabber:client'" + from + "/>", "presence"},
		{"<presence xmlns='jabber:client' type='unavailable'" + from + "/>", ""},
		{"nonsense", ""},
	} {
		b := m.host.NewBatch()
		m.Told(b, "there", m.components["echo.example.com"].item(itemStanza, []byte(tt.el)))
		b.Flush()
		if tt.want != "" {
			alice.Expect("<" + tt.want + " type='error' from='x@echo.example.com' to='{alice}' id='1'><error type='cancel'>" +
				"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></" + tt.want + ">")
		}
		alice.ExpectNothing()
	}
}

// TestNodeDies: what a node never got that has died, or has no room for, is answered for
// here.
func TestNodeDies(t *testing.T) {
	hub := memory.NewHub()
	s, here := beginNode(t, hub, "here")
	_, there := beginNode(t, hub, "there")
	const name = "echo.example.com"
	at := new(conn)
	there.components[name].enter(at)
	await(t, here, name, "there")
	alice := s.Online("alice/web")
	hub.Kill("there")
	for _, tt := range []struct{ el, want string }{
		{"<message to='x@echo.example.com' id='1'><body>a &lt; b</body></message>", "message"},
		{"<message type='error' to='x@echo.example.com' id='1'/>", ""},
		{"<iq type='get' to='x@echo.example.com' id='1'><q xmlns='urn:q'/></iq>", "iq"},
		{"<presence to='x@echo.example.com' id='1'/>", "presence"},
	} {
		alice.Send(tt.el)
		if tt.want != "" {
			alice.Expect("<" + tt.want + " type='error' from='x@echo.example.com' to='{alice}' id='1'><error type='cancel'>" +
				"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>...</error></" + tt.want + ">")
		}
	}
	b := here.host.NewBatch()
	if here.components[name].Receive(b, make([]byte, 32<<20)) {
		t.Error("a node without room for it takes a stanza")
	}
	b.Flush()
	alice.ExpectNothing()
	there.components[name].leave(at)
}
