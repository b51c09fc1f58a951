package bosh

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestWindowCopies is about several copies of one request whose answers are being
// written at the same time. It uses the scripts of TestWindow.
func TestWindowCopies(t *testing.T) {
	const held = "10 process; take 10; done 10; "
	for _, test := range []struct{ name, steps string }{
		{"what a replaced copy was told is no answer", held + "10b repeated 10; say 10 x: 10b; wrote 10; lost 10b: x"},
		{"a replaced copy that breaks off means nothing", held + "10b repeated 10; say 10 x: 10b; lost 10: ; wrote 10b; 10c replayed x"},
		{"the second copy fails, the first may not", held + "say 10 x: 10; 10b replayed x; lost 10b: ; wrote 10; 10c replayed x"},
		{"the first copy fails, the second may not", held + "say 10 x: 10; 10b replayed x; lost 10: ; wrote 10b; 10c replayed x"},
		{"both fail", held + "say 10 x: 10; 10b replayed x; lost 10: ; lost 10b: x; oldest -; 10c repeated -; oldest 10"},
		{"a failure is told twice", held + "say 10 x: 10; lost 10: x; lost 10: ; 11 process; take 11; done 11; say 11 x: 11; 10b replayed "},
		{"a copy that came and went leaves the other", held + "10b repeated 10; lost 10: ; oldest 10; lost 10b: ; oldest -"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWindow[string](10, 2, 1)
			for step := range strings.SplitSeq(test.steps, "; ") {
				if got := play(&w, step); got != step {
					t.Fatalf("%q went %q\n%+v", step, got, w)
				}
			}
		})
	}
}

// delivery is a server and a client with a bad network between them: requests
// arrive in any order, late, several times or never; their connections break
// while they wait and while answers are being written; answers get lost.
type delivery struct {
	rnd       *rand.Rand
	w         window[string]
	pending   string
	said      int
	processed []int64

	copies  int
	coming  []string          // copies on their way to the server
	writing map[string]reply  // copies whose answer is on its way
	waiting map[string]bool   // copies that the server has
	sent    map[int64]int     // copies of each rid, by the client
	got     map[int64]*string // what the client was answered
	next    int64             // the client's next rid
	ack     map[string]int64  // what each copy acknowledges
	acked   int64             // the highest of these that arrived
	lost    map[string]bool   // stanzas that were written and did not arrive
}

func newDelivery(rnd *rand.Rand) *delivery {
	requests := 1 + rnd.IntN(4)
	d := &delivery{
		rnd: rnd, w: newWindow[string](1, requests, rnd.IntN(requests)), next: 1,
		writing: map[string]reply{}, waiting: map[string]bool{}, sent: map[int64]int{}, got: map[int64]*string{},
		ack: map[string]int64{}, lost: map[string]bool{},
	}
	d.w.acks = rnd.IntN(2) == 0
	return d
}

// TestWindowExactlyOnce: whatever happens, everything that the server says reaches
// the client once and in order, and every request is processed once and in order.
func TestWindowExactlyOnce(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		d := newDelivery(rnd)
		for range 150 {
			d.step(true)
		}
		for i := 0; len(d.coming) > 0 || len(d.writing) > 0 || d.pending != "" || d.open() < d.next; i++ {
			if i > 5000 {
				t.Fatalf("seed %d: no end\n%+v", seed, d)
			}
			d.step(false)
		}
		d.check(t, seed)
	}
}

func (d *delivery) check(t *testing.T, seed uint64) {
	t.Helper()
	var seen, want []string
	for rid := range d.next {
		if d.got[rid] != nil {
			seen = append(seen, strings.Fields(*d.got[rid])...)
		}
	}
	for i := range d.said {
		want = append(want, fmt.Sprint(i))
	}
	if d.said == 0 || !slices.Equal(seen, want) {
		t.Fatalf("seed %d: the client got\n%v of\n%v\n%+v", seed, seen, want, d)
	}
	for i, rid := range d.processed {
		if rid != int64(i+1) {
			t.Fatalf("seed %d: processed in the order %v", seed, d.processed)
		}
	}
	if int64(len(d.processed)) != d.next-1 {
		t.Fatalf("seed %d: %d of %d processed", seed, len(d.processed), d.next-1)
	}
}

// open is the lowest rid without an answer, as the client sees it.
func (d *delivery) open() int64 {
	for rid := int64(1); ; rid++ {
		if d.got[rid] == nil {
			return rid
		}
	}
}

