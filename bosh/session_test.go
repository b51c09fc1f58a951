package bosh

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/ns"
	"rollcall/server"
)

const (
	ping     = "<iq xmlns='jabber:client' type='get' id='p' to='example.com'><ping xmlns='urn:xmpp:ping'/></iq>"
	presence = "<presence xmlns='jabber:client'/>"
)

func TestB1WrongHosts(t *testing.T) {
	inBubble(t, func(r *rig) {
		for to, condition := range map[string]string{
			"":                       improperAddressing,
			"to='elsewhere.example'": hostUnknown,
			"to='alice@example.com'": hostUnknown,
		} {
			b := r.post(creation(strings.Replace(usualAttrs, "to='example.com'", to, 1))).now()
			r.expectEnd(b, condition)
			if b.SelectAttr("sid") != nil {
				t.Errorf("%s", dump(b))
			}
		}
		if n := len(r.h.known()); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

func TestB2RIDs(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, rid := range []string{"rid='0'", "rid='x'", "rid='9007199254740992'", ""} {
			r.expectEnd(r.post(strings.Replace(creation(usualAttrs), "rid='1000'", rid, 1)).now(), badRequestCondition)
		}
		c, poll := r.online("alice")
		r.expectEnd(r.post("<body xmlns='"+ns.HTTPBind+"' sid='"+c.sid+"' rid='x'/>").now(), badRequestCondition)
		r.expectEnd(poll.now(), badRequestCondition)
	})
}

func TestB3B4B40CreationReply(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.create(usualAttrs + " from='alice@example.com'")
		for name, want := range map[string]string{
			"wait": "55", "hold": "1", "requests": "2", "inactivity": "30", "polling": "2", "maxpause": "120",
			"ver": "1.6", "from": "example.com", "xmpp:version": "1.0", "xmpp:restartlogic": "true",
		} {
			if got := c.created.SelectAttrValue(name, ""); got != want {
				t.Errorf("%s=%q, want %q", name, got, want)
			}
		}
		for _, name := range []string{"ack", "charsets", "accept", "secure", "type"} { // B20, B39, B40
			if c.created.SelectAttr(name) != nil {
				t.Errorf("%s in %s", name, dump(c.created))
			}
		}
		if len(c.created.SelectAttrValue("authid", "")) < 22 {
			t.Errorf("authid in %s", dump(c.created))
		}
		f := c.created.FindElement("./features")
		if f.Space != "stream" || c.created.SelectAttrValue("xmlns:stream", "") != ns.Stream {
			t.Errorf("features in %s", dump(c.created))
		}
		next := c.send("", plain("alice")).now()
		for _, name := range []string{"sid", "wait", "requests", "inactivity", "xmlns:xmpp", "xmlns:stream"} {
			if next.SelectAttr(name) != nil {
				t.Errorf("%s in %s", name, dump(next))
			}
		}
	})
}

func TestB5NoVersion(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.create(strings.Replace(usualAttrs, "xmpp:version='1.0'", "", 1))
		old := strings.Replace(usualAttrs, "xmpp:version='1.0'", "xmpp:version='0.9'", 1)
		b := r.post(creation(old)).now()
		r.expectEnd(b, remoteStreamError)
		if b.FindElement("./error/unsupported-version") == nil {
			t.Errorf("%s", dump(b))
		}
	})
}

func TestB6PayloadAtCreation(t *testing.T) {
	inBubble(t, func(r *rig) {
		text := strings.Replace(creation(usualAttrs), "/>", ">"+plain("alice")+bind("web")+"</body>", 1)
		r.expect(r.post(text).now(), "features", "success", "iq")
	})
}

func TestB7SIDs(t *testing.T) {
	inBubble(t, func(r *rig) {
		seen := map[string]bool{}
		for range 50 {
			c := r.create(usualAttrs)
			if seen[c.sid] || len(c.sid) < 26 { // 5 bits each
				t.Errorf("sid %q", c.sid)
			}
			seen[c.sid] = true
		}
		r.expectEnd(r.post(creation("sid='nobody'")).now(), itemNotFound)
	})
}

