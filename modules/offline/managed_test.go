package offline_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/conf"
	"rollcall/internal/servertest"
	"rollcall/modules/offline"
	"rollcall/server"
	"rollcall/storage"
)

const sm = "xmlns='urn:xmpp:sm:3'"

// phone is a client that acknowledges what it gets (XEP-0198).
type phone struct {
	*servertest.Client
	h *house
	n int // stanzas it got
}

// bind is a phone that is not available yet.
func (h *house) bind(address string) *phone {
	h.t.Helper()
	user, resource, _ := strings.Cut(address, "/")
	p := &phone{Client: h.DialWith(server.Info{Kind: "test", Secure: true, Manageable: true}, server.Listener{}), h: h}
	p.Open("example.com")
	p.Authenticate(user, servertest.Password)
	p.Open("example.com")
	p.Bind(resource)
	p.Send("<enable " + sm + " resume='true'/>")
	p.Expect("<enabled " + sm + " id='{any}' resume='true' max='300'/>")
	return p
}

// call is a phone that is available; what else came by then is to be taken.
func (h *house) call(address string) *phone {
	h.t.Helper()
	p := h.bind(address)
	p.Send("<presence/>")
	p.take(1)
	p.ack()
	return p
}

// live lets time pass while clients acknowledge what they get, and returns the bodies of
// what the first one got.
func live(d time.Duration, phones ...*phone) string {
	const step = 4 * time.Second
	var list []string
	for ; d > 0; d -= step {
		time.Sleep(step)
		synctest.Wait()
		for i, p := range phones {
			for _, el := range p.Drain() {
				if el.Tag != "r" {
					p.n++
				}
				if i == 0 && el.Tag == "message" {
					list = append(list, body(el))
				}
			}
			p.ack()
		}
	}
	return strings.Join(list, " ")
}

// take takes stanzas, requests for acknowledgement aside, and returns their bodies.
func (p *phone) take(n int) string {
	p.h.t.Helper()
	var list []string
	for len(list) < n {
		if el := p.Next(); el.Tag != "r" {
			p.n++
			list = append(list, body(el))
		}
	}
	return strings.Join(list, " ")
}

func (p *phone) ack() { p.Send(fmt.Sprintf("<a %s h='%d'/>", sm, p.n)) }

// quiet takes requests for acknowledgement, and fails when there is more.
func (p *phone) quiet() {
	p.h.t.Helper()
	for _, el := range p.Drain() {
		if el.Tag != "r" {
			p.h.t.Errorf("%s got a %s: %s", p, el.Tag, body(el))
		}
	}
}

func managed(o *offline.Options, so *servertest.Options) {
	options := conf.Default().StreamManagement
	options.AckDelay = 0
	so.StreamManagement = &options
}

// TestAckedReplay: a client that acknowledges stanzas is not pinged, and the next page
// comes when it has acknowledged all of the one before.
func TestAckedReplay(t *testing.T) {
	h := newHouse(t, managed, func(o *offline.Options, _ *servertest.Options) { o.PageBytes = 250 })
	alice := h.Login("alice/web")
	for i := range 5 {
		alice.Send(chat("bob@example.com", fmt.Sprint("m", i)))
	}
	bob := h.call("bob/phone")
	if got := bob.take(2); got != "m0 m1" {
		t.Errorf("got %s", got)
	}
	bob.n--
	bob.ack() // the first one only
	bob.quiet()
	if n := h.count(t, "bob"); n != 4 {
		t.Errorf("%d are left", n)
	}
	bob.n++
	bob.ack()
	if got := bob.take(2); got != "m2 m3" {
		t.Errorf("got %s", got)
	}
	bob.ack()
	if got := bob.take(1); got != "m4" {
		t.Errorf("got %s", got)
	}
	bob.ack()
	bob.quiet()
	if n := h.count(t, "bob"); n != 0 {
		t.Errorf("%d are left", n)
	}
	if n := h.Metric("rollcall_offline_delivered_total"); n != 5 {
		t.Errorf("%v delivered", n)
	}
}

// TestUnsafe: what a client is told to be handled is in the store until somebody has it,
// and nobody gets it twice.
func TestUnsafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, managed)
		alice, bob := h.call("alice/web"), h.call("bob/phone")
		bob.Drop()
		const composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
		alice.Send(chat("bob@example.com", "one") + message("bob@example.com", "type='chat'", composing) + chat(bob.JID.String(), "two"))
		alice.Send("<r " + sm + "/>")
		alice.quietUntil("<a " + sm + " h='4'/>")
		if n := h.count(t, "bob"); n != 2 {
			t.Errorf("%d are in the store", n)
		}

		// They wait for the client that was cut off, not for another one.
		web := h.bind("bob/web")
		web.Send("<presence/>")
		if got := live(4*time.Minute, web, alice); got != "" {
			t.Errorf("got %s", got)
		}
		if n := h.count(t, "bob"); n != 2 {
			t.Errorf("%d are in the store", n)
		}
		// When its time is up, they go there.
		if got := live(10*time.Minute, web, alice); got != "one  two" {
			t.Errorf("got %s", got)
		}
		if n := h.count(t, "bob"); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// quietUntil takes everything up to an element.