func (d *delivery) step(trouble bool) {
	switch d.rnd.IntN(6) {
	case 0:
		if trouble {
			d.pending += fmt.Sprintf(" %d", d.said)
			d.said++
		}
	case 1:
		// The client sends a new request, or one that is not answered again.
		open := d.open()
		switch fresh := d.next-open < int64(d.w.requests); {
		case fresh && (trouble || d.pending != "") && d.rnd.IntN(3) > 0:
			d.send(d.next)
			d.next++
		case d.next > open:
			d.send(open + d.rnd.Int64N(d.next-open))
		}
	case 2, 3:
		if i := len(d.coming); i > 0 {
			i = d.rnd.IntN(i)
			who := d.coming[i]
			d.coming = slices.Delete(d.coming, i, i+1)
			if !trouble || d.rnd.IntN(5) > 0 {
				d.arrive(who)
			}
		}
	case 4:
		for _, who := range slices.Sorted(maps.Keys(d.waiting)) {
			if trouble && d.rnd.IntN(8) == 0 {
				delete(d.waiting, who)
				d.back(d.w.lost(ridOf(who), who))
			}
		}
	case 5:
		for _, who := range slices.Sorted(maps.Keys(d.writing)) {
			if d.rnd.IntN(2) == 0 {
				rep := d.writing[who]
				delete(d.writing, who)
				d.written(who, rep, trouble)
			}
		}
	}
	d.serve()
	if !trouble && d.surplusOrPoll() {
		d.serve()
	}
}

// surplusOrPoll ends waits once the trouble is over.
func (d *delivery) surplusOrPoll() bool {
	rid, ok := d.w.oldest()
	if ok && d.rnd.IntN(4) == 0 {
		d.answer(rid, "")
	}
	return ok
}

func (d *delivery) send(rid int64) {
	if d.sent[rid]++; d.sent[rid] > maxRepeats {
		return
	}
	d.copies++
	who := fmt.Sprintf("%d-%d", rid, d.copies)
	d.coming = append(d.coming, who)
	d.ack[who] = min(d.open(), rid) - 1
}

func (d *delivery) arrive(who string) {
	rid := ridOf(who)
	v, old, rep := d.w.accept(rid, who, false)
	d.w.ack(d.ack[who])
	d.acked = max(d.acked, d.ack[who])
	switch v {
	case process, early:
		d.w.goesOn(false)
		d.waiting[who] = true
		if d.rnd.IntN(10) == 0 {
			defer d.pause()
		}
	case repeated:
		delete(d.waiting, old) // the client is told to ask again
		d.waiting[who] = true
	case replayed:
		d.writing[who] = rep
	case tooOld:
		if d.got[rid] == nil {
			panic(fmt.Sprintf("rid %d is forgotten\n%+v", rid, d.w))
		}
	default:
		panic(fmt.Sprintf("rid %d: %v\n%+v", rid, v, d.w))
	}
	for {
		who, ok := d.w.take()
		if !ok {
			return
		}
		d.processed = append(d.processed, ridOf(who))
		d.w.done(ridOf(who))
	}
}

// pause answers whoever waits with nothing.
func (d *delivery) pause() {
	for {
		rid, ok := d.w.oldest()
		if !ok {
			return
		}
		d.answer(rid, "")
	}
}

// serve does what a session does.
func (d *delivery) serve() {
	for {
		rid, ok := d.w.oldest()
		if _, busy := d.w.writing(); !ok || busy || d.pending == "" {
			break
		}
		said := d.pending
		d.pending = ""
		d.answer(rid, said)
	}
	for {
		rid, ok := d.w.surplus()
		if !ok {
			return
		}
		d.answer(rid, "")
	}
}

func (d *delivery) answer(rid int64, said string) {
	if who, ok := d.w.answer(rid, text(said), text("")); ok {
		delete(d.waiting, who)
		d.writing[who] = text(said)
	}
}

func (d *delivery) back(stanzas []byte) { d.pending = string(stanzas) + d.pending }

func (d *delivery) written(who string, rep reply, trouble bool) {
	rid := ridOf(who)
	if trouble && d.rnd.IntN(4) == 0 {
		d.back(d.w.lost(rid, who))
		return
	}
	d.w.wrote(rid, who)
	if trouble && d.rnd.IntN(4) == 0 {
		for _, id := range strings.Fields(string(rep.stanzas())) {
			d.lost[id] = true
		}
		return
	}
	said := string(rep.stanzas())
	switch before := d.got[rid]; {
	case before == nil:
		d.got[rid] = &said
	case *before != said:
		panic(fmt.Sprintf("rid %d was answered %q and %q", rid, *before, said))
	}
}
