package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/conf"
	"rollcall/internal/packed"
	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
)

// Who was too slow for one stanza gets none of those after it, though there is room
// again: the client would count wrong, and what it did not get would never be told of.
func TestNothingAfterGap(t *testing.T) {
	for name, relayed := range map[string]bool{"here": false, "relayed": true} {
		t.Run(name, func(t *testing.T) {
			nodes := nodesOf(t, memory.NewHub(), servertest.Options{}, "a", "b")
			alice, p := nodes[0].Login("alice/a"), call(nodes[0], "bob/phone")
			there := nodes[0]
			if relayed {
				p.Drop()
				p, there = p.at(nodes[1], 1, 1), nodes[1]
			}
			beside := there.Login("alice/beside") // hears what comes after
			meet(t, alice, beside)
			turn := p.Session().Turn() // the client cannot be closed yet
			p.Stall()
			alice.Send(say(p.JID, "1") + say(beside.JID, "2"))
			beside.Expect(got("2"))
			p.Resume()
			alice.Send(say(p.JID, "3") + say(beside.JID, "4"))
			beside.Expect(got("4"))
			turn.End()
			p.ExpectClosed(server.ReasonSlowReader)
			for _, el := range p.Drain() {
				if el.Tag == "message" {
					t.Errorf("message %s came", el.SelectAttrValue("id", ""))
				}
			}
			alice.Expect("<message type='error' id='1'>...</message>")
			alice.Expect("<message type='error' id='3'>...</message>")
		})
	}
}

// An element of any size that is permitted gets through a relay, though it grows by the
// declarations that it needs.
func TestGreatElementIsRelayed(t *testing.T) {
	limits := conf.Default().Limits
	t.Run("all of the limit", func(t *testing.T) {
		roaming3(t, servertest.Options{}, func(t *testing.T, r *roaming) {
			head := "<message to='" + r.alice.JID.String() + "' id='1' type='chat'><stream:x/>"
			r.Send(head + strings.Repeat("x", int(limits.StanzaBytes)-len(head+"</message>")) + "</message>")
			synctest.Wait()
			r.alice.Expect(got("1"))
		})
	})
	t.Run("more than waits otherwise", func(t *testing.T) {
		limits.StanzaBytes, limits.OutboxBytes = 6<<20, 16<<20
		synctest.Test(t, func(t *testing.T) {
			hub := memory.NewHub()
			a := servertest.New(t, servertest.Options{Directory: people(), Bus: hub.Bus("a"), Limits: &limits})
			alice := a.Login("alice/web")
			x := strangerOn(t, hub, "x")
			defer x.leave()
			x.resume(call(a, "bob/phone"))
			message := "<message to='" + alice.JID.String() + "' id='1' type='chat'>" + strings.Repeat("x", 5<<20) + "</message>"
			x.say(itemFromClient, append([]byte{1, 0, 1}, message...))
			alice.Expect(got("1"))
		})
	})
}

// stranger is a node that says what a test wants.
type stranger struct {
	t     *testing.T
	bus   storage.Bus
	epoch uint64
	seq   uint64
	leave func()
}

func strangerOn(t *testing.T, hub *memory.Hub, name string) *stranger {
	x := &stranger{t: t, bus: hub.Bus(name)}
	_, x.epoch = x.bus.Node()
	ctx, cancel := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() {
		if err := x.bus.Listen(ctx, func(storage.BusEvent) {}); err != nil {
			t.Error(err)
		}
	})
	x.leave = func() {
		cancel()
		listening.Wait()
	}
	synctest.Wait()
	return x
}

// say sends an item to node a.
func (x *stranger) say(kind byte, item []byte) {
	x.t.Helper()
	name, _ := x.bus.Node()
	x.seq++
	env := packed.AppendBool(packed.AppendUint(nil, 1), false)
	env = packed.AppendUint(packed.AppendString(env, name), x.epoch)
	env = packed.AppendUint(packed.AppendUint(env, 1), x.seq)
	if err := x.bus.Publish(x.t.Context(), "a", packed.AppendBytes(append(env, kind), item)); err != nil {
		x.t.Fatal(err)
	}
	synctest.Wait()
}

// mark is that of the ids of the node's streams.
func (x *stranger) mark() string {
	name, _ := x.bus.Node()
	sum := sha256.Sum256(packed.AppendString(packed.AppendUint(nil, x.epoch), name))
	return base32.StdEncoding.EncodeToString(sum[:5])
}

// resume has a client of the node go on with a session of node a.
func (x *stranger) resume(p *phone) {
	x.t.Helper()
	item := packed.AppendString(packed.AppendString(packed.AppendUint(nil, 1), p.id), p.JID.Bare().String())
	item = packed.AppendString(packed.AppendUint(item, 1), "x")
	x.say(itemResume, append(item, 1, 0))
	p.ExpectClosed(server.ReasonResumed)
}

// The kinds of items of relays.
const (
	itemResume byte = 12 + iota
	itemResumed
	itemFromClient
	itemToClient
	itemClientGone
	itemSessionGone
)

// What cannot be read is a gap like what did not come.
func TestRelayUnreadable(t *testing.T) {
	for name, kind := range map[string]byte{"from the client": itemFromClient, "its end": itemClientGone} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := memory.NewHub()
				a := servertest.New(t, servertest.Options{Directory: people(), Bus: hub.Bus("a")})
				x := strangerOn(t, hub, "x")
				defer x.leave()
				p := call(a, "bob/phone")
				x.resume(p)
				x.say(kind, []byte{1})
				if n := a.Metric("rollcall_detached_sessions"); n != 1 {
					t.Errorf("%v sessions wait", n)
				}
			})
		})
	}
	for name, kind := range map[string]byte{"to the client": itemToClient, "the session's end": itemSessionGone} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := memory.NewHub()
				a := servertest.New(t, servertest.Options{Directory: people(), Bus: hub.Bus("a")})
				x := strangerOn(t, hub, "x")
				defer x.leave()
				x.say(99, nil) // whoever says something lives
				p := arrive(a, "bob")
				go p.Send(fmt.Sprintf("<resume %s h='1' previd='ID-%s'/>", sm, x.mark()))
				synctest.Wait()
				x.say(itemResumed, []byte{1, 1})
				item := packed.AppendBytes([]byte{1, 0}, []byte("<resumed xmlns='urn:xmpp:sm:3'/>"))
				x.say(itemToClient, item)
				p.Expect("<resumed xmlns='urn:xmpp:sm:3'/>")
				if kind == itemToClient {
					x.say(kind, append(item, 200, 'x'))
				} else {
					x.say(kind, []byte{1, 9})
				}
				if end := p.ExpectClosed(server.ReasonLost); !end.Cut {
					t.Errorf("closed with %+v", end)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}
