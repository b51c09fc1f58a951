package bosh

import (
	"strings"
	"testing"
	"time"
)

func TestB22Inactivity(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.login("alice")
		r.pass(29 * time.Second)
		// It does not run while a request is held.
		r.after(55*time.Second, func() { r.expect(c.send("", "").body()) })
		r.pass(30*time.Second - 1)
		poll := c.send("", "")
		poll.held()
		r.pass(5 * time.Second)
		// A request that breaks off starts it.
		poll.abort()
		r.pass(30*time.Second - 1)
		poll = c.at(c.rid, "", "")
		poll.held()
		poll.abort()
		r.pass(30 * time.Second)
		r.expectEnd(c.at(c.rid, "", "").now(), itemNotFound)
		if n := r.srv.Metric("rollcall_connections"); n != 0 {
			t.Errorf("%v connections", n)
		}
	})
}

func TestB22ReplaysCount(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.login("alice")
		for range 5 {
			r.pass(20 * time.Second)
			r.expect(c.at(c.rid, "", "").now(), "iq")
		}
		r.pass(30 * time.Second)
		r.expectEnd(c.at(c.rid, "", "").now(), itemNotFound)
	})
}

// TestGapNeverFills: a request that waits for one before it does not wait for
// ever, but longer than clients take to repeat the missing one.
func TestGapNeverFills(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.login("alice")
		early := c.at(c.rid+2, "", "")
		r.after(85*time.Second, func() { r.expectEnd(early.body(), remoteStreamError) })
		r.expectEnd(c.send("", "").now(), remoteStreamError) // whoever was told may have missed it

		c = r.login("alice")
		early = c.at(c.rid+2, "", "")
		r.pass(84 * time.Second)
		r.expect(c.send("", ping).now(), "iq")
		r.expect(early.now()) // it has waited long enough
	})
}

func TestLoginTime(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.create(usualAttrs)
		poll := c.send("", "")
		r.after(testLimits.LoginTime, func() { r.expectEnd(poll.body(), remoteStreamError) })
	})
}

func TestB23Polling(t *testing.T) {
	for _, attrs := range []string{"wait='0' hold='1'", "wait='60' hold='0'", "wait='0' hold='0'"} {
		t.Run(attrs, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				bob := r.srv.Online("bob/x")
				c := r.loginWith("alice", strings.Replace(usualAttrs, "wait='60' hold='1'", attrs, 1))
				r.expect(c.send("", presence).now(), "presence")
				r.expect(c.send("", "").now())
				bob.Send(message("alice@example.com", "1"))
				r.pass(2 * time.Second)
				r.expectMessages(c.send("", "").now(), "1")
				// The one before brought something, so that there may be more.
				r.expect(c.send("", "").now())
				// One with a payload is no poll.
				r.expect(c.send("", ping).now(), "iq")
				r.expect(c.send("", "").now())
				// Asking again for a lost answer is no new request.
				r.expect(c.at(c.rid, "", "").now())
				r.pass(2 * time.Second)
				r.expect(c.send("", "").now())
				r.pass(2*time.Second - 1)
				r.expectEnd(c.send("", "").now(), policyViolation)
			})
		})
	}
}

func TestB24TooManyRequests(t *testing.T) {
	inBubble(t, func(r *rig) {
		c, poll := r.online("alice")
		// One has not arrived yet, so this makes three.
		r.expectEnd(c.at(c.rid+2, "", "").now(), policyViolation)
		r.expectEnd(poll.now(), policyViolation)

		c, poll = r.online("alice")
		bye := c.at(c.rid+2, "type='terminate'", "")
		bye.held()
		last := c.send("", "")
		r.expect(poll.now())
		r.expectEnd(last.now(), "")
		r.expect(bye.now())
	})
}

func TestB26Pause(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		pause := c.send("pause='100'", "")
		r.expect(poll.now())
		r.expect(pause.now())
		bob.Send(message("alice@example.com", "1"))
		r.pass(60 * time.Second)
		r.expect(c.at(c.rid, "pause='100'", "").now()) // its answer was lost
		r.pass(100*time.Second - 1)
		r.expectMessages(c.send("", "").now(), "1")
		// From then on the usual time counts.
		r.pass(30 * time.Second)
		r.expectEnd(c.send("", "").now(), itemNotFound)
		for _, pause := range []string{"121", "0"} {
			c, poll = r.online("alice")
			bad := c.send("pause='"+pause+"'", "")
			r.expectEnd(poll.now(), policyViolation)
			r.expectEnd(bad.now(), policyViolation)
		}
	})
}

// TestTouch: empty requests are signs of life for the core.
func TestTouch(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.login("alice")
		r.pass(10 * time.Second)
		c.send("", "").held()
		core := r.h.find([]byte(c.sid)).core
		if seen := core.Seen(); !seen.Equal(time.Now()) {
			t.Errorf("seen %v ago", time.Since(seen))
		}
		r.pass(10 * time.Second)
		c.at(c.rid, "", "").held()
		if seen := core.Seen(); !seen.Equal(time.Now()) {
			t.Errorf("seen %v ago", time.Since(seen))
		}
	})
}

func TestShutdown(t *testing.T) {
	inBubble(t, func(r *rig) {
		c, poll := r.online("alice")
		if err := r.h.Shutdown(r.t.Context()); err != nil {
			t.Fatal(err)
		}
		// Whatever was held is written by now, though the core goes on.
		if poll.rec.Body.Len() == 0 {
			t.Fatal("a request is still held")
		}
		r.expectEnd(poll.body(), systemShutdown)
		r.expectEnd(c.send("", "").now(), systemShutdown)
		r.expectEnd(r.post(creation(usualAttrs)).now(), systemShutdown)
	})
}
