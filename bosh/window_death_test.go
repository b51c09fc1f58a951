package bosh

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestB35WindowDeath breaks off TestWindowExactlyOnce in the middle: whatever was
// said has reached the client or goes back. What is given back though the client has
// it, was not acknowledged.
func TestB35WindowDeath(t *testing.T) {
	kinds := map[string]int{}
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		d := newDelivery(rnd)
		for range 20 + rnd.IntN(100) {
			d.step(true)
		}
		d.w.finish()
		if rnd.IntN(2) == 0 {
			d.farewell()
		}
		for _, who := range slices.Sorted(maps.Keys(d.writing)) {
			rep := d.writing[who]
			delete(d.writing, who)
			d.written(who, rep, true)
		}
		d.checkDeath(t, seed, kinds)
		if t.Failed() {
			return
		}
	}
	t.Logf("stanzas: %v", kinds)
	if len(kinds) < 6 {
		t.Errorf("not every case came up: %v", kinds)
	}
}

// farewell gives everybody who waits the last word.
func (d *delivery) farewell() {
	for {
		rid, ok := d.w.oldest()
		if !ok {
			return
		}
		said := d.pending
		d.pending = ""
		d.answer(rid, said)
	}
}

func (d *delivery) checkDeath(t *testing.T, seed uint64, kinds map[string]int) {
	t.Helper()
	got := map[string]int64{} // stanza: rid
	for rid, said := range d.got {
		for _, id := range strings.Fields(*said) {
			if _, twice := got[id]; twice {
				t.Errorf("seed %d: the client has %s twice", seed, id)
			}
			got[id] = rid
		}
	}
	polite := set(t, string(d.w.undelivered(false))+d.pending)
	all := set(t, string(d.w.undelivered(true))+d.pending)
	name := map[bool]string{true: "acks", false: "no acks"}[d.w.acks]
	for i := range d.said {
		id := fmt.Sprint(i)
		rid, has := got[id]
		switch {
		case polite[id] && !all[id]:
			t.Errorf("seed %d: %s goes back only after a polite end", seed, id)
		case polite[id] && has:
			t.Errorf("seed %d: %s goes back and was written to the client", seed, id)
		case has && all[id] && d.w.acks && rid <= d.acked:
			t.Errorf("seed %d: %s goes back and was acknowledged", seed, id)
		case has && all[id]:
			kinds[name+", both"]++
		case has:
			kinds[name+", got"]++
		case all[id]:
			kinds[name+", back"]++
		case d.w.acks:
			t.Errorf("seed %d: %s is lost\n%+v", seed, id, d)
		default:
			// Written, lost on the way, and the client went on with another request.
			kinds[name+", gone"]++
		}
		if !has && !polite[id] && !d.lost[id] {
			t.Errorf("seed %d: %s was never written and does not go back\n%+v", seed, id, d)
		}
	}
}

func set(t *testing.T, ids string) map[string]bool {
	t.Helper()
	m := map[string]bool{}
	for _, id := range strings.Fields(ids) {
		if m[id] {
			t.Errorf("%s goes back twice", id)
		}
		m[id] = true
	}
	return m
}

// TestB35Evidence: what a request says of a reply that is still being written.
func TestB35Evidence(t *testing.T) {
	for _, test := range []struct {
		name  string
		hold  int
		empty bool
		known bool
	}{
		{"a request with something may have been on its way", 1, false, false},
		{"an empty one comes when there is no other", 1, true, true},
		{"unless there may be several", 2, true, false},
	} {
		w := newWindow[string](10, test.hold+1, test.hold)
		w.accept(10, "10", false)
		w.take()
		w.done(10)
		w.answer(10, text("x"), text(""))
		w.accept(11, "11", false)
		w.goesOn(test.empty)
		w.wrote(10, "10")
		if got := string(w.undelivered(true)); (got == "") != test.known {
			t.Errorf("%s: %q goes back", test.name, got)
		}
		w.goesOn(false)
		if got := string(w.undelivered(true)); got != "" {
			t.Errorf("%s: %q goes back in the end", test.name, got)
		}
	}
}
