package bosh

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/ns"
)

func coalesced(d time.Duration) func(*Config) { return func(c *Config) { c.Coalesce = d } }

// TestCoalesce: what comes shortly after a reply shares the next one.
func TestCoalesce(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		r.pass(time.Second)
		r.after(0, func() {
			bob.Send(toWeb("1"))
			r.expectMessages(poll.now(), "1") // the first after a quiet time
		})
		r.pass(30 * time.Millisecond)
		poll = c.send("", "")
		r.after(22*time.Millisecond, func() {
			r.pass(2 * time.Millisecond)
			for i := range 10 {
				bob.Send(toWeb(fmt.Sprint("2.", i)))
				r.pass(time.Millisecond)
			}
			poll.held()
			r.expectMessages(poll.body(), "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "2.8", "2.9")
		})
		// What had to wait for a request does not wait much longer.
		bob.Send(toWeb("3"))
		r.pass(15 * time.Millisecond)
		poll = c.send("", "")
		r.after(5*time.Millisecond, func() { r.expectMessages(poll.body(), "3") })
		bob.Send(toWeb("4"))
		r.pass(time.Minute)
		r.expectEnd(c.send("", "").now(), itemNotFound)
	}, coalesced(20*time.Millisecond))
}

// TestCoalesceNotForAnswers: what a request caused itself goes at once, and takes
// with it what waits. Every login of these tests shows it, too.
func TestCoalesceNotForAnswers(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		session := "<iq xmlns='jabber:client' type='set' id='s'><session xmlns='" + ns.Session + "'/></iq>"
		for range 5 {
			r.after(0, func() { c.expect(c.send("", session).now(), "iq") })
		}
		poll := c.send("", "")
		bob.Send(toWeb("1"))
		poll.held()
		r.after(0, func() {
			next := c.send("", ping)
			c.expect(poll.now(), "message", "iq")
			next.held()
		})
	}, coalesced(20*time.Millisecond))
}

// TestCoalesceEnds: ends, pauses, further requests and the time agreed upon do not
// wait, and nothing is lost by any of them.
func TestCoalesceEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		then func(r *rig, c *boshClient, poll *call)
	}{
		{"terminate", func(r *rig, c *boshClient, poll *call) {
			end := c.send("type='terminate'", "")
			r.expectMessages(poll.now(), "1")
			end.now()
		}},
		{"pause", func(r *rig, c *boshClient, poll *call) {
			pause := c.send("pause='60'", "")
			r.expectMessages(poll.now())
			r.expectMessages(pause.now())
			r.pass(50 * time.Millisecond)
			r.expectMessages(c.send("", "").now(), "1")
		}},
		{"a further request", func(r *rig, c *boshClient, poll *call) {
			next := c.send("", "")
			r.expectMessages(poll.now(), "1")
			next.held()
		}},
		{"the request breaks off", func(r *rig, c *boshClient, poll *call) {
			poll.abort()
			again := c.at(c.rid, "", "")
			r.after(20*time.Millisecond, func() { r.expectMessages(again.body(), "1") })
		}},
		{"a copy of the request", func(r *rig, c *boshClient, poll *call) {
			again := c.at(c.rid, "", "")
			r.expectError(poll)
			r.after(20*time.Millisecond, func() { r.expectMessages(again.body(), "1") })
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				bob := r.srv.Online("bob/x")
				c, poll := r.online("alice")
				bob.Send(toWeb("0"))
				r.expectMessages(poll.body(), "0")
				poll = c.send("", "")
				bob.Send(toWeb("1"))
				poll.held()
				test.then(r, c, poll)
			}, coalesced(20*time.Millisecond))
		})
	}
}

// TestCoalesceWait: a request whose time is over takes with it what waits.
func TestCoalesceWait(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		bob.Send(toWeb("0"))
		poll.body()
		poll = c.send("", "")
		r.pass(55*time.Second - time.Millisecond)
		bob.Send(toWeb("1"))
		r.after(time.Millisecond, func() { r.expectMessages(poll.body(), "1") })
	}, coalesced(time.Minute))
}

// TestCoalesceBurst counts the replies that a burst of 100 presences costs a client
// 5 ms away.
func TestCoalesceBurst(t *testing.T) {
	replies := func(coalesce time.Duration) (n int) {
		inBubble(t, func(r *rig) {
			bob := r.srv.Online("bob/x")
			c := r.login("alice")
			stop := make(chan struct{})
			go func() {
				defer close(stop)
				for i := range 100 {
					bob.Send(fmt.Sprintf("<presence xmlns='jabber:client' to='alice@example.com/web'><status>%d</status></presence>", i))
					time.Sleep(time.Millisecond)
				}
			}()
			for got := 0; got < 100; n++ {
				b := c.send("", "").body()
				for _, p := range b.SelectElements("presence") {
					if status := p.SelectElement("status").Text(); status != fmt.Sprint(got) {
						t.Fatalf("presence %s came after %d", status, got)
					}
					got++
				}
				time.Sleep(5 * time.Millisecond)
			}
			<-stop
			synctest.Wait()
		}, coalesced(coalesce))
		return n
	}
	without, with := replies(0), replies(20*time.Millisecond)
	t.Logf("%d replies without, %d with 20 ms", without, with)
	if without < 15 || with > 7 {
		t.Errorf("%d replies without, %d with 20 ms", without, with)
	}
}
