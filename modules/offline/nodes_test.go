package offline_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/modules/offline"
	"rollcall/storage/memory"
)

// nodes runs a test on two nodes with one store.
func nodes(t *testing.T, f func(t *testing.T, hub *memory.Hub, a, b *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hub, store := memory.NewHub(), open(t, t.TempDir()+"/x.db")
		var first *house
		node := func(name string) *house {
			h := newHouse(t, managed, func(o *offline.Options, so *servertest.Options) {
				o.Spool, so.Bus = store, hub.Bus(name)
				if first != nil {
					o.Users, o.Owners, so.Directory, so.Beside = first.Directory, owners{first.Directory}, first.Directory, first.Server
				}
			})
			if first == nil {
				first = h
			}
			synctest.Wait()
			return h
		}
		a, b := node("a"), node("b")
		f(t, hub, a, b)
		synctest.Wait()
	})
}

// TestNodes: what one node keeps, another one delivers, and the user's other clients,
// wherever they are, do not get it.
func TestNodes(t *testing.T) {
	nodes(t, func(t *testing.T, _ *memory.Hub, a, b *house) {
		alice := a.Online("alice/web")
		alice.Send(chat("bob@example.com", "one"))
		bob := b.Online("bob/phone")
		if got := bodies(bob, 1); got != "one" {
			t.Errorf("got %s", got)
		}
		synctest.Wait()
		web := a.Login("bob/web")
		web.Send("<presence/>")
		synctest.Wait()
		for _, el := range web.Drain() {
			if el.Tag != "presence" {
				t.Errorf("the other one got a %s: %s", el.Tag, body(el))
			}
		}
		answer(t, bob)
		bob.Drop()
		synctest.Wait()
		for _, el := range web.Drain() {
			if el.Tag != "presence" {
				t.Errorf("the other one got a %s: %s", el.Tag, body(el))
			}
		}
		if n := a.count(t, "bob"); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// TestLeftToOtherNode: a client dies in the middle; one at another node gets the rest.
func TestLeftToOtherNode(t *testing.T) {
	nodes(t, func(t *testing.T, hub *memory.Hub, a, b *house) {
		alice := a.Online("alice/web")
		alice.Send(chat("bob@example.com", "one"))
		bob := b.Online("bob/phone")
		if got := bodies(bob, 1); got != "one" {
			t.Errorf("got %s", got)
		}
		synctest.Wait()
		web := a.Login("bob/web")
		web.Send("<presence/>")
		synctest.Wait()
		web.Drain()
		bob.Drop()
		synctest.Wait()
		if el := web.Next(); el.Tag != "presence" {
			t.Errorf("got a %s", el.Tag)
		}
		if got := bodies(web, 1); got != "one" {
			t.Errorf("got %s", got)
		}

		// The same, with the whole node.
		web.Drop()
		synctest.Wait()
		phone := b.Online("bob/phone")
		if got := bodies(phone, 1); got != "one" {
			t.Errorf("got %s", got)
		}
		synctest.Wait()
		last := a.Login("bob/desk")
		last.Send("<presence/>")
		synctest.Wait()
		time.Sleep(time.Minute)
		last.Drain()
		hub.Kill("b")
		hub.Expire("b")
		synctest.Wait()
		if el := last.Next(); el.Tag != "presence" {
			t.Errorf("got a %s", el.Tag)
		}
		if got := bodies(last, 1); got != "one" {
			t.Errorf("got %s", got)
		}
	})
}

// TestUnderWay: somebody comes to one node while another one, which does not know it
// yet, keeps a message. It is not left lying until the next login.
func TestUnderWay(t *testing.T) {
	nodes(t, func(t *testing.T, hub *memory.Hub, a, b *house) {
		alice := a.Online("alice/web")
		synctest.Wait()
		hub.Fail(func(from, _ string, data []byte) memory.Fault {
			if from == "b" && bytes.Contains(data, []byte("bob@")) {
				return memory.Unreachable
			}
			return memory.Fine
		})
		bob := b.Online("bob/phone")
		alice.Send(chat("bob@example.com", "one"))
		synctest.Wait()
		bob.ExpectNothing()
		if n := a.count(t, "bob"); n != 1 {
			t.Fatalf("%d are kept", n)
		}
		hub.Fail(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := bodies(bob, 1); got != "one" {
			t.Errorf("got %s", got)
		}
		answer(t, bob)
		if n := a.count(t, "bob"); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}
