package bosh

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// naive is what the window ought to do, with everything remembered and looked up
// the long way.
type naive struct {
	requests int64
	first    int64
	came     map[int64]string // the newest copy of each rid
	live     map[int64]bool   // somebody waits there
	taken    int64            // rids below were taken
	answers  map[int64]string
}

func (n *naive) verdict(rid int64) verdict {
	_, done := n.answers[rid]
	_, came := n.came[rid]
	switch {
	case rid < n.first:
		return tooOld
	case done && !n.remembers(rid):
		return tooOld
	case done:
		return replayed
	case came:
		return repeated
	case rid < n.taken:
		panic("taken and never seen")
	case rid >= n.taken+n.requests:
		return tooHigh
	}
	for old := n.first; old < rid; old++ {
		if _, done := n.answers[old]; n.live[old] && !done {
			if rid-old+1 > n.requests {
				return overactive
			}
			break
		}
	}
	if rid == n.taken {
		return process
	}
	return early
}

// remembers reports whether rid is among the highest answered ones.
func (n *naive) remembers(rid int64) bool {
	higher := int64(0)
	for r := range n.answers {
		if r > rid {
			higher++
		}
	}
	return higher < n.requests
}

// TestWindowAgainstModel sends requests in every order, repeats and abandons
// them, and compares each step with the model.
func TestWindowAgainstModel(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		requests := 1 + rnd.IntN(4)
		hold := max(0, requests-1)
		w := newWindow[string](100, requests, hold)
		n := &naive{
			requests: int64(requests), first: 100, taken: 100,
			came: map[int64]string{}, live: map[int64]bool{}, answers: map[int64]string{},
		}
		for step := range 400 {
			if err := modelStep(&w, n, rnd, step, hold); err != "" {
				t.Fatalf("seed %d step %d: %s\n%+v", seed, step, err, w)
			}
		}
		if n.taken == 100 {
			t.Fatalf("seed %d: nothing was processed", seed)
		}
	}
}

func modelStep(w *window[string], n *naive, rnd *rand.Rand, step, hold int) string {
	switch rnd.IntN(4) {
	case 0, 1:
		rid := n.taken - 4 + rnd.Int64N(8)
		who := fmt.Sprintf("%d-%d", rid, step)
		want := n.verdict(rid)
		got, old, rep := w.accept(rid, who, false)
		if got == stubborn {
			return "" // the model does not count
		}
		if got != want {
			return fmt.Sprintf("rid %d: %v, want %v", rid, got, want)
		}
		switch got {
		case repeated:
			if n.live[rid] != (old != "") || old != "" && old != n.came[rid] {
				return fmt.Sprintf("rid %d replaced %q instead of %q", rid, old, n.came[rid])
			}
			n.came[rid], n.live[rid] = who, true
		case replayed:
			if string(rep.stanzas()) != n.answers[rid] {
				return fmt.Sprintf("rid %d: replayed %q, want %q", rid, rep.stanzas(), n.answers[rid])
			}
			w.wrote(rid, who)
		case process, early:
			n.came[rid], n.live[rid] = who, true
		}
		for {
			who, ok := w.take()
			if _, came := n.came[n.taken]; came != ok || ok && who != n.came[n.taken] {
				return fmt.Sprintf("took %q, want %q", who, n.came[n.taken])
			}
			if !ok {
				break
			}
			w.done(n.taken)
			n.taken++
		}
	case 2:
		// Somebody who waits goes away.
		for rid := n.first; rid < n.taken+n.requests; rid++ {
			if _, done := n.answers[rid]; n.live[rid] && !done && rnd.IntN(3) == 0 {
				if back := w.lost(rid, n.came[rid]); back != nil {
					return fmt.Sprintf("rid %d: %q came back", rid, back)
				}
				n.live[rid] = false
			}
		}
	case 3:
		return modelAnswer(w, n, rnd, step, hold)
	}
	return ""
}

func modelAnswer(w *window[string], n *naive, rnd *rand.Rand, step, hold int) string {
	var unanswered []int64
	for rid := n.first; rid < n.taken; rid++ {
		if _, done := n.answers[rid]; !done {
			unanswered = append(unanswered, rid)
		}
	}
	if rid, ok := w.surplus(); ok != (len(unanswered) > hold) || ok && rid != unanswered[0] {
		return fmt.Sprintf("surplus %d %v of %v", rid, ok, unanswered)
	}
	i := slices.IndexFunc(unanswered, func(rid int64) bool { return n.live[rid] })
	rid, ok := w.oldest()
	if ok != (i >= 0) || ok && rid != unanswered[i] {
		return fmt.Sprintf("oldest %d %v of %v", rid, ok, unanswered)
	}
	if !ok {
		return ""
	}
	said := fmt.Sprintf("answer %d", step)
	who, waits := w.answer(rid, text(said), text(""))
	if !waits || who != n.came[rid] {
		return fmt.Sprintf("the answer to %d went to %q, want %q", rid, who, n.came[rid])
	}
	for _, older := range unanswered[:i] {
		n.answers[older] = ""
	}
	n.answers[rid] = said
	w.wrote(rid, who)
	return ""
}

