package bosh

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// storm is as many presence stanzas as a project has members.
func storm() string {
	var b strings.Builder
	for i := range 50 {
		fmt.Fprintf(&b, "<presence xmlns='jabber:client' from='user%d@example.com/desk' to='alice@example.com/web'><show>away</show></presence>", i)
	}
	return b.String()
}

// keptOf is how many bytes a session has in replies, and how many bytes these were.
func keptOf(s *session) (bytes, size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.win.slots {
		bytes += len(s.win.slots[i].reply.body)
	}
	_, size = s.win.kept()
	return bytes, size
}

// TestRepliesArePacked: a long reply that rests takes little memory, and a repeated request
// is answered with the very bytes, as often as it may be repeated.
func TestRepliesArePacked(t *testing.T) {
	inBubble(t, func(r *rig) {
		c, poll := r.online("alice")
		s := r.h.find([]byte(c.sid))
		if err := s.Write([]byte(storm())); err != nil {
			t.Fatal(err)
		}
		s.Flush()
		r.expect(poll.now(), strings.Fields(strings.Repeat("presence ", 50))...)
		want := bytes.Clone(poll.rec.Body.Bytes())
		c.send("", "").held()
		for n := range maxRepeats {
			if got, size := keptOf(s); got < 5000 || got != size {
				t.Fatalf("%d: a fresh reply takes %d bytes of %d", n, got, size)
			}
			r.pass(packDelay)
			if got, size := keptOf(s); got > 1000 || size < 5000 {
				t.Fatalf("%d: a reply that rested takes %d bytes of %d", n, got, size)
			}
			again := c.at(c.rid-1, "", "")
			again.now()
			if !bytes.Equal(again.rec.Body.Bytes(), want) {
				t.Fatalf("repeated: %q\nwant %q", again.rec.Body, want)
			}
			r.pass(time.Millisecond)
		}
		r.expectEnd(c.at(c.rid-1, "", "").now(), policyViolation)
	}, func(c *Config) { c.Wait, c.Inactivity = 10*time.Minute, 10*time.Minute })
}

// TestPackedAreNotLost: what a client may have missed goes back, also when it was packed.
func TestPackedAreNotLost(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		s := r.h.find([]byte(c.sid))
		text := strings.Repeat("what was said ", 300)
		bob.Send("<message xmlns='jabber:client' to='alice@example.com' type='chat' id='1'><body>" + text + "</body></message>")
		r.expectMessages(poll.now(), "1")
		r.pass(packDelay)
		if got, size := keptOf(s); got > 1000 || size < len(text) {
			t.Fatalf("a reply that rested takes %d bytes of %d", got, size)
		}
		r.pass(time.Minute) // alice does not come back
		if back := bob.Next(); back.SelectAttrValue("type", "") != "error" || back.SelectAttrValue("id", "") != "1" {
			t.Fatalf("bob got %s", dump(back))
		}
	})
}

// TestWritersAreNotPacked: a reply is not packed while it is written, but later.
func TestWritersAreNotPacked(t *testing.T) {
	inBubble(t, func(r *rig) {
		c, poll := r.online("alice")
		poll.abort()
		c.rid++
		slow := &call{t: t, slow: 5 * packDelay, sent: c.text(c.rid, "", "")}
		r.start(slow, newPost(slow.sent))
		synctest.Wait()
		s := r.h.find([]byte(c.sid))
		if err := s.Write([]byte(storm())); err != nil {
			t.Fatal(err)
		}
		s.Flush()
		r.pass(4 * packDelay)
		if got, size := keptOf(s); got != size {
			t.Errorf("it takes %d bytes of %d", got, size)
		}
		<-slow.done
		r.pass(2 * packDelay)
		if got, size := keptOf(s); got > 1000 || size < 5000 {
			t.Errorf("it takes %d bytes of %d", got, size)
		}
	})
}

// TestPackerTakesTurns: sessions that rest later do not wait longer than others, and
// nothing is left of those that are gone.
func TestPackerTakesTurns(t *testing.T) {
	inBubble(t, func(r *rig) {
		var all []*session
		for _, user := range []string{"alice", "bob"} {
			c, poll := r.online(user)
			s := r.h.find([]byte(c.sid))
			all = append(all, s)
			if err := s.Write([]byte(storm())); err != nil {
				t.Fatal(err)
			}
			s.Flush()
			poll.now()
			c.send("", "").held()
			r.pass(packDelay / 2)
		}
		for i, s := range all {
			if got, size := keptOf(s); (got < size) != (i == 0) {
				t.Errorf("%d: it takes %d bytes of %d", i, got, size)
			}
		}
		r.pass(packDelay / 2)
		for i, s := range all {
			if got, _ := keptOf(s); got > 1000 {
				t.Errorf("%d: it takes %d bytes", i, got)
			}
		}
		r.h.packer.mu.Lock()
		defer r.h.packer.mu.Unlock()
		if n := len(r.h.packer.queue); n > 0 || r.h.packer.busy {
			t.Errorf("%d sessions wait", n)
		}
	})
}
