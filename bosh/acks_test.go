package bosh

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const ackAttrs = usualAttrs + " ack='1'"

func attr(c *call, name string) string { return c.now().SelectAttrValue(name, "-") }

// TestB20ServerAcks: a client that acknowledges learns which requests have come
// (XEP-0124 section 9.1); others are not bothered.
func TestB20ServerAcks(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.loginWith("alice", ackAttrs)
		if got := c.created.SelectAttrValue("ack", ""); got != "1000" {
			t.Errorf("created with ack %q", got)
		}
		one := c.send("", "")
		one.held()
		two := c.send("", ping)
		if got := attr(one, "ack"); got != fmt.Sprint(c.rid) {
			t.Errorf("the first of two has ack %s, want %d", got, c.rid)
		}
		two.held()
		c.send("", ping)
		two.now()
		r.pass(time.Minute)
		early := c.at(c.rid+2, "", "") // one is missing
		early.held()
		if got := attr(c.at(c.rid+1, "", ping), "ack"); got != fmt.Sprint(c.rid+2) {
			t.Errorf("ack %s, want %d", got, c.rid+2)
		}

		c = r.loginWith("bob", ackAttrs)
		if got := attr(c.send("", ping), "ack"); got != "-" {
			t.Errorf("ack %s of the request answered", got)
		}
		d := r.loginWith("bob", usualAttrs)
		poll := d.send("", "")
		d.send("", ping)
		if got := attr(poll, "ack") + d.created.SelectAttrValue("ack", "-"); got != "--" {
			t.Errorf("acks %s for who has not asked", got)
		}
	})
}

// TestB20ClientAcks: replies are kept until they are acknowledged, however many, and
// no longer.
func TestB20ClientAcks(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.loginWith("alice", ackAttrs)
		got := c.rid
		first := c.send(fmt.Sprintf("ack='%d'", got), ping)
		want := dump(first.now())
		for range 20 {
			c.send(fmt.Sprintf("ack='%d'", got), ping).now()
		}
		if again := dump(c.at(got+1, fmt.Sprintf("ack='%d'", got), ping).now()); again != want {
			t.Errorf("replayed\n%s, want\n%s", again, want)
		}
		c.send(fmt.Sprintf("ack='%d'", got+1), ping).now()
		r.expectEnd(c.at(got+1, "", "").now(), itemNotFound)
		r.expect(c.at(got+2, fmt.Sprintf("ack='%d'", got+1), "").now(), "iq")
		c.send("", ping).now() // everything was received
		r.expectEnd(c.at(got+2, "", "").now(), itemNotFound)
		r.expect(c.send("", ping).now(), "iq") // the session is well
	})
}

// TestB20Report: a reply that did not arrive is reported with its age, at once if it
// is old.
func TestB20Report(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.loginWith("alice", ackAttrs)
		got := c.rid
		c.send("", ping).now()
		r.pass(300 * time.Millisecond)
		b := c.send(fmt.Sprintf("ack='%d'", got), ping).now()
		if report, age := b.SelectAttrValue("report", ""), b.SelectAttrValue("time", ""); report != fmt.Sprint(got+1) || age != "300" {
			t.Errorf("%s", dump(b))
		}
		if again := dump(c.at(c.rid, fmt.Sprintf("ack='%d'", got), ping).now()); again != dump(b) {
			t.Errorf("replayed\n%s, want\n%s", again, dump(b))
		}
		c.send("", ping).now()
		young := c.send(fmt.Sprintf("ack='%d'", c.rid-1), "")
		young.held() // it may still be under way

		c = r.loginWith("bob", ackAttrs)
		got = c.rid
		c.send("", ping).now()
		r.pass(1500 * time.Millisecond)
		if old := attr(c.send(fmt.Sprintf("ack='%d'", got), ""), "time"); old != "1500" {
			t.Errorf("time %s", old)
		}
		if late := attr(c.send("", ping), "report"); late != "-" {
			t.Errorf("report %s of what was received", late)
		}
	})
}

// TestB20Unacked: what is kept for a client that does not acknowledge is bounded by
// number and by size.
func TestB20Unacked(t *testing.T) {
	inBubble(t, func(r *rig) {
		c := r.loginWith("alice", ackAttrs)
		ack := fmt.Sprintf("ack='%d'", c.rid)
		n := 0
		for ; n <= 2*maxUnacked; n++ {
			if b := c.send(ack, ping).now(); b.SelectAttr("type") != nil {
				r.expectEnd(b, policyViolation)
				break
			}
		}
		if n != maxUnacked+1 {
			t.Errorf("%d replies were kept", n)
		}

		c = r.loginWith("bob", ackAttrs)
		ack = fmt.Sprintf("ack='%d'", c.rid)
		big := message("bob@example.com/web", strings.Repeat("x", 30000))
		for n = 0; n < maxUnacked; n++ {
			if b := c.send(ack, big).now(); b.SelectAttr("type") != nil {
				r.expectEnd(b, policyViolation)
				break
			}
		}
		if kept := int(r.h.cfg.Limits.OutboxBytes) / 60000; n < kept-1 || n > kept+2 {
			t.Errorf("%d replies of 60 kB were kept, want about %d", n, kept)
		}
	})
}

func TestB20BadAcks(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, ack := range []string{"", "x", "-1", "9007199254740992", "1 "} {
			c := r.loginWith("alice", ackAttrs)
			r.expectEnd(c.send("ack='"+ack+"'", ping).now(), badRequestCondition)
		}
		c := r.loginWith("alice", ackAttrs)
		poll := c.send("ack='9007199254740991'", "") // from the future: no more than was answered
		poll.held()
		next := c.send("", ping)
		r.expect(poll.now(), "iq")
		next.held()
	})
}
