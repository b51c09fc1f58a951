package server_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/conf"
	"rollcall/internal/servertest"
	"rollcall/server"
)

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := servertest.New(t, servertest.Options{Directory: people()})
		alice, p := s.Online("alice/web"), call(s, "bob/phone")
		desk := s.Login("bob/desk")
		desk.Send("<presence/>")
		desk.Drain()
		p.Drain()
		p.ack(2)
		p.Send("<presence><show>chat</show><status>here</status><priority>5</priority></presence>")
		desk.Expect("<presence>...<show>chat</show></presence>")
		p.Drop()
		alice.Send(say(p.JID, "1") + say(p.JID.Bare(), "2") +
			fmt.Sprintf("<iq type='get' id='3' to='%s'><x xmlns='y'/></iq>", p.JID))
		desk.Expect(got("2"))
		time.Sleep(29 * time.Second)
		synctest.Wait()
		desk.ExpectNothing()
		time.Sleep(2 * time.Second)
		desk.Expect("<presence from='{any}' to='{any}'><show>away</show><status>here</status><priority>5</priority></presence>")
		time.Sleep(300*time.Second - 32*time.Second)
		synctest.Wait()
		desk.ExpectNothing()
		alice.ExpectNothing()
		time.Sleep(2 * time.Second)
		desk.Expect("<presence type='unavailable' from='{any}' to='{any}'/>")
		desk.Expect(got("1"))
		alice.Expect("<iq type='error' id='3'>...</iq>")
		time.Sleep(time.Hour)
		synctest.Wait()
		desk.ExpectNothing()
		alice.ExpectNothing()
		if n := s.Metric("rollcall_detached_sessions"); n != 0 {
			t.Errorf("%v sessions wait", n)
		}
	})
}

func TestAwayAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := servertest.New(t, servertest.Options{Directory: people()})
		desk, p := s.Online("bob/desk"), call2(s, "bob/phone")
		desk.Drain()
		p.Drop()
		time.Sleep(time.Minute)
		desk.Expect("<presence from='{any}' to='{any}'><show>away</show></presence>")
		p = p.again(1, 2)
		desk.Expect("<presence from='{any}' to='{any}'/>")
		p.Expect(fmt.Sprintf("<presence from='%s' to='%[1]s'/>", p.JID)) // its own, as it is
		p.Expect("<r " + sm + "/>")
		p.ack(3)
		p.ExpectNothing()

		// Who has said that it is away is left alone.
		p.Send("<presence><show>xa</show></presence>")
		desk.Expect("<presence from='{any}' to='{any}'><show>xa</show></presence>")
		p.Drain()
		p.ack(4)
		p.Drop()
		time.Sleep(time.Minute)
		synctest.Wait()
		p = p.again(2, 4)
		desk.ExpectNothing()
		p.ExpectNothing()
	})
}

func TestSilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := servertest.New(t, servertest.Options{Directory: people()})
		alice, p := s.Online("alice/web"), call(s, "bob/phone")
		asked := func(seconds ...int) {
			t.Helper()
			began := time.Now()
			for _, after := range seconds {
				time.Sleep(time.Until(began.Add(time.Duration(after)*time.Second - time.Millisecond)))
				synctest.Wait()
				p.ExpectNothing()
				time.Sleep(time.Second)
				synctest.Wait()
				p.Expect("<r " + sm + "/>")
			}
		}
		alice.Send(say(p.JID, "1"))
		p.Expect(got("1"))
		p.Expect("<r " + sm + "/>")
		asked(5, 12)
		turn := p.Session().Begin()
		turn.Skipped(1) // it is there
		turn.End()
		asked(5, 12, 23)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if p.Closed() {
			t.Error("closed too early")
		}
		time.Sleep(2 * time.Second)
		if end := p.ExpectClosed(server.ReasonPing); !end.Cut {
			t.Error("the stream has ended")
		}
		alice.Send(say(p.JID, "2"))
		alice.ExpectNothing()
		p = p.again(1, 2)
		p.Expect(got("2"))
		p.Expect("<r " + sm + "/>")
		p.ack(3)
		time.Sleep(time.Hour)
		synctest.Wait()
		p.ExpectNothing()
		if p.Closed() {
			t.Error("closed without a reason")
		}
	})
}

func TestTooManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := conf.Default().StreamManagement
		options.Detached, options.Queue = 2, 10
		s := servertest.New(t, servertest.Options{Directory: people(), StreamManagement: &options})
		alice := s.Online("alice/web")
		var phones []*phone
		for i := range 3 {
			p := arrive(s, "bob")
			p.Bind(fmt.Sprint(i))
			p.Send("<enable " + sm + " resume='true'/>")
			p.id = p.Next().SelectAttrValue("id", "")
			phones = append(phones, p)
			p.Drop()
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := s.Metric("rollcall_detached_sessions"); n != 2 {
			t.Errorf("%v sessions wait", n)
		}
		// Presence of one sender takes one place, messages take one each.
		for i := range 100 {
			alice.Send(fmt.Sprintf("<presence to='%s'><priority>%d</priority></presence>", phones[2].JID, i))
		}
		for i := range 9 {
			alice.Send(say(phones[2].JID, fmt.Sprint(i)))
		}
		synctest.Wait()
		alice.ExpectNothing()
		alice.Send(say(phones[2].JID, "9"))
		synctest.Wait()
		for i := range 10 {
			alice.Expect(fmt.Sprintf("<message type='error' id='%d'>...</message>", i))
		}
		if n := s.Metric("rollcall_detached_sessions"); n != 1 {
			t.Errorf("%v sessions wait", n)
		}
	})
}