func TestB10Terms(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, test := range []struct{ attrs, want string }{
			{"ver='1.6'", "55 2 3 1.6"},
			{"ver='1.11' wait='10' hold='1'", "10 1 2 1.11"},
			{"ver='1.12' wait='100000000000' hold='9'", "55 2 3 1.11"},
			{"ver='2.0' hold='0'", "55 0 1 1.11"},
			{"ver='rubbish' wait='0'", "0 2 3 1.11"},
		} {
			b := r.create("to='example.com' " + test.attrs).created
			got := ""
			for _, name := range []string{"wait", "hold", "requests", "ver"} {
				got += " " + b.SelectAttrValue(name, "")
			}
			if got[1:] != test.want {
				t.Errorf("%s: %s, want %s", test.attrs, got, test.want)
			}
		}
		r.expectEnd(r.post(creation("to='example.com' ver='1.6' wait='long'")).now(), badRequestCondition)
	}, func(c *Config) { c.Hold = 2 })
	// More requests may be in flight than one beyond those held.
	inBubble(t, func(r *rig) {
		for hold, want := range map[string]string{"0": "3", "1": "4", "7": "4"} {
			b := r.create("to='example.com' ver='1.6' hold='" + hold + "'").created
			if got := b.SelectAttrValue("requests", ""); got != want {
				t.Errorf("hold %s: %s requests, want %s", hold, got, want)
			}
		}
	}, func(c *Config) { c.Requests = 4 })
}

// TestB40UTF8Only: no other charset is offered.
func TestB40UTF8Only(t *testing.T) {
	inBubble(t, func(r *rig) {
		b := r.create("to='example.com' ver='1.6' charsets='ISO_8859-1 UTF-8'").created
		if a := b.SelectAttr("charsets"); a != nil {
			t.Errorf("charsets %q", a.Value)
		}
	})
}

func TestB11B13OutOfOrder(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		second := c.at(c.rid+2, "", message("bob@example.com", "2"))
		second.held()
		bob.ExpectNothing()
		// The early one again: the first copy is told so, the second counts.
		again := c.at(c.rid+2, "", message("bob@example.com", "2b"))
		if b := second.now(); b.SelectAttrValue("type", "") != "error" {
			t.Errorf("the first copy got %s", dump(b))
		}
		first := c.at(c.rid+1, "", message("bob@example.com", "1"))
		r.expect(first.now())
		again.held()
		bob.Expect("<message from='alice@example.com/web' to='bob@example.com' type='chat' id='1'>...</message>")
		bob.Expect("<message from='alice@example.com/web' to='bob@example.com' type='chat' id='2b'>...</message>")
		bob.ExpectNothing()
	})
}

func TestB12AboveTheWindow(t *testing.T) {
	inBubble(t, func(r *rig) {
		c, poll := r.online("alice")
		r.expectEnd(c.at(c.rid+3, "", "").now(), itemNotFound)
		r.expectEnd(poll.now(), itemNotFound)
		r.expectEnd(c.send("", "").now(), itemNotFound)
	})
}

func TestB14Replay(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		payload := message("bob@example.com", "1") + ping
		first := c.send("", payload).now()
		again := c.at(c.rid, "", payload).now()
		if dump(first) != dump(again) || len(first.ChildElements()) != 1 {
			t.Errorf("first %s\nthen %s", dump(first), dump(again))
		}
		bob.Expect("<message from='alice@example.com/web' to='bob@example.com' type='chat' id='1'>...</message>")
		bob.ExpectNothing()
	})
}

func TestB15SameRIDWhileHeld(t *testing.T) {
	inBubble(t, func(r *rig) {
		c, old := r.online("alice")
		poll := c.at(c.rid, "", "")
		if b := old.now(); b.SelectAttrValue("type", "") != "error" || len(b.ChildElements()) != 0 {
			t.Errorf("the old request got %s", dump(b))
		}
		poll.held()
		r.srv.Online("bob/x").Send(message("alice@example.com", "1"))
		r.expectMessages(poll.now(), "1")
	})
}

func TestB16TooOld(t *testing.T) {
	inBubble(t, func(r *rig) {
		c, poll := r.online("alice")
		r.expectEnd(c.at(c.rid-4, "", "").now(), itemNotFound)
		poll.held()
	})
}

func TestB17TooManyRepeats(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.login("alice")
		for range maxRepeats {
			r.expect(c.at(c.rid, "", "").now(), "iq")
		}
		r.expectEnd(c.at(c.rid, "", "").now(), policyViolation)
	})
}

func TestB18HoldAtMost(t *testing.T) {
	inBubble(t, func(r *rig) {
		c, first := r.online("alice")
		second := c.send("", "")
		r.expect(first.now())
		third := c.send("", ping)
		r.expect(second.now(), "iq") // what there is goes with the oldest
		third.held()
	})
}

func TestB19WaitAndStanzas(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		r.expect(c.send("", presence).now(), "presence")
		r.after(55*time.Second, func() { r.expect(c.send("", "").body()) })
		poll := c.send("", "")
		poll.held()
		bob.Send(message("alice@example.com", "1"))
		r.expectMessages(poll.now(), "1")
		bob.Send(message("alice@example.com", "2") + message("alice@example.com", "3"))
		r.expectMessages(c.send("", "").now(), "2", "3")
	})
}

