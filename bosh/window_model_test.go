package bosh

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// naive is what the window ought to do, with everything remembered and looked up
// the long way.
type naive struct {
	requests  int64
	first     int64
	came      map[int64]string // the newest copy of each rid
	live      map[int64]bool   // somebody waits there
	taken     int64            // rids below were taken
	over      bool             // and no more will be
	answers   map[int64]string
	forgotten map[int64]bool // answers
}

func newNaive(first, requests int64) *naive {
	return &naive{
		requests: requests, first: first, taken: first,
		came: map[int64]string{}, live: map[int64]bool{}, answers: map[int64]string{}, forgotten: map[int64]bool{},
	}
}

func (n *naive) verdict(rid int64, extra bool) verdict {
	_, done := n.answers[rid]
	_, came := n.came[rid]
	switch {
	case rid < n.first || n.forgotten[rid]:
		return tooOld
	case done:
		return replayed
	case came:
		return repeated
	case rid < n.taken:
		panic("taken and never seen")
	case rid >= n.taken+n.limit(extra && !n.over):
		return tooHigh
	case !n.over && n.crowded(rid, extra):
		return overactive
	case rid == n.taken:
		return process
	}
	return early
}

func (n *naive) limit(extra bool) int64 {
	if extra {
		return n.requests + 1
	}
	return n.requests
}

// crowded reports whether there are too many requests from the oldest that waits to a
// new one.
func (n *naive) crowded(rid int64, extra bool) bool {
	for old := n.first; old < rid; old++ {
		if _, done := n.answers[old]; n.live[old] && !done {
			return rid-old+1 > n.limit(extra)
		}
	}
	return false
}

// unanswered lists the requests that may be answered.
func (n *naive) unanswered() (rids []int64) {
	for _, rid := range slices.Sorted(maps.Keys(n.came)) {
		if _, done := n.answers[rid]; !done && (n.over || rid < n.taken) {
			rids = append(rids, rid)
		}
	}
	return rids
}

// answer notes an answer, and that those before it have none, and forgets old ones.
func (n *naive) answer(rid int64, said string) {
	for _, older := range n.unanswered() {
		if older < rid {
			n.answers[older] = ""
		}
	}
	n.answers[rid] = said
	left := int64(len(n.answers) - len(n.forgotten))
	for _, old := range slices.Sorted(maps.Keys(n.came)) {
		if n.forgotten[old] {
			continue
		}
		if _, done := n.answers[old]; !done || left <= n.requests {
			return
		}
		n.forgotten[old] = true
		left--
	}
}

// lost takes an answer back that did not go out, unless something else did after it.
func (n *naive) lost(rid int64) (back string) {
	for higher, said := range n.answers {
		if higher > rid && said != "" {
			return ""
		}
	}
	if back = n.answers[rid]; back != "" {
		delete(n.answers, rid)
		n.live[rid] = false
	}
	return back
}

// TestWindowAgainstModel sends requests in every order, repeats and abandons them,
// has answers get lost, pauses and comes to an end, and compares each step with the
// model.
func TestWindowAgainstModel(t *testing.T) {
	did := map[string]int{}
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		requests := 1 + rnd.IntN(4)
		hold := max(0, requests-1)
		w := newWindow[string](100, requests, hold)
		m := &model{w: &w, n: newNaive(100, int64(requests)), rnd: rnd, hold: hold, did: did}
		for m.steps = range 400 {
			if err := m.step(); err != "" {
				t.Fatalf("seed %d step %d: %s\n%+v", seed, m.steps, err, w)
			}
		}
	}
	t.Logf("%v", did)
	for _, what := range []string{
		"process", "early", "repeated", "replayed", "too old", "too high", "overactive", "abandoned", "answered", "came back", "lost, and passed over", "paused", "ended",
	} {
		if did[what] < 10 {
			t.Errorf("%q happened %d times only", what, did[what])
		}
	}
}

// model is a window and its model side by side.
type model struct {
	w     *window[string]
	n     *naive
	rnd   *rand.Rand
	hold  int
	steps int
	did   map[string]int
}

func (m *model) step() string {
	switch what := m.rnd.IntN(8); {
	case what < 4:
		return m.arrive()
	case what < 6:
		m.abandon()
	case m.rnd.IntN(150) == 0:
		m.did["ended"]++
		m.w.finish()
		m.n.over = true
	default:
		if rid, ok := m.w.surplus(); ok != (len(m.n.unanswered()) > m.hold) || ok && rid != m.n.unanswered()[0] {
			return fmt.Sprintf("surplus %d %v of %v", rid, ok, m.n.unanswered())
		}
		_, err := m.answer(fmt.Sprintf("answer %d", m.steps))
		return err
	}
	return ""
}

// arrive sends a request that is near those that are to come.
func (m *model) arrive() string {
	w, n := m.w, m.n
	rid := n.taken - 4 + m.rnd.Int64N(8)
	who := fmt.Sprintf("%d-%d", rid, m.steps)
	extra := m.rnd.IntN(6) == 0
	if n.over && n.forgotten[rid] && rid >= n.taken {
		return "" // the window may know it for longer: answers were out of order
	}
	want := n.verdict(rid, extra)
	got, old, rep := w.accept(rid, who, extra)
	if got == stubborn {
		return "" // the model does not count
	}
	if got != want {
		return fmt.Sprintf("rid %d: %v, want %v", rid, got, want)
	}
	m.did[verdictNames[got]]++
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
		if _, came := n.came[n.taken]; (came && !n.over) != ok || ok && who != n.came[n.taken] {
			return fmt.Sprintf("took %q, want %q", who, n.came[n.taken])
		}
		if !ok {
			break
		}
		w.done(n.taken)
		n.taken++
	}
	if !extra || got != process {
		return ""
	}
	m.did["paused"]++
	for {
		if more, err := m.answer(""); !more || err != "" {
			return err
		}
	}
}

// abandon has some of those who wait go away.
func (m *model) abandon() {
	for _, rid := range slices.Sorted(maps.Keys(m.n.live)) {
		if _, done := m.n.answers[rid]; m.n.live[rid] && !done && m.rnd.IntN(3) == 0 {
			m.did["abandoned"]++
			m.w.lost(rid, m.n.came[rid])
			m.n.live[rid] = false
		}
	}
}

// answer answers the oldest request that somebody waits for; the answer may get lost.
func (m *model) answer(said string) (more bool, err string) {
	w, n := m.w, m.n
	unanswered := n.unanswered()
	i := slices.IndexFunc(unanswered, func(rid int64) bool { return n.live[rid] })
	rid, ok := w.oldest()
	if ok != (i >= 0) || ok && rid != unanswered[i] {
		return false, fmt.Sprintf("oldest %d %v of %v", rid, ok, unanswered)
	}
	if !ok {
		return false, ""
	}
	who, waits := w.answer(rid, text(said), text(""))
	if !waits || who != n.came[rid] {
		return false, fmt.Sprintf("the answer to %d went to %q, want %q", rid, who, n.came[rid])
	}
	n.answer(rid, said)
	if m.rnd.IntN(4) > 0 {
		m.did["answered"]++
		w.wrote(rid, who)
		return true, ""
	}
	back, want := string(w.lost(rid, who)), n.lost(rid)
	switch {
	case back != want:
		return false, fmt.Sprintf("rid %d: %q came back, want %q", rid, back, want)
	case want != "":
		m.did["came back"]++
	case said != "":
		m.did["lost, and passed over"]++
	}
	return true, ""
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
