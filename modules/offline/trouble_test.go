package offline_test

import (
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/servertest"
	"rollcall/modules/offline"
	"rollcall/server"
	"rollcall/storage"
)

// TestStoreDown: the sender is told to try again, and who comes gets what waits when
// the store is back.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		alice := h.Login("alice/web")
		alice.Send(chat("bob@example.com", "one"))
		h.fail(storage.ErrUnavailable)
		alice.Send(message("bob@example.com", "type='chat' id='2'", "<body>two</body>"))
		alice.Expect("<message type='error' from='bob@example.com' to='{alice}' id='2'><error type='wait'>" +
			"<resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>{any}</text></error></message>")
		bob := h.Online("bob/phone")
		bob.ExpectNothing()
		time.Sleep(10 * time.Second)
		bob.ExpectNothing()
		h.fail(nil)
		time.Sleep(2 * time.Minute)
		if got := bodies(bob, 1); got != "one" {
			t.Errorf("got %s", got)
		}

		// What cannot be forgotten is not sent again, and forgotten later.
		h.fail(errors.New("the disk is on fire"))
		answer(t, bob)
		bob.Drop()
		h.fail(nil)
		again := h.Online("bob/phone")
		again.ExpectNothing()
		time.Sleep(10 * time.Second)
		if n := h.count(t, "bob"); n != 0 {
			t.Errorf("%d are left", n)
		}
		if n := h.Metric("rollcall_offline_errors_total"); n < 4 {
			t.Errorf("%v errors", n)
		}
	})
}

// TestStays: what a client has acknowledged is not sent again, although the store does
// not let go of it.
func TestStays(t *testing.T) {
	h := newHouse(t)
	alice := h.Login("alice/web")
	alice.Send(chat("bob@example.com", "one"))
	h.stays = errors.New("the file is locked")
	bob := h.Online("bob/phone")
	if got := bodies(bob, 1); got != "one" {
		t.Errorf("got %s", got)
	}
	answer(t, bob)
	bob.ExpectNothing()
	bob.Drop()
	alice.Send(chat("bob@example.com", "two"))
	bob = h.Online("bob/phone")
	if got := bodies(bob, 1); got != "two" {
		t.Errorf("got %s", got)
	}
}

// TestDirectoryDown: whether there is such a user is not known now.
func TestDirectoryDown(t *testing.T) {
	h := newHouse(t)
	alice := h.Login("alice/web")
	h.Directory.Fail(storage.ErrUnavailable)
	alice.Send(chat("bob@example.com", "one"))
	alice.Expect("<message type='error' from='bob@example.com' to='{alice}'><error type='wait'>...</error></message>")
}

// TestRestart: what one process kept, the next one delivers; also what was delivered and
// not acknowledged.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	in := func(o *offline.Options, _ *servertest.Options) { o.Spool = open(t, path) }
	h := newHouse(t, in)
	alice := h.Login("alice/web")
	alice.Send(chat("bob@example.com", "one"))
	bob := h.Online("bob/phone")
	if got := bodies(bob, 1); got != "one" {
		t.Errorf("got %s", got)
	}
	h.Stop()
	h = newHouse(t, in)
	bob = h.Online("bob/phone")
	if got := bodies(bob, 1); got != "one" {
		t.Errorf("got %s", got)
	}
	answer(t, bob)
	h.Stop()
	h = newHouse(t, in)
	h.Online("bob/phone").ExpectNothing()
}

// TestUnavailable: who leaves amid a replay gets no more of it.
func TestUnavailable(t *testing.T) {
	h := newHouse(t, func(o *offline.Options, _ *servertest.Options) { o.PageBytes = 100 })
	alice := h.Login("alice/web")
	alice.Send(chat("bob@example.com", "one") + chat("bob@example.com", "two"))
	bob := h.Online("bob/phone")
	if got := bodies(bob, 1); got != "one" {
		t.Errorf("got %s", got)
	}
	ping := bob.Next()
	bob.Send("<presence type='unavailable'/>")
	bob.Expect("<presence type='unavailable' from='{bob}' to='{bob}'/>")
	bob.Send("<iq type='result' id='" + ping.SelectAttrValue("id", "") + "' to='example.com'/>")
	bob.ExpectNothing()
	if n := h.count(t, "bob"); n != 1 {
		t.Errorf("%d are left", n)
	}
	bob.Send("<presence/>")
	bob.Expect("<presence from='{bob}' to='{bob}'/>")
	if got := bodies(bob, 1); got != "two" {
		t.Errorf("got %s", got)
	}
	answer(t, bob)
	bob.ExpectNothing()
}

// TestGivenBack: a transport gives back what its client did not get. What was kept comes
// from the store again, once, and the rest is kept now.
func TestGivenBack(t *testing.T) {
	h := newHouse(t)
	alice := h.Login("alice/web")
	alice.Send(chat("bob@example.com", "one"))
	bob := h.Online("bob/phone")
	if got := bodies(bob, 1); got != "one" {
		t.Errorf("got %s", got)
	}
	bob.Next()
	alice.Send(chat("bob@example.com", "two"))
	live := bob.Next()
	kept, err := h.Waiting(t.Context(), "bob", "", 10)
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	bob.Drop()
	replayed := string(kept[0].Data[:len(kept[0].Data)-len("</message>")]) +
		"<delay xmlns='urn:xmpp:delay' from='example.com' stamp='" + kept[0].At.Format("2006-01-02T15:04:05.000Z") + "'/></message>"
	bob.Session().Undelivered([]byte(replayed + "<message xmlns='jabber:client' from='" + alice.JID.String() +
		"' to='bob@example.com' type='chat'><body>" + body(live) + "</body></message>"))
	again := h.Online("bob/phone")
	if got := bodies(again, 2); got != "one two" {
		t.Errorf("got %s", got)
	}
	answer(t, again)
	again.ExpectNothing()
	alice.ExpectNothing()
}

