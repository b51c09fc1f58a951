package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"rollcall/conf"
	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage/memory"
)

// long is a module with an answer that is longer than what is kept for a client.
type long struct{ size int }

func (*long) Name() string { return "long" }

func (m *long) Start(h *server.Host) error {
	return h.HandleIQ(server.ToServer, "urn:long", "x", func(context.Context, *server.IQ) (server.Payload, error) {
		return server.Raw("<x xmlns='urn:long'>" + strings.Repeat("x", m.size) + "</x>"), nil
	})
}

// Whoever comes into a project of thousands is told of more at once than is kept. It is
// acknowledged as ever, and the stream can be resumed after that.
func TestMoreThanIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := conf.Default().StreamManagement
		options.Queue = 20
		s := servertest.New(t, servertest.Options{
			Directory: people(), StreamManagement: &options, Modules: []server.Module{&long{2 << 20}},
		})
		alice := s.Online("alice/web")
		p := call(s, "bob/phone")
		for range 3 {
			p.Send("<iq type='get' to='example.com' id='long'><x xmlns='urn:long'/></iq>")
		}
		for i := range 100 {
			alice.Send(fmt.Sprintf("<presence to='%s'><priority>%d</priority></presence>", p.JID, i))
			if i%20 == 0 {
				alice.Send(say(p.JID, fmt.Sprint(i)))
			}
		}
		synctest.Wait()
		p.Expect("<iq type='result' from='example.com' to='" + p.JID.String() + "' id='long'>...</iq>")
		p.Expect("<r " + sm + "/>")
		if n := len(p.Drain()); n != 2+100+5 {
			t.Errorf("%d elements came", n)
		}
		p.ack(1 + 3 + 30)
		alice.Send(say(p.JID, "last"))
		synctest.Wait()
		p.ExpectAnyOrder("<r "+sm+"/>", got("last"))
		p.ack(1 + 3 + 100 + 5)
		p.Drop()
		p = p.again(4, 1+3+100+5)
		p.Expect(got("last"))
		p.Expect("<r " + sm + "/>")
		p.ack(1 + 3 + 100 + 6)

		for i := range 21 {
			alice.Send(say(p.JID, fmt.Sprint(i)))
		}
		synctest.Wait()
		p.ExpectClosed(server.ReasonSlowReader)
	})
}

// A client that is lost before it has acknowledged what is not kept begins anew, and what
// matters is not lost with its stream.
func TestResumptionOfLess(t *testing.T) {
	for name, at := range map[string]int{"here": 0, "elsewhere": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				options := conf.Default().StreamManagement
				options.Queue = 20
				nodes := nodesOf(t, memory.NewHub(), servertest.Options{StreamManagement: &options}, "a", "b")
				alice := nodes[0].Online("alice/web")
				p := call(nodes[0], "bob/phone")
				alice.Send(say(p.JID, "1"))
				for i := range 100 {
					alice.Send(fmt.Sprintf("<presence to='%s'><priority>%d</priority></presence>", p.JID, i))
				}
				synctest.Wait()
				p.Drop()
				n := arrive(nodes[at], "bob")
				n.Send(fmt.Sprintf("<resume %s h='1' previd='%s'/>", sm, p.id))
				synctest.Wait()
				n.Expect("<failed " + sm + " h='1'><item-not-found xmlns='" + stanzas + "'/></failed>")
				synctest.Wait()
				alice.Expect("<message type='error' id='1'>...</message>")
				n.Bind("phone")
				if sum := nodes[0].Metric("rollcall_detached_sessions"); sum != 0 {
					t.Errorf("%v sessions wait", sum)
				}
			})
		})
	}
}
