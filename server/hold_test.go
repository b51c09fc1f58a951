package server_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
)

// holder is a module that holds a client's presence when it says so.
func holder() server.Module {
	return &module{name: "holder", start: func(h *server.Host) error {
		for name, on := range map[string]bool{"inactive": true, "active": false} {
			if err := h.HandleNonza("test", name, func(_ context.Context, n *server.Nonza) { n.Session.Hold(n.Batch, on) }); err != nil {
				return err
			}
		}
		return nil
	}}
}

func directed(to fmt.Stringer, status string) string {
	return fmt.Sprintf("<presence to='%s'><status>%s</status></presence>", to, status)
}

func told(status string) string {
	return "<presence from='{any}' to='{any}'><status>" + status + "</status></presence>"
}

func TestHold(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{holder()}})
	alice, mobile, bob := s.Login("alice/web"), s.Login("alice/mobile"), s.Login("bob/phone")
	bob.Send("<active xmlns='test'/>") // it is anyway
	alice.Send(directed(bob.JID, "0"))
	bob.Expect(told("0"))
	bob.Send("<inactive xmlns='test'/>")
	alice.Send(directed(bob.JID, "1"))
	mobile.Send(directed(bob.JID, "2"))
	alice.Send(directed(bob.JID, "3"))
	bob.ExpectNothing()
	bob.Send("<active xmlns='test'/>")
	bob.Expect(told("2"))
	bob.Expect(told("3"))
	alice.Send(directed(bob.JID, "4"))
	bob.Expect(told("4"))

	// What is said after presence does not come before it.
	bob.Send("<inactive xmlns='test'/>")
	alice.Send(directed(bob.JID, "5") + say(bob.JID, "6") + directed(bob.JID, "7"))
	bob.Expect(told("5"))
	bob.Expect(got("6"))
	bob.ExpectNothing()
	bob.Ask("get", "example.com", "<x xmlns='y'/>")
	bob.Expect(told("7"))
	bob.ExpectNothing()
	bob.Hangup()
}

// Held presence is bounded, whoever sends it.
func TestHoldIsBounded(t *testing.T) {
	var host hostOf
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{holder(), &host}})
	bob := s.Login("bob/phone")
	bob.Send("<inactive xmlns='test'/>")
	for i := range 1000 {
		from := address2jid(t, fmt.Sprintf("alice@example.com/%d", i))
		b := host.NewBatch()
		b.SendPresence(bob.Session(), server.Unavailable(from, time.Now()), nil)
		b.Flush()
		if i < 999 {
			bob.ExpectNothing()
		}
	}
	if n := len(bob.Drain()); n != 1000 {
		t.Errorf("%d came", n)
	}
}

// The answer to a client that asks what was handled is no reason to wake it.
func TestAcknowledgementHolds(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{holder()}})
	alice, bob := s.Login("alice/web"), call(s, "bob/phone")
	bob.Send("<inactive xmlns='test'/>")
	alice.Send(directed(bob.JID, "1"))
	bob.Send("<r " + sm + "/>")
	bob.Expect("<a " + sm + " h='1'/>")
	bob.ExpectNothing()
	alice.Send(directed(bob.JID, "2"))
	bob.Send("<active xmlns='test'/>")
	bob.Expect(told("2"))
	bob.Expect("<r " + sm + "/>")
	bob.ExpectNothing()
}

// A stream that is resumed holds nothing, and what was held waits for it.
func TestHoldEndsWithTheConnection(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{holder()}})
	alice, bob := s.Login("alice/web"), call(s, "bob/phone")
	bob.Send("<inactive xmlns='test'/>")
	alice.Send(directed(bob.JID, "1") + directed(bob.JID, "2"))
	bob.Drop()
	alice.Send(directed(bob.JID, "3"))
	bob = bob.again(1, 1)
	bob.Expect(told("3"))
	bob.Expect("<r " + sm + "/>")
	alice.Send(directed(bob.JID, "4"))
	bob.Expect(told("4"))
	// Presence that is held does not count before it is sent.
	bob.ack(3)
	bob.ExpectNothing()
}

// Stream management that begins while presence is held counts nothing of that.
func TestEnabledWhileHolding(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{holder()}})
	alice, bob := s.Login("alice/web"), arrive(s, "bob")
	bob.Bind("phone")
	bob.Send("<inactive xmlns='test'/>")
	full := address2jid(t, "bob@example.com/phone")
	alice.Send(directed(full, "1"))
	bob.Send("<enable " + sm + " resume='true'/>")
	bob.Expect(told("1"))
	bob.Expect("<enabled " + sm + " id='{any}' resume='true' max='300'/>")
	alice.Send(say(full, "2"))
	bob.Expect(got("2"))
	bob.Expect("<r " + sm + "/>")
	bob.ack(1)
	bob.ExpectNothing()
}