// TestWindowLosesNothing delivers numbered stanzas over replies that may fail to
// be written, to a client that repeats what it missed, and sometimes goes on
// without. Whatever the client sees in the order of rids must be complete and
// without a copy.
func TestWindowLosesNothing(t *testing.T) {
	for seed := range uint64(200) {
		c := &deliveries{rnd: rand.New(rand.NewPCG(seed, 2)), got: map[int64]string{}, open: map[int64]string{}}
		c.w = newWindow[string](1, 3, 2)
		for range 200 {
			c.step(true)
		}
		for range 200 {
			c.step(false)
		}
		var seen []string
		for rid := range c.next + 1 {
			seen = append(seen, strings.Fields(c.got[rid])...)
		}
		want := []string{}
		for i := range c.said {
			want = append(want, fmt.Sprint(i))
		}
		if !slices.Equal(seen, want) {
			t.Fatalf("seed %d: the client got\n%v of\n%v\n%+v", seed, seen, want, c.w)
		}
	}
}

type deliveries struct {
	w       window[string]
	rnd     *rand.Rand
	pending string
	said    int
	next    int64            // the client's last rid
	open    map[int64]string // requests without an answer, as the client sees it: the copy that waits, or ""
	got     map[int64]string
	copies  int
}

func (c *deliveries) step(trouble bool) {
	if trouble && c.rnd.IntN(2) == 0 {
		c.pending += fmt.Sprintf(" %d", c.said)
		c.said++
	}
	c.serve(trouble)
	// The client has up to three requests open and keeps within its window.
	lowest := c.next + 1
	for rid := range c.open {
		lowest = min(lowest, rid)
	}
	if c.next+1-lowest < 3 && c.rnd.IntN(2) == 0 {
		c.next++
		c.send(c.next, trouble)
	}
	for rid, who := range c.open {
		switch {
		case who == "" && c.rnd.IntN(2) == 0:
			c.send(rid, trouble)
		case who != "" && trouble && c.rnd.IntN(6) == 0:
			c.open[rid] = ""
			c.put(c.w.lost(rid, who))
		}
	}
	c.serve(trouble)
}

func (c *deliveries) put(back []byte) { c.pending = string(back) + c.pending }

// send posts a copy of a request; in trouble it may not get there.
func (c *deliveries) send(rid int64, trouble bool) {
	c.copies++
	who := fmt.Sprintf("%d-%d", rid, c.copies)
	c.open[rid] = ""
	if trouble && c.rnd.IntN(4) == 0 {
		return
	}
	c.open[rid] = who
	switch v, _, rep := c.w.accept(rid, who, false); v {
	case process, early, repeated:
	case replayed:
		c.write(rid, who, rep, trouble)
	default:
		panic(fmt.Sprintf("rid %d: %v %+v", rid, v, c.w))
	}
	for {
		who, ok := c.w.take()
		if !ok {
			return
		}
		c.w.done(ridOf(who))
	}
}

func (c *deliveries) serve(trouble bool) {
	for c.pending != "" {
		rid, ok := c.w.oldest()
		if !ok {
			break
		}
		rep := text(c.pending)
		c.pending = ""
		if who, ok := c.w.answer(rid, rep, text("")); ok {
			c.write(rid, who, rep, trouble)
		}
	}
	for {
		rid, ok := c.w.surplus()
		if !ok {
			return
		}
		if who, ok := c.w.answer(rid, text(""), text("")); ok {
			c.write(rid, who, text(""), trouble)
		}
	}
}

// write writes a reply: it fails, or it is written and lost on the way, or it
// arrives.
func (c *deliveries) write(rid int64, who string, rep reply, trouble bool) {
	if trouble && c.rnd.IntN(4) == 0 {
		c.open[rid] = ""
		c.put(c.w.lost(rid, who))
		return
	}
	c.w.wrote(rid, who)
	if trouble && c.rnd.IntN(4) == 0 {
		c.open[rid] = ""
		return
	}
	delete(c.open, rid)
	c.got[rid] = string(rep.stanzas())
}
