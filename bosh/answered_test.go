package bosh

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
)

// TestEveryRequestIsAnswered has clients do whatever they like, by the rules or not,
// over connections that break, fail or take answers slowly. A request is answered
// within the time agreed upon, one that waits for another within the inactivity after
// that, and in the end nothing is left of any session.
func TestEveryRequestIsAnswered(t *testing.T) {
	did := map[string]int{}
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		attrs := fmt.Sprintf("to='example.com' ver='1.11' xmpp:version='1.0' wait='%d' hold='%d'", 5*rnd.IntN(4), rnd.IntN(3))
		if rnd.IntN(3) == 0 {
			attrs += " ack='1'"
		}
		coalesce := time.Duration(rnd.IntN(2)) * 20 * time.Millisecond
		inBubble(t, func(r *rig) {
			u := &unruly{rig: r, rnd: rnd, bob: r.srv.Online("bob/x"), attrs: attrs, did: did}
			for range 200 {
				if u.step(); t.Failed() {
					break
				}
			}
			u.leave()
		}, coalesced(coalesce), func(c *Config) {
			c.Hold, c.Inactivity, c.MaxPause, c.Limits.LoginTime = 2, 10*time.Second, 40*time.Second, time.Hour
		})
		if t.Failed() {
			t.Fatalf("seed %d: %s, coalesced %v", seed, attrs, coalesce)
		}
	}
	t.Logf("%v", did)
	for _, what := range []string{
		"next", "early", "again", "abort", "pause", "terminate", "kick", "slow", "broken", "full time", "given up",
	} {
		if did[what] < 10 {
			t.Errorf("%q happened %d times only", what, did[what])
		}
	}
}

// unruly is a client without manners.
type unruly struct {
	*rig
	rnd   *rand.Rand
	bob   *servertest.Client
	attrs string
	did   map[string]int

	c    *boshClient // nil without a session
	s    *session
	sent map[int64]bool // rids
	open []*timed
}

// timed is a request that must be answered in time.
type timed struct {
	*call
	begun time.Time
	limit time.Duration
}

func (u *unruly) step() {
	if u.c == nil {
		u.login()
	}
	switch n := u.rnd.IntN(40); {
	case n < 12:
		u.next("next", "")
	case n < 14:
		u.send("early", u.c.rid+2, "")
	case n < 18:
		u.send("again", u.c.rid-u.rnd.Int64N(3), "")
	case n < 20:
		if open := len(u.open); open > 0 {
			u.did["abort"]++
			u.open[u.rnd.IntN(open)].cancel()
		}
	case n < 26:
		u.bob.Send(toWeb(fmt.Sprint(n)))
	case n < 28:
		u.next("pause", fmt.Sprintf("pause='%d'", 1+u.rnd.IntN(40)))
	case n == 28 && u.rnd.IntN(8) == 0:
		u.next("terminate", "type='terminate'")
	case n == 29 && u.rnd.IntN(8) == 0:
		u.did["kick"]++
		u.srv.KickUser(address(u.t, "alice@example.com"), server.Close{Reason: server.ReasonReplaced})
	case n < 37:
		u.pass(time.Duration(u.rnd.IntN(50)) * time.Millisecond)
	default:
		u.pass(time.Duration(u.rnd.IntN(9000)) * time.Millisecond)
	}
	if u.rnd.IntN(3) > 0 {
		u.look()
	}
}

// login begins a session.
func (u *unruly) login() {
	u.c = u.create(u.attrs)
	u.s = u.h.find([]byte(u.c.sid))
	for _, step := range [][2]string{{"", plain("alice")}, {"xmpp:restart='true'", ""}, {"", bind("web")}, {"", presence}} {
		u.c.send(step[0], step[1]).now()
	}
	u.sent = map[int64]bool{u.c.rid: true}
}

func (u *unruly) next(what, attrs string) {
	u.c.rid++
	u.send(what, u.c.rid, attrs)
}