// TestGivenBackToOthers is TestGivenBack with another resource there.
func TestGivenBackToOthers(t *testing.T) {
	h := newHouse(t)
	alice := h.Login("alice/web")
	alice.Send(chat("bob@example.com", "one"))
	bob := h.Online("bob/phone")
	if got := bodies(bob, 1); got != "one" {
		t.Errorf("got %s", got)
	}
	kept, err := h.Waiting(t.Context(), "bob", "", 10)
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	web := h.Login("bob/web")
	web.Send("<presence/>")
	web.Next()
	web.Next()
	alice.Send(message("bob@example.com/phone", "", "<body>two</body>"))
	bob.Drop()
	web.Expect("<presence type='unavailable' from='{bob/phone}' to='{bob/web}'/>")
	if got := bodies(web, 1); got != "one" {
		t.Errorf("got %s", got)
	}
	answer(t, web)
	bob.Session().Undelivered([]byte("<message xmlns='jabber:client' from='" + alice.JID.String() +
		"' to='bob@example.com/phone'><body>two</body></message>"))
	// It was accepted, so it is not refused now.
	if got := bodies(web, 1); got != "two" {
		t.Errorf("got %s", got)
	}
	answer(t, web)
	web.ExpectNothing()
	alice.ExpectNothing()
}

// TestKeep is the door for other rooms.
func TestKeep(t *testing.T) {
	h := newHouse(t, func(o *offline.Options, _ *servertest.Options) { o.Limit = storage.KeepLimit{Messages: 2, Bytes: 1000} })
	keep := func(to, text string) error {
		bare, err := jid.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		return h.module.Keep(t.Context(), bare, []byte("<message xmlns='jabber:client' from='example.com' to='"+to+"'><body>"+text+"</body></message>"))
	}
	if err := keep("nobody@example.com", "x"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("for nobody: %v", err)
	}
	for i, want := range []error{nil, nil, storage.ErrFull} {
		if err := keep("alice@example.com", "x"); !errors.Is(err, want) {
			t.Errorf("%d: %v", i, err)
		}
	}
	bob := h.Online("bob/phone")
	if err := keep("bob@example.com", "now"); err != nil {
		t.Error(err)
	}
	bob.Expect("<message from='example.com' to='bob@example.com'><body>now</body>" + stamped + "</message>")
	answer(t, bob)
	bob.ExpectNothing()
}

// TestComesMeanwhile: somebody comes while a message is being kept, and has asked for
// what waits before it is there.
func TestComesMeanwhile(t *testing.T) {
	h := newHouse(t)
	alice, bob := h.Login("alice/web"), h.Login("bob/phone")
	h.spool.before(func() { bob.Send("<presence/>") })
	alice.Send(chat("bob@example.com", "one"))
	bob.Expect("<presence from='{bob}' to='{bob}'/>")
	if got := bodies(bob, 1); got != "one" {
		t.Errorf("got %s", got)
	}
	answer(t, bob)
	bob.ExpectNothing()
}

// TestRemovedMeanwhile: a user is removed while a message is being kept.
func TestRemovedMeanwhile(t *testing.T) {
	h := newHouse(t)
	alice := h.Login("alice/web")
	h.spool.before(func() { h.Directory.RemoveUser("bob") })
	alice.Send(chat("bob@example.com", "one"))
	if n := h.count(t, "bob"); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// blocker has somebody blocked, by the bare address.
type blocker struct{ whom atomic.Pointer[string] }

func (*blocker) Name() string { return "blocker" }

func (x *blocker) Start(h *server.Host) error {
	h.SetFilter(func(from, _ jid.JID) server.Verdict {
		if whom := x.whom.Load(); whom != nil && from.Bare().String() == *whom {
			return server.Shunned
		}
		return server.Pass
	})
	return nil
}

// TestBlocked: what waits from somebody who is blocked by now is not delivered, and does
// not keep others' from being so.
func TestBlocked(t *testing.T) {
	x := new(blocker)
	h := newHouse(t, func(o *offline.Options, so *servertest.Options) {
		so.Modules = append(so.Modules, x)
		so.Directory.AddUser("carol", "")
	})
	alice, carol := h.Login("alice/web"), h.Login("carol/web")
	for range 120 { // more than a page
		alice.Send(chat("bob@example.com", "no"))
	}
	carol.Send(chat("bob@example.com", "yes"))
	h.await(t, "bob", 121)
	whom := "alice@example.com"
	x.whom.Store(&whom)
	bob := h.Online("bob/phone")
	if got := bodies(bob, 1); got != "yes" {
		t.Errorf("got %s", got)
	}
	answer(t, bob)
	bob.ExpectNothing()
	if n := h.count(t, "bob"); n != 0 {
		t.Errorf("%d are left", n)
	}
}
