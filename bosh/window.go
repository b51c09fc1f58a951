package bosh

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// verdict says what becomes of a request that has arrived.
type verdict uint8

const (
	process    verdict = iota + 1 // its turn has come: take it, and those after it
	early                         // it waits for those before it (XEP-0124 section 14.2)
	repeated                      // it came again before it was answered, and replaces the earlier one
	replayed                      // it was answered before, and is answered the same again (section 14.3)
	tooOld                        // nobody knows any more what the answer was (section 14.3)
	tooHigh                       // it lies above the window (section 14.2)
	overactive                    // there are too many without an answer (section 11)
	stubborn                      // it came too often (section 14.3)
)

// maxRepeats is how often one request may be repeated. Clients give up long
// before.
const maxRepeats = 64

// reply is the answer to one request.
type reply struct {
	body     []byte        // see text
	at       time.Duration // when it was made, see Handler.now
	from, to int32         // where in the text the stanzas are
	packed   int32         // how long the text is when body is a compressed one, or 0
	status   int16
	whole    bool // the stanzas cannot go without the rest of the body
	last     bool // it says that the session is over
}

func (r *reply) stanzas() []byte { return r.text()[r.from:r.to] }

func (r *reply) carries() bool { return r.from < r.to }

// slotState is how far a request has come.
type slotState uint8

const (
	arrived  slotState = iota // waits to be processed
	taken                     // is being processed
	held                      // was processed and waits for an answer
	answered                  // its reply is remembered
)

// slot is what is known of one rid.
type slot[R comparable] struct {
	rid     int64
	reply   reply
	who     R // the newest request with this rid
	state   slotState
	repeats uint8
	gone    bool // nobody waits there any more
	sent    bool // the reply was written once at least
	known   bool // the client went on after that, as if it had got the reply
}

func (s *slot[R]) waits() bool { return s.state != answered && !s.gone }

// recipient is somebody to whom the reply to a request went.
type recipient[R comparable] struct {
	rid int64
	who R
}

// window decides in the order of rids what becomes of the requests of one
// session, and which request an answer belongs to (XEP-0124 sections 8, 11 and
// 14). It does nothing itself: R stands for an HTTP request that waits.
type window[R comparable] struct {
	requests int32 // that a client may have in flight; also how many replies are remembered
	hold     int32 // how many requests wait at most
	next     int64 // rid of the request to be processed next
	over     bool  // nothing is processed any more
	acks     bool  // the client tells which replies it has got (section 9.2)
	// slots are in the order of rids: answered and held ones without a gap, then
	// those that came early.
	slots []slot[R]
	// writers are there as long as nobody knows how writing ends.
	writers []recipient[R]
}

func newWindow[R comparable](rid int64, requests, hold int) window[R] {
	return window[R]{requests: int32(requests), hold: int32(hold), next: rid}
}

// written takes who from those that write, and reports whether it was there: it is
// not when a newer copy replaced it before there was an answer.
func (w *window[R]) written(rid int64, who R) bool {
	i := slices.Index(w.writers, recipient[R]{rid, who})
	if i >= 0 {
		w.writers = slices.Delete(w.writers, i, i+1)
	}
	return i >= 0
}

// isWritten reports whether somebody writes a reply.
func (w *window[R]) isWritten(rid int64) bool {
	return slices.ContainsFunc(w.writers, func(x recipient[R]) bool { return x.rid == rid })
}

// isNew reports whether a reply is being written that nobody has got before.
func (w *window[R]) isNew(s *slot[R]) bool {
	return s.state == answered && !s.sent && w.isWritten(s.rid)
}

// forget forgets replies, and who writes them.
func (w *window[R]) forget(these func(*slot[R]) bool) {
	kept := w.slots[:0]
	for i := range w.slots {
		if s := &w.slots[i]; !these(s) {
			kept = append(kept, *s)
		}
	}
	clear(w.slots[len(kept):])
	w.slots = kept
	w.writers = slices.DeleteFunc(w.writers, func(x recipient[R]) bool { return w.find(x.rid) == nil })
}

func (w *window[R]) find(rid int64) *slot[R] {
	for i := range w.slots {
		if w.slots[i].rid == rid {
			return &w.slots[i]
		}
	}
	return nil
}

// accept takes a request that has arrived; extra says that it pauses or ends the
// session. With repeated, old is the request that is replaced, the zero R when
// nobody waits there. With replayed, rep is the answer.
func (w *window[R]) accept(rid int64, who R, extra bool) (v verdict, old R, rep reply) {
	if s := w.find(rid); s != nil {
		return w.again(s, who)
	}
	switch {
	case rid < w.next:
		return tooOld, old, rep
	case rid >= w.next+w.limit(extra && !w.over):
		return tooHigh, old, rep
	case !w.over && w.tooMany(rid, extra):
		return overactive, old, rep
	}
	s := slot[R]{rid: rid, who: who}
	if w.over {
		s.state = held
	}
	i, _ := slices.BinarySearchFunc(w.slots, rid, func(s slot[R], rid int64) int { return cmp.Compare(s.rid, rid) })
	w.slots = slices.Insert(w.slots, i, s)
	if rid == w.next {
		return process, old, rep
	}
	return early, old, rep
}

