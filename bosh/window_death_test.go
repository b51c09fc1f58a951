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
			if len(d.lost) == 0 {
				t.Errorf("seed %d: %s is lost\n%+v", seed, id, d)
			}
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