// send posts a request over a connection of whatever kind.
func (u *unruly) send(what string, rid int64, attrs string) {
	u.did[what]++
	u.sent[rid] = true
	payload := [...]string{"", "", ping, toWeb("own")}[u.rnd.IntN(4)]
	x := &timed{begun: time.Now(), limit: u.s.terms.wait, call: &call{t: u.t, sent: u.c.text(rid, attrs, payload)}}
	for before := rid; before > 1004; before-- {
		if !u.sent[before] {
			x.limit = u.s.terms.wait + u.h.cfg.Inactivity
		}
	}
	switch u.rnd.IntN(8) {
	case 0:
		u.did["slow"]++
		x.slow = time.Duration(u.rnd.IntN(20000)) * time.Millisecond
	case 1:
		u.did["broken"]++
		x.broken = true
	}
	u.start(x.call, newPost(x.sent))
	u.open = append(u.open, x)
}

// look checks how long requests have waited, or did.
func (u *unruly) look() {
	u.t.Helper()
	synctest.Wait()
	var open []*timed
	for _, x := range u.open {
		over := false
		select {
		case <-x.done:
			over = true
		default:
			open = append(open, x)
		}
		until := x.answered
		switch {
		case until.IsZero() && over:
			continue // it was aborted
		case until.IsZero():
			until = time.Now()
		}
		switch took := until.Sub(x.begun); {
		case took > x.limit:
			u.t.Errorf("%s waited for %v, the limit is %v\n%+v", x.sent, took, x.limit, u.s.win)
			x.limit = time.Hour
		case took < x.limit || took == 0:
		case took == u.s.terms.wait:
			u.did["full time"]++
		default:
			u.did["given up"]++
		}
	}
	u.open = open
	if u.c != nil && u.s.over() {
		u.c = nil
	}
}

// leave waits until the server has forgotten everything.
func (u *unruly) leave() {
	u.t.Helper()
	for range 100 {
		u.pass(time.Second)
		u.look()
	}
	for _, x := range u.open {
		u.t.Errorf("not answered: %s", x.sent)
		x.cancel()
	}
	if n := len(u.h.known()); n > 0 {
		u.t.Errorf("%d sessions are left", n)
	}
	if n := u.srv.Metric("rollcall_connections"); n != 1 {
		u.t.Errorf("%v connections are left, want bob's", n)
	}
	u.h.mu.Lock()
	defer u.h.mu.Unlock()
	if u.h.serving != 0 {
		u.t.Errorf("%d requests are still counted", u.h.serving)
	}
}

// TestForgottenWhileWriting: when the reply that others wait for is given up, they
// wait no longer.
func TestForgottenWhileWriting(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		poll.abort()
		c.rid++
		slow := &call{t: t, slow: 20 * time.Second, sent: c.text(c.rid, "", "")}
		r.start(slow, newPost(slow.sent))
		synctest.Wait()
		bob.Send(message("alice@example.com", "1")) // takes long to be written
		bob.Send(message("alice@example.com", "2"))
		for range 3 {
			c.send("", "").held()
		}
		last := c.send("", "")
		last.held()
		last.abort()
		next := c.send("", "")
		r.expectMessages(next.now(), "2")
		<-slow.done
	})
}

// TestB26Overtaken: a pause ends with the next request, also when that came first.
func TestB26Overtaken(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.login("alice")
		next := c.at(c.rid+2, "", "")
		next.held()
		r.expect(c.at(c.rid+1, "pause='100'", "").now())
		next.held()
		c.rid += 2
		r.pass(55 * time.Second)
		r.expect(next.now())
		r.pass(30 * time.Second)
		r.expectEnd(c.send("", "").now(), itemNotFound)
	})
}

// TestHeldCopiesAreSmall: a request that waits for its answer keeps nothing of what
// it said, nor does a copy of it.
func TestHeldCopiesAreSmall(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		text := message("bob@example.com", "1")
		c.send("", text).held()
		for range 2 {
			s := r.h.find([]byte(c.sid))
			s.mu.Lock()
			for _, q := range s.win.waiting() {
				if q.body != nil {
					t.Errorf("%q is kept", q.raw)
				}
			}
			s.mu.Unlock()
			c.at(c.rid, "", text).held()
		}
		bob.Next()
		bob.ExpectNothing()
	})
}
