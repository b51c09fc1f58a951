package server

import (
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/jid"
)

func TestRemovals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice, err := jid.Parse("alice@example.com")
		if err != nil {
			t.Fatal(err)
		}
		bob, err := jid.Parse("bob@example.com")
		if err != nil {
			t.Fatal(err)
		}
		var r removals
		start := r.now()
		r.add(alice, time.Second)
		if !r.since(alice, start) || r.since(alice, r.now()) || r.since(bob, start) {
			t.Error("one removal is not told from before, after and others")
		}
		time.Sleep(time.Second)
		again := r.now()
		r.add(alice, time.Second)
		time.Sleep(time.Millisecond)
		r.add(bob, time.Second) // forgets the first
		if !r.since(alice, again) || len(r.queue) != 2 {
			t.Errorf("the second removal was forgotten with the first; %d left", len(r.queue))
		}
		time.Sleep(2 * time.Second)
		r.add(bob, time.Second)
		if len(r.last) != 1 || len(r.queue) != 1 || r.since(alice, start) {
			t.Errorf("%d remembered, %d queued", len(r.last), len(r.queue))
		}
	})
}
