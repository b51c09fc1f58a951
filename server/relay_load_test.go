package server_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
)

// Much of what was not acknowledged is sent again; a client that reads nothing loses its
// session like any other.
func TestMuchToRelay(t *testing.T) {
	roaming3(t, servertest.Options{}, func(t *testing.T, r *roaming) {
		r.Drop()
		const messages = 60
		long := strings.Repeat("x", 10_000)
		for i := range messages {
			r.alice.Send(fmt.Sprintf("<message to='%s' id='%d' type='chat'><body>%s</body></message>", r.JID, i, long))
		}
		synctest.Wait()
		p := r.at(r.nodes[1], 1, 1)
		synctest.Wait()
		for i := range messages {
			p.Expect(got(fmt.Sprint(i)))
		}
		p.Expect("<r " + sm + "/>")
		p.ack(1 + messages)
		// And the other way.
		for i := range messages {
			p.Send(fmt.Sprintf("<message to='%s' id='%d' type='chat'><body>%s</body></message>", r.alice.JID, i, long))
		}
		p.Send("<r " + sm + "/>")
		synctest.Wait()
		for i := range messages {
			r.alice.Expect(got(fmt.Sprint(i)))
		}
		p.Expect(fmt.Sprintf("<a %s h='%d'/>", sm, 1+messages))
		p.Stall()
		r.alice.Send(say(p.JID, "x"))
		synctest.Wait()
		p.ExpectClosed(server.ReasonSlowReader)
		r.alice.Expect("<message type='error' id='x'>...</message>")
	})
}

// stuck is a module that answers when it is told to go on.
type stuck struct {
	goOn  chan struct{}
	taken atomic.Int64
}

func (*stuck) Name() string { return "stuck" }

func (m *stuck) Start(h *server.Host) error {
	return h.HandleIQ(server.ToServer, "urn:stuck", "x", func(context.Context, *server.IQ) (server.Payload, error) {
		<-m.goOn
		m.taken.Add(1)
		return nil, nil
	})
}

// Only so much is on its way to a session that is busy; what its client says next waits
// where the client is.
func TestRelayIsBounded(t *testing.T) {
	request := func(id int) string {
		return fmt.Sprintf("<iq type='set' to='example.com' id='%d'><x xmlns='urn:stuck'>%s</x></iq>", id, strings.Repeat("x", 10_000))
	}
	for _, end := range []string{"goes on", "client's node stops", "session's node is dead"} {
		t.Run(end, func(t *testing.T) {
			m := new(stuck)
			roaming3(t, servertest.Options{Modules: []server.Module{m}}, func(t *testing.T, r *roaming) {
				m.goOn = make(chan struct{})
				var said atomic.Int64
				done := make(chan struct{})
				go func() {
					defer close(done)
					for i := range 50 {
						r.Send(request(i))
						said.Add(1)
					}
				}()
				synctest.Wait()
				// The first is being taken; of the others, 64 KiB and what goes beyond it.
				if n := said.Load(); n < 7 || n > 12 {
					t.Errorf("%d requests were passed on", n)
				}
				switch end {
				case "goes on":
					close(m.goOn)
					<-done
					synctest.Wait()
					if n := m.taken.Load(); n != 50 {
						t.Errorf("%d requests were taken", n)
					}
					return
				case "client's node stops":
					r.nodes[1].Stop()
				default:
					r.hub.Kill("a")
					r.hub.Expire("a")
				}
				<-done
				close(m.goOn)
				synctest.Wait()
				if !r.Closed() {
					t.Error("the client is still there")
				}
			})
		})
	}
}

// A session that ends while its client's node does not take what is on its way ends there
// in any case.
func TestRelayEndsInTime(t *testing.T) {
	roaming3(t, servertest.Options{}, func(t *testing.T, r *roaming) {
		r.lose("b", "a", memory.Lost)
		long := strings.Repeat("x", 10_000)
		for i := range 50 {
			r.alice.Send(fmt.Sprintf("<message to='%s' id='%d' type='chat'><body>%s</body></message>", r.JID, i, long))
		}
		synctest.Wait()
		if n := len(r.Drain()); n < 7 || n > 12 {
			t.Errorf("%d elements arrived", n)
		}
		r.nodes[0].KickUser(r.JID.Bare(), server.Close{Reason: server.ReasonEnded})
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if r.Closed() {
			t.Error("closed at once")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.ExpectClosed(server.ReasonEnded)
	})
}

// A node that is dead is not waited for by a client that ends its stream.
func TestHangupUnanswered(t *testing.T) {
	roaming3(t, servertest.Options{}, func(t *testing.T, r *roaming) {
		r.lose("a", "b", memory.Lost)
		r.Hangup()
		r.Send(say(r.alice.JID, "too late"))
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if r.Closed() {
			t.Error("closed at once")
		}
		time.Sleep(2 * time.Second)
		r.ExpectClosed(server.ReasonClient)
		r.alice.ExpectNothing()
	})
}

// gated is a Bus that waits before each message while its gate is shut.
type gated struct {
	storage.Bus
	mu   sync.Mutex
	gate chan struct{}
}

func (g *gated) shut() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gate := make(chan struct{})
	g.gate = gate
	return func() { close(gate) }
}

func (g *gated) Publish(ctx context.Context, node string, data []byte) error {
	g.mu.Lock()
	gate := g.gate
	g.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return g.Bus.Publish(ctx, node, data)
}

// While very much waits for a node, relays wait rather than have something lost.
func TestRelayGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := memory.NewHub()
		ga, gb := &gated{Bus: hub.Bus("a")}, &gated{Bus: hub.Bus("b")}
		a := servertest.New(t, servertest.Options{Directory: people(), Bus: ga})
		b := servertest.New(t, servertest.Options{Directory: people(), Bus: gb, Beside: a})
		here, there := a.Login("alice/a"), b.Login("alice/b")
		p := call(a, "bob/phone")
		p.Drop()
		p = p.at(b, 1, 1)
		synctest.Wait()
		crowd := func(from, to *servertest.Client) {
			for range 50 {
				from.Send("<message to='" + to.JID.String() + "'><body>" + strings.Repeat("x", 100_000) + "</body></message>")
				synctest.Wait() // the first is at the gate
			}
		}
		open := ga.shut()
		crowd(here, there)
		here.Send(say(p.JID, "1"))
		synctest.Wait()
		time.Sleep(3 * time.Second)
		open()
		time.Sleep(time.Second)
		p.Expect(got("1"))
		p.Expect("<r " + sm + "/>")
		p.ack(2)

		there.Drain()
		open = gb.shut()
		crowd(there, here)
		said := make(chan struct{})
		go func() {
			defer close(said)
			p.Send(say(here.JID, "2"))
		}()
		time.Sleep(3 * time.Second)
		select {
		case <-said:
			t.Error("it did not wait")
		default:
		}
		open()
		<-said
		synctest.Wait()
		list := here.Drain()
		if len(list) == 0 || list[len(list)-1].SelectAttrValue("id", "") != "2" || p.Closed() {
			t.Errorf("%d elements", len(list))
		}
	})
}
