package server_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"rollcall/internal/jid"
	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage/memory"
)

// What a connection was given and never took goes to the user's resources at other
// nodes, once each, or back to a sender at another node.
func TestUndeliveredBetweenNodes(t *testing.T) {
	nodes := nodesOf(t, memory.NewHub(), servertest.Options{}, "a", "b")
	marker := nodes[0].Login("bob/marker")
	bob := nodes[1].Online("bob/x")
	web, early := nodes[0].Online("alice/web"), nodes[1].Login("alice/early")
	early.Send("<presence/>")
	meet(t, bob, web, early)
	bob.Send("<message to='alice@example.com' id='1'/>")
	early.Expect("<message from='{bob}' to='alice@example.com' id='1'/>")
	web.Expect("<message from='{bob}' to='alice@example.com' id='1'/>")
	late := nodes[1].Login("alice/late")
	late.Send("<presence/>")
	meet(t, bob, web, early, late)
	bob.Send("<message to='alice@example.com' id='2'/>")
	for _, c := range []*servertest.Client{web, early, late} {
		c.Expect("<message from='{bob}' to='alice@example.com' id='2'/>")
	}
	web.Drop()
	meet(t, marker, bob, early, late)
	web.Session().Undelivered(written(
		stanzaFrom("message", "bob@example.com/x", "alice@example.com", "id='1'/>"),
		stanzaFrom("message", "bob@example.com/x", "alice@example.com/web", "id='3'/>"),
		stanzaFrom("message", "bob@example.com/x", "alice@example.com/web", "type='chat' id='chat'/>"),
		stanzaFrom("message", "bob@example.com/x", "alice@example.com", "id='2'/>"),
		stanzaFrom("iq", "bob@example.com/x", "alice@example.com/web", "type='get' id='4'><x xmlns='y'/></iq>"),
	))
	bob.Expect("<message type='error' id='3' from='alice@example.com/web' to='{bob}'>" + bounce + "</message>")
	bob.Expect("<iq type='error' id='4' from='alice@example.com/web' to='{bob}'>" + bounce + "</iq>")
	late.Expect("<message from='{bob}' to='alice@example.com' id='1'/>")
	for _, c := range []*servertest.Client{late, early} {
		c.Expect("<message type='chat' from='{bob}' to='alice@example.com/web' id='chat'/>")
		c.ExpectNothing()
	}
}

// A message that one resource has is not sent back because another, which was to get it
// late, is gone.
func TestUndeliveredToGoneResource(t *testing.T) {
	hub := memory.NewHub()
	nodes := nodesOf(t, hub, servertest.Options{}, "a", "b")
	marker := nodes[0].Login("bob/marker")
	bob := nodes[1].Online("bob/x")
	web, early := nodes[0].Online("alice/web"), nodes[1].Login("alice/early")
	early.Send("<presence/>")
	meet(t, bob, web, early)
	bob.Send("<message to='alice@example.com' id='1'/>")
	early.Expect("<message from='{bob}' to='alice@example.com' id='1'/>")
	web.Expect("<message from='{bob}' to='alice@example.com' id='1'/>")
	late := nodes[1].Login("alice/late")
	late.Send("<presence/>")
	meet(t, marker, bob, web, early, late)
	web.Drop()
	meet(t, marker, bob, early, late)
	hub.Fail(func(from, _ string, _ []byte) memory.Fault {
		if from == "b" {
			return memory.Lost
		}
		return memory.Fine
	})
	late.Drop()
	early.Expect("<presence type='unavailable' from='{alice/late}' to='{alice/early}'/>")
	web.Session().Undelivered(written(stanzaFrom("message", "bob@example.com/x", "alice@example.com", "id='1'/>")))
	marker.Send("<message to='bob@example.com/x' id='after'/>")
	bob.Expect("<message from='{bob/marker}' to='{bob/x}' id='after'/>")
	early.ExpectNothing()
}

// A message to many crosses once per node.
func TestSendEachBetweenNodes(t *testing.T) {
	hub := memory.NewHub()
	m := &module{name: "each", start: func(h *server.Host) error {
		return h.Serve("each.example.com", each{})
	}}
	nodes := nodesOf(t, hub, servertest.Options{}, "b", "c")
	second, third := nodes[0], nodes[1]
	first := servertest.New(t, servertest.Options{Directory: second.Directory, Bus: hub.Bus("a"), Beside: second, Modules: []server.Module{m}})
	alice, bob := first.Online("alice/web"), second.Online("bob/web")
	phone, silent := second.Login("bob/phone"), third.Login("bob/silent")
	phone.Send("<presence/>")
	meet(t, alice, bob, phone, silent)
	var crossed []string
	hub.Fail(func(from, to string, data []byte) memory.Fault {
		crossed = append(crossed, from+to)
		return memory.Fine
	})
	alice.Send("<message type='groupchat' to='each.example.com' id='1'><body>hi &amp; bye</body></message>")
	alice.Expect("<message type='groupchat' from='each.example.com' to='alice@example.com' id='1'><body>hi &amp; bye</body></message>")
	for _, c := range []*servertest.Client{bob, phone} {
		c.Expect("<message type='groupchat' from='each.example.com' to='bob@example.com' id='1'><body>hi &amp; bye</body></message>")
	}
	silent.ExpectNothing()
	if got := strings.Join(crossed, " "); got != "ab" {
		t.Errorf("messages crossed %s, want ab", got)
	}
}

// each is a host that sends what it gets to alice and bob.
type each struct{ server.Service }

func (each) ServeMessage(_ context.Context, st *server.Stanza) {
	var users []jid.JID
	for _, name := range []string{"alice", "bob"} {
		user, err := jid.New(name, "example.com", "")
		if err != nil {
			panic(err)
		}
		users = append(users, user)
	}
	st.Batch.SendEach(users, st.Fanout(st.To, st.Element.Inner))
}

// BenchmarkMessageBetweenNodes is a chat message between two nodes in one process: the
// time is that of both.
func BenchmarkMessageBetweenNodes(b *testing.B) {
	hub := memory.NewHub()
	quiet := slog.New(slog.DiscardHandler)
	one := servertest.New(b, servertest.Options{Directory: people(), Bus: hub.Bus("a"), Log: quiet})
	two := servertest.New(b, servertest.Options{Directory: one.Directory, Bus: hub.Bus("b"), Beside: one, Log: quiet})
	alice, bob := one.Online("alice/web"), two.Online("bob/web")
	for {
		alice.Send("<message to='bob@example.com/web' id='there'/>")
		if len(bob.Drain()) > 0 {
			break
		}
	}
	bob.Discard()
	message := "<message type='chat' to='bob@example.com/web' id='1'><body>" + strings.Repeat("x", 200) + "</body></message>"
	b.ReportAllocs()
	for b.Loop() {
		alice.Send(message)
	}
}
