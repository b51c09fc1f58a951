package bosh

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
)

// expectBack checks that messages to alice come back, and nothing else does.
func expectBack(bob *servertest.Client, ids ...string) {
	for _, id := range ids {
		bob.Expect("<message type='error' id='" + id + "' from='alice@example.com/web' to='{bob}'>...</message>")
	}
	bob.ExpectNothing()
}

func toWeb(id string) string { return message("alice@example.com/web", id) }

// TestB35Pending: what waited for a request goes back when the session dies of
// inactivity; an iq is answered.
func TestB35Pending(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		r.login("alice")
		bob.Send(toWeb("1") + "<iq xmlns='jabber:client' to='alice@example.com/web' type='get' id='2'><x xmlns='y'/></iq>")
		bob.Send("<message xmlns='jabber:client' to='alice@example.com/web' type='headline' id='3'/>" + toWeb("4"))
		r.pass(29 * time.Second)
		bob.ExpectNothing()
		r.pass(2 * time.Second)
		bob.Expect("<message type='error' id='1' from='alice@example.com/web' to='{bob}'>...</message>")
		bob.Expect("<iq type='error' id='2' from='alice@example.com/web' to='{bob}'>...</iq>")
		expectBack(bob, "4")
	})
}

// TestB35NothingCameAfter: a client without acknowledgements that sends nothing
// after a reply has not got it; what it went on after, it has.
func TestB35NothingCameAfter(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		bob.Send(toWeb("got"))
		r.expectMessages(poll.now(), "got")
		poll = c.send("", "")
		bob.Send(toWeb("lost"))
		r.expectMessages(poll.now(), "lost") // written; that the client reads it here is not known
		bob.Send(toWeb("waits"))
		r.pass(31 * time.Second)
		expectBack(bob, "lost", "waits")
	})
}

// TestB35NotWritten: what could not be written goes back, also when the client had
// gone on without it.
func TestB35NotWritten(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		c.rid++
		poll := r.serve(newPost(c.text(c.rid, "", "")), true)
		synctest.Wait()
		bob.Send(toWeb("1"))
		<-poll.done
		r.pass(31 * time.Second)
		expectBack(bob, "1")
	})
}

// TestB35Unacked: a client that acknowledges says itself what it has got.
func TestB35Unacked(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.loginWith("alice", ackAttrs)
		for i := range 3 {
			poll := c.send(fmt.Sprintf("ack='%d'", min(c.rid, 1004)), "")
			poll.held()
			bob.Send(toWeb(fmt.Sprint(i)))
			r.expectMessages(poll.now(), fmt.Sprint(i))
		}
		r.pass(31 * time.Second)
		expectBack(bob, "1", "2") // 0 went with 1004
	})
}

// TestB35Tombstone: as long as the client may still ask why its session ended, it
// may get what was for it with the answer.
func TestB35Tombstone(t *testing.T) {
	for _, test := range []struct {
		name   string
		reason server.Reason
		fetch  bool
		back   []string
	}{
		{"taken over, asked", server.ReasonReplaced, true, nil},
		{"taken over, never asked", server.ReasonReplaced, false, []string{"1", "2"}},
		{"kicked, never asked", server.ReasonUserRemoved, false, []string{"1", "2"}},
		{"ended politely, never asked", server.ReasonClient, false, []string{"2"}},
		{"lost", server.ReasonLost, false, []string{"1", "2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				bob := r.srv.Online("bob/x")
				c, poll := r.online("alice")
				bob.Send(toWeb("1"))
				poll.now()
				bob.Send(toWeb("2"))
				r.srv.KickUser(address(t, "alice@example.com"), server.Close{Reason: test.reason})
				synctest.Wait()
				if test.reason != server.ReasonLost {
					bob.ExpectNothing()
				}
				if test.fetch {
					r.expectMessages(c.send("", "").now(), "2")
				}
				r.pass(31 * time.Second)
				expectBack(bob, test.back...)
			})
		})
	}
}

// TestB35AfterTheLastWord: what arrives when the session is over goes back too.
func TestB35AfterTheLastWord(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		s := r.h.find([]byte(c.sid))
		late := func(id string) {
			t.Helper()
			m := "<message xmlns='jabber:client' from='bob@example.com/x' to='alice@example.com/web' id='" + id + "'/>"
			if err := s.Write([]byte(m)); err != nil {
				t.Error(err)
			}
			s.Flush()
		}
		end := c.send("type='terminate'", "")
		end.now()
		poll.now()
		late("1") // whoever sends it has looked alice up before
		r.pass(29 * time.Second)
		bob.ExpectNothing()
		r.pass(2 * time.Second)
		expectBack(bob, "1")
		late("2")
		synctest.Wait()
		expectBack(bob, "2")
	})
}

// TestB35LateInOrder: what arrives while the session is being taken down goes back
// after what was there before, in order.
func TestB35LateInOrder(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		poll.abort()
		s := r.h.find([]byte(c.sid))
		r.leaving = make(chan struct{})
		bob.Send(toWeb("0"))
		r.pass(31 * time.Second)
		want := []string{"0"}
		for i := range 20 {
			want = append(want, fmt.Sprint(i+1))
			m := "<message xmlns='jabber:client' from='bob@example.com/x' to='alice@example.com/web' id='" + want[i+1] + "'/>"
			if err := s.Write([]byte(m)); err != nil {
				t.Error(err)
			}
			s.Flush()
		}
		bob.ExpectNothing()
		close(r.leaving)
		synctest.Wait()
		expectBack(bob, want...)
	})
}

// TestB35Overflow: also what the outbox has no room for.
func TestB35Overflow(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		r.login("alice")
		want := 0
		for i := 0; r.srv.Metric("rollcall_sessions") > 1 && i < 100; i++ {
			bob.Send(message("alice@example.com/web", fmt.Sprint(i, strings.Repeat("x", 30000))))
			synctest.Wait()
			want = i + 1
		}
		r.pass(31 * time.Second)
		for i := range want {
			if m := bob.Next(); !strings.HasPrefix(m.SelectAttrValue("id", ""), fmt.Sprint(i, "x")) {
				t.Fatalf("%.60s instead of %d of %d", dump(m), i, want)
			}
		}
		bob.ExpectNothing()
	})
}

// TestB35ToOthers: messages to the account reach a session that came too late for a
// copy, which is what happens when a page is loaded anew.
func TestB35ToOthers(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		_, poll := r.online("alice")
		bob.Send(message("alice@example.com", "1"))
		r.expectMessages(poll.now(), "1")
		phone := r.srv.Login("alice/phone")
		phone.Send("<presence/>")
		phone.Drain()
		bob.Send(message("alice@example.com", "2"))
		phone.Expect("<message from='{bob}' to='alice@example.com' id='2' type='chat'>...</message>")
		r.pass(31 * time.Second)
		phone.Expect("<presence type='unavailable' from='alice@example.com/web' to='{alice}'/>")
		phone.Expect("<message from='{bob}' to='alice@example.com' id='1' type='chat'>...</message>")
		phone.ExpectNothing()
		bob.ExpectNothing()
	})
}