func (w *window[R]) again(s *slot[R], who R) (v verdict, old R, rep reply) {
	if s.repeats++; s.repeats > maxRepeats {
		return stubborn, old, rep
	}
	if s.state == answered {
		w.writers = append(w.writers, recipient[R]{s.rid, who})
		s.reply.body, s.reply.packed = s.reply.text(), 0 // it may come again
		return replayed, old, s.reply
	}
	if !s.gone {
		old = s.who
	}
	s.who, s.gone = who, false
	return repeated, old, rep
}

// limit is how many requests may be under way: one more where it pauses or ends the
// session (section 11), which may overtake the others.
func (w *window[R]) limit(extra bool) int64 {
	if extra {
		return int64(w.requests) + 1
	}
	return int64(w.requests)
}

// tooMany reports whether a new rid makes more requests without an answer than
// the client may have. Requests that broke off do not count.
func (w *window[R]) tooMany(rid int64, extra bool) bool {
	for i := range w.slots {
		if s := &w.slots[i]; s.waits() {
			return rid-s.rid+1 > w.limit(extra)
		}
	}
	return false
}

// take returns the request whose turn to be processed has come.
func (w *window[R]) take() (who R, ok bool) {
	s := w.find(w.next)
	if s == nil || s.state != arrived {
		return who, false
	}
	s.state = taken
	w.next++
	return s.who, true
}

// done says that a request was processed.
func (w *window[R]) done(rid int64) {
	if s := w.find(rid); s != nil && s.state == taken {
		s.state = held
	}
}

// finish says that nothing is processed any more: whoever waits, waits for an
// answer only.
func (w *window[R]) finish() {
	w.over = true
	for i := range w.slots {
		if w.slots[i].state == arrived {
			w.slots[i].state = held
		}
	}
}

// oldest returns the request that the next stanzas belong to: the oldest that was
// processed and has somebody waiting.
func (w *window[R]) oldest() (rid int64, ok bool) {
	for i := range w.slots {
		if s := &w.slots[i]; s.state == held && !s.gone {
			return s.rid, true
		}
	}
	return 0, false
}

// waiting walks over the requests that have somebody waiting for an answer.
func (w *window[R]) waiting() iter.Seq2[slotState, R] {
	return func(yield func(slotState, R) bool) {
		for i := range w.slots {
			if s := &w.slots[i]; s.waits() && !yield(s.state, s.who) {
				return
			}
		}
	}
}

// surplus returns the oldest request held when too many are (XEP-0124 section 8).
func (w *window[R]) surplus() (rid int64, ok bool) {
	n := 0
	for i := range w.slots {
		if s := &w.slots[i]; s.state == held {
			if n == 0 {
				rid = s.rid
			}
			n++
		}
	}
	return rid, n > int(w.hold)
}

// answer answers a request that was processed and remembers the reply. Older ones
// that nobody waits for are answered with empty, so that answers keep the order of
// rids. It returns who gets the reply, if anybody waits.
func (w *window[R]) answer(rid int64, rep, empty reply) (who R, ok bool) {
	for i := range w.slots {
		s := &w.slots[i]
		if s.state != held || s.rid > rid {
			continue
		}
		var nobody R
		s.state, s.reply = answered, empty
		if s.rid == rid {
			s.reply = rep
			if who, ok = s.who, !s.gone; ok {
				w.writers = append(w.writers, recipient[R]{rid, who})
			}
		}
		s.who, s.gone = nobody, true
	}
	w.trim()
	return who, ok
}

// writing reports whether any reply is being written; stanzas says whether one
// with stanzas is that nobody has got before.
func (w *window[R]) writing() (yes, stanzas bool) {
	if len(w.writers) == 0 {
		return false, false
	}
	for i := range w.slots {
		s := &w.slots[i]
		stanzas = stanzas || s.reply.carries() && w.isNew(s)
	}
	return true, stanzas
}

// trim forgets old replies. One that is still being written is kept a little
// longer, because it may come back. Clients that acknowledge say themselves what
// may be forgotten.
func (w *window[R]) trim() {
	if w.acks {
		return
	}
	n := int32(0)
	for i := range w.slots {
		if w.slots[i].state == answered {
			n++
		}
	}
	if n <= w.requests {
		return
	}
	stop := false
	w.forget(func(s *slot[R]) bool {
		stop = stop || s.state != answered || n <= w.requests || n <= 2*w.requests && w.isNew(s)
		n--
		return !stop
	})
}

// wrote says that a reply was written, and reports whether it was the answer to its
// request, and the session's last word.
func (w *window[R]) wrote(rid int64, who R) (last, ok bool) {
	s := w.find(rid)
	if s == nil || !w.written(rid, who) {
		return false, false
	}
	s.sent = true
	last = s.reply.last
	w.trim()
	return last, true
}

// lost says that nobody waits for a request's answer any more, or that its reply
// could not be written. Stanzas that nobody has got are returned when nothing
// that was queued after them has gone out in the meantime; the request is then
// without an answer again. Otherwise they stay where they are, for the client that
// asks again.
func (w *window[R]) lost(rid int64, who R) (back []byte) {
	s := w.find(rid)
	if s == nil {
		return nil
	}
	if s.state != answered {
		s.gone = s.gone || s.who == who
		return nil
	}
	if !w.written(rid, who) {
		return nil
	}
	if s.sent || w.isWritten(rid) || s.reply.whole || !s.reply.carries() {
		return nil
	}
	for i := range w.slots {
		if o := &w.slots[i]; o.rid > rid && o.state == answered && o.reply.carries() {
			return nil
		}
	}
	back = s.reply.stanzas()
	s.state, s.reply = held, reply{}
	return back
}