func TestB21AbortedRequest(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		poll.abort()
		bob.Send(message("alice@example.com", "1"))
		synctest.Wait()
		// A reloaded page goes on with the next rid; a client asks again with the same.
		r.expectMessages(c.send("", "").now(), "1")
		r.expect(c.at(c.rid-1, "", "").now())

		poll = c.send("", "")
		poll.abort()
		bob.Send(message("alice@example.com", "2"))
		r.expectMessages(c.at(c.rid, "", "").now(), "2")
	})
}

func TestB21BrokenWrite(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		poll.broken = true
		bob.Send(message("alice@example.com", "1"))
		<-poll.done
		bob.Send(message("alice@example.com", "2"))
		synctest.Wait()
		r.expectMessages(c.send("", "").now(), "1", "2")
	})
}

// TestCreationLost: nobody can use a session whose first answer got lost.
func TestCreationLost(t *testing.T) {
	inBubble(t, func(r *rig) {
		<-r.serve(newPost(creation(usualAttrs)), true).done
		synctest.Wait()
		if n := len(r.h.known()); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		if n := r.srv.Metric("rollcall_connections"); n != 0 {
			t.Errorf("%v connections are left", n)
		}
	})
}

func TestB29Restart(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, restart := range []string{"xmpp:restart='true'", "xmpp:restart='1'", "y:restart='true' xmlns:y='" + ns.XBOSH + "'"} {
			c := r.create(usualAttrs)
			r.expect(c.send("", plain("alice")).now(), "success")
			// Its payload is ignored; and "to" may be missing.
			b := c.send(restart, bind("x")).now()
			r.expect(b, "features")
			if b.FindElement("./features/bind") == nil {
				t.Errorf("%s", dump(b))
			}
			r.expectEnd(c.send("type='terminate'", "").now(), "")
		}
	})
}

// TestB11OneAtATime: while one request is processed the next ones wait, however
// many come.
func TestB11OneAtATime(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.loginWith("alice", strings.Replace(usualAttrs, "hold='1'", "hold='2'", 1))
		r.gate = make(chan struct{})
		c.send("", presence)
		synctest.Wait() // it is stuck in a handler
		for _, id := range []string{"1", "2"} {
			c.send("", message("bob@example.com", id)).held()
		}
		s := r.h.find([]byte(c.sid))
		s.mu.Lock()
		for state, q := range s.win.waiting() {
			if first := q.rid == c.rid-2; first != (state == taken) {
				t.Errorf("rid %d of %d is in state %d", q.rid, c.rid, state)
			}
		}
		s.mu.Unlock()
		close(r.gate)
		for _, id := range []string{"1", "2"} {
			bob.Expect("<message from='alice@example.com/web' to='bob@example.com' type='chat' id='" + id + "'>...</message>")
		}
	}, func(c *Config) { c.Hold = 2 })
}

// TestWriteAfterClose: what is sent to a session that is over goes nowhere.
func TestWriteAfterClose(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.login("alice")
		s := r.h.find([]byte(c.sid))
		r.srv.KickUser(address(t, "alice@example.com"), server.Close{Reason: server.ReasonReplaced})
		synctest.Wait()
		if err := s.Write([]byte(message("alice@example.com", "1"))); err != nil {
			t.Error(err)
		}
		r.expectMessages(c.send("", "").now())
	})
}

// TestManyInOneBody: what a client sends in one body is worked off in order.
func TestManyInOneBody(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		payload := ""
		for i := range 100 {
			payload += message("bob@example.com", fmt.Sprint(i))
		}
		c.send("", payload)
		for i := range 100 {
			bob.Expect(fmt.Sprintf("<message from='alice@example.com/web' to='bob@example.com' type='chat' id='%d'>...</message>", i))
		}
	})
}

func TestSlowReader(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		r.expect(c.send("", presence).now(), "presence")
		big := strings.Replace(message("alice@example.com", "1"), "</body>", strings.Repeat("x", 1000)+"</body>", 1)
		for range 12 {
			bob.Send(big)
		}
		synctest.Wait()
		b := c.send("", "").now()
		r.expectEnd(b, remoteStreamError)
		if n := len(b.SelectElements("message")); n < 8 || n > 11 || b.FindElement("./error/resource-constraint") == nil {
			t.Errorf("%d messages in %s", n, dump(b))
		}
	}, func(c *Config) { c.Limits.OutboxBytes = 12000 })
}

// What is longer than all that may wait arrives nevertheless, also behind something short.
func TestLongElement(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		r.expect(c.send("", presence).now(), "presence")
		long := strings.Replace(message("alice@example.com", "2"), "</body>", strings.Repeat("x", 20000)+"</body>", 1)
		bob.Send(message("alice@example.com", "1") + long)
		synctest.Wait()
		r.expect(c.send("", "").now(), "message", "message")
	}, func(c *Config) { c.Limits.OutboxBytes = 12000 })
}