func (p *phone) quietUntil(want string) {
	p.h.t.Helper()
	for {
		el := p.Next()
		if el.Tag != "r" && el.Tag != "presence" {
			p.Match(want, el)
			return
		}
	}
}

// TestExpired: a session ends whose messages are in the store; they come at the next
// login, once.
func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, managed)
		alice, bob := h.call("alice/web"), h.call("bob/phone")
		bob.Drop()
		alice.Send(chat("bob@example.com", "one") + message(bob.JID.String(), "", "<body>two</body>"))
		alice.Send("<r " + sm + "/>")
		alice.quietUntil("<a " + sm + " h='3'/>")
		live(10*time.Minute, alice) // bob's session ends
		alice.Send(chat("bob@example.com", "three"))
		if n := h.count(t, "bob"); n != 3 {
			t.Errorf("%d are in the store", n)
		}
		bob = h.call("bob/phone")
		if got := bob.take(3); got != "one two three" {
			t.Errorf("got %s", got)
		}
		bob.ack()
		bob.quiet()
		if n := h.count(t, "bob"); n != 0 {
			t.Errorf("%d are left", n)
		}
		alice.quiet()
	})
}

// TestReplayCutOff: what was replayed to a client that is cut off goes to another one
// when the first one's time is up, once.
func TestReplayCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, managed)
		alice := h.Login("alice/web")
		alice.Send(chat("bob@example.com", "one") + chat("bob@example.com", "two"))
		bob := h.call("bob/phone")
		if got := bob.take(2); got != "one two" {
			t.Errorf("got %s", got)
		}
		bob.n--
		bob.ack()
		bob.Drop()
		web := h.bind("bob/web")
		web.Send("<presence/>")
		web.take(2)
		web.ack()
		web.quiet()
		if got := live(10*time.Minute, web); got != "two" {
			t.Errorf("got %s", got)
		}
		if n := h.count(t, "bob"); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// TestUnsafeStoreDown: what cannot be stored is not acknowledged before somebody has it.
func TestUnsafeStoreDown(t *testing.T) {
	h := newHouse(t, managed)
	alice, bob := h.call("alice/web"), h.call("bob/phone")
	h.fail(storage.ErrUnavailable)
	alice.Send(chat("bob@example.com", "one") + "<r " + sm + "/>")
	alice.quietUntil("<a " + sm + " h='1'/>")
	if got := bob.take(1); got != "one" {
		t.Errorf("got %s", got)
	}
	bob.ack()
	alice.Send("<r " + sm + "/>")
	alice.quietUntil("<a " + sm + " h='2'/>")
	h.fail(nil)
	if n := h.count(t, "bob"); n != 0 {
		t.Errorf("%d are in the store", n)
	}
}

// TestUnsafeFull: a message that finds no room is not acknowledged, and one that lost
// its place is not lost while there is room again.
func TestUnsafeFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, managed, func(o *offline.Options, _ *servertest.Options) { o.Limit.Messages = 1 })
		alice, bob := h.call("alice/web"), h.call("bob/phone")
		bob.Drop()
		alice.Send(chat("bob@example.com", "one") + "<r " + sm + "/>")
		alice.quietUntil("<a " + sm + " h='2'/>")
		alice.Send(chat("bob@example.com", "two") + "<r " + sm + "/>")
		alice.quietUntil("<a " + sm + " h='3'/>")
		live(10*time.Minute, alice)
		bob = h.call("bob/phone")
		if got := bob.take(1); got != "two" {
			t.Errorf("got %s", got)
		}
	})
	h := newHouse(t, managed, func(o *offline.Options, _ *servertest.Options) {
		o.Limit = storage.KeepLimit{Messages: 1, Bytes: 1000}
	})
	alice := h.call("alice/web")
	h.call("bob/phone").Drop()
	alice.Send(chat("bob@example.com", "one") + chat("bob@example.com", "two") + "<r " + sm + "/>")
	alice.quietUntil("<a " + sm + " h='2'/>")
}

// TestStopped: a server that stops stores what clients have not acknowledged.
func TestStopped(t *testing.T) {
	path := t.TempDir() + "/x.db"
	h := newHouse(t, managed, func(o *offline.Options, _ *servertest.Options) { o.Spool = open(t, path) })
	alice, bob := h.Login("alice/web"), h.call("bob/phone")
	alice.Send(chat("bob@example.com", "one") + chat("bob@example.com", "two"))
	bob.take(1)
	bob.ack()
	h.Stop()
	if n := h.count(t, "bob"); n != 1 {
		t.Fatalf("%d are in the store", n)
	}
	h = newHouse(t, managed, func(o *offline.Options, _ *servertest.Options) { o.Spool = open(t, path) })
	bob = h.call("bob/phone")
	if got := bob.take(1); got != "two" {
		t.Errorf("got %s", got)
	}
}
