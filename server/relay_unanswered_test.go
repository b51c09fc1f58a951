package server_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/packed"
	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
)

// A node that does not answer does not keep the client waiting for long, and what it does
// later harms nobody.
func TestResumeUnanswered(t *testing.T) {
	for _, from := range []string{"a", "c"} {
		t.Run("lost from "+from, func(t *testing.T) {
			roaming3(t, servertest.Options{}, func(t *testing.T, r *roaming) {
				r.Drop()
				synctest.Wait()
				r.hub.Fail(func(f, to string, _ []byte) memory.Fault {
					if f == from && (to == "a" || to == "c") {
						return memory.Lost
					}
					return memory.Fine
				})
				n := arrive(r.nodes[2], "bob")
				began := time.Now()
				n.Send(fmt.Sprintf("<resume %s h='1' previd='%s'/>", sm, r.id))
				n.Expect(refusal("item-not-found"))
				if took := time.Since(began); took != 3*time.Second {
					t.Errorf("after %v", took)
				}
				r.hub.Fail(nil)
				synctest.Wait()
				r.alice.Send(say(r.JID, "1")) // shows the gap
				time.Sleep(time.Second)
				synctest.Wait()
				if n := r.nodes[0].Metric("rollcall_detached_sessions"); n != 1 {
					t.Errorf("%v sessions wait", n)
				}
				n.Send(fmt.Sprintf("<resume %s h='1' previd='%s'/>", sm, r.id))
				n.Expect(fmt.Sprintf("<resumed %s h='1' previd='%s'/>", sm, r.id))
				n.Expect(got("1"))
			})
		})
	}
}

// While the session is busy its client's node may give up: then it is not taken for
// there.
func TestResumeWhileBusy(t *testing.T) {
	hub := memory.NewHub()
	m := leftModule{left: make(chan struct{})}
	a := servertest.New(t, servertest.Options{Directory: people(), Bus: hub.Bus("a"), Modules: []server.Module{m}})
	b := servertest.New(t, servertest.Options{Directory: people(), Bus: hub.Bus("b"), Beside: a})
	p := call(a, "bob/phone")
	asked := make(chan struct{})
	var once sync.Once
	hub.Fail(func(_, _ string, data []byte) memory.Fault {
		if bytes.Contains(data, []byte(p.id)) {
			once.Do(func() { close(asked) })
		}
		return memory.Fine
	})
	n := arrive(b, "bob")
	turn := p.Session().Turn()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		n.Send(fmt.Sprintf("<resume %s h='1' previd='%s'/>", sm, p.id))
	}()
	<-asked
	b.Stop()
	<-answered
	n.Expect(refusal("item-not-found"))
	<-m.left // a has heard all
	turn.End()
	p.Send(say(p.JID, "1"))
	p.Expect(got("1"))
	if n := a.Metric("rollcall_resumptions_total"); n != 0 || p.Closed() {
		t.Error("somebody took it over who had given up")
	}
}

// leftModule tells when another node has left.
type leftModule struct{ left chan struct{} }

func (leftModule) Name() string                       { return "left" }
func (leftModule) Joined(*server.Batch, string)       {}
func (leftModule) Told(*server.Batch, string, []byte) {}
func (m leftModule) Left(*server.Batch, string)       { close(m.left) }
func (m leftModule) Start(h *server.Host) error       { h.OnNodes(m); return nil }

// What a node of another version may say of relays does no harm, whatever it is.
func TestRelayNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := memory.NewHub()
		a := servertest.New(t, servertest.Options{Directory: people(), Bus: hub.Bus("a")})
		p, alice := call(a, "bob/phone"), a.Login("alice/web")
		bus := hub.Bus("b")
		ctx, leave := context.WithCancel(t.Context())
		var listening sync.WaitGroup
		listening.Go(func() {
			if err := bus.Listen(ctx, func(storage.BusEvent) {}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		rng := rand.New(rand.NewPCG(1, 198))
		_, epoch := bus.Node()
		for seq := range uint64(5000) {
			item := packed.AppendUint(nil, rng.Uint64N(8))
			kind := byte(12 + rng.IntN(6)) // itemResume to itemSessionGone
			switch rng.IntN(5) {
			case 0:
				kind = 12
				item = packed.AppendString(packed.AppendString(item, p.id), "bob@example.com")
				item = packed.AppendString(packed.AppendUint(item, 1), "x")
				item = append(item, 1, 0)
			case 1:
				kind = 14
				item = packed.AppendUint(item, rng.Uint64N(1000))
				item = append(item, 1)
				item = append(item, []string{"<r xmlns='urn:xmpp:sm:3'/>", "<presence/><presence/>", "<a", "</a>"}[rng.IntN(4)]...)
			case 2:
				kind = byte(16 + rng.IntN(2))
				item = packed.AppendString(item, []string{"lost", "client", "stream-error", "new"}[rng.IntN(4)])
				item = append(item, 0, 0, 0, 0, byte(rng.IntN(2)))
			default:
				for range rng.IntN(20) {
					item = append(item, byte(rng.IntN(256)>>rng.IntN(8)))
				}
			}
			env := packed.AppendBool(packed.AppendUint(nil, 1), false)
			env = packed.AppendUint(packed.AppendString(env, "b"), epoch)
			env = packed.AppendUint(packed.AppendUint(env, 1), seq+1)
			env = packed.AppendBytes(append(env, kind), item)
			if err := bus.Publish(ctx, "a", env); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(10) == 0 {
				synctest.Wait()
			}
			if rng.IntN(100) == 0 { // it comes back where it was
				p = arrive(a, "bob")
				p.Bind("phone")
				p.Send("<enable " + sm + " resume='true'/>")
				p.id = p.Next().SelectAttrValue("id", "")
			}
		}
		leave()
		listening.Wait()
		synctest.Wait()
		p = call(a, "bob/phone")
		alice.Send(say(p.JID, "1"))
		p.Expect(got("1"))
		if n := a.Metric("rollcall_connections"); n != 2 {
			t.Errorf("%v connections", n)
		}
	})
}
