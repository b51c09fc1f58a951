package bosh

import (
	"slices"
	"time"
)

// window is the arithmetic of request ids (XEP-0124 sections 8, 11 and 14): which
// request is worked off next, which one an answer goes out on, and what a repeated
// one gets. It does no I/O and knows no clock; whoever uses it locks.
type window struct {
	requests int // how far ahead of the last request in order a client may be
	hold     int
	next     uint64 // the rid that comes next in order

	early []*request // beyond next, by rid
	ready []*request // in order, not worked off yet
	held  []*request // worked off and not answered, by rid
	sent  []*request // the last ones answered, by rid: for clients that missed the answer
}

// request is one rid. Its responder changes when the client repeats it.
type request struct {
	rid    uint64
	body   *body
	to     *responder // nil once its client is gone
	due    time.Time  // when it is answered at the latest
	answer []byte     // once it was answered
	lost   []byte     // what was in the answer, for putting back
}

// verdict is what to do with a request that arrives.
type verdict uint8

const (
	// admitted: worked off now or when its turn comes.
	admitted verdict = iota
	// repeated: an earlier copy was not answered yet; this one takes its place.
	repeated
	// replayed: it was answered before; the answer is request.answer.
	replayed
	// refused: too old or too far ahead (section 14.3).
	refused
)

// arrive takes a request. For repeated and replayed it returns the one that was
// known, and who waited for it until now.
func (w *window) arrive(r *request) (v verdict, known *request, old *responder) {
	switch {
	case r.rid >= w.next+uint64(w.requests):
		return refused, nil, nil
	case r.rid < w.next:
		for _, list := range [][]*request{w.ready, w.held} {
			if k := find(list, r.rid); k != nil {
				old, k.to = k.to, r.to
				return repeated, k, old
			}
		}
		if k := find(w.sent, r.rid); k != nil {
			return replayed, k, nil
		}
		return refused, nil, nil
	}
	if k := find(w.early, r.rid); k != nil {
		// Its payload was not looked at yet: the newer copy counts (section 14.2).
		old, k.to, k.body = k.to, r.to, r.body
		return repeated, k, old
	}
	at, _ := slices.BinarySearchFunc(w.early, r.rid, byRID)
	w.early = slices.Insert(w.early, at, r)
	for len(w.early) > 0 && w.early[0].rid == w.next {
		w.ready = append(w.ready, w.early[0])
		w.early = w.early[1:]
		w.next++
	}
	return admitted, r, nil
}

// begin takes the next request to work off, or nil. From then on answers may go
// out on it.
func (w *window) begin() *request {
	if len(w.ready) == 0 {
		return nil
	}
	r := w.ready[0]
	w.ready = w.ready[1:]
	w.held = append(w.held, r)
	return r
}

// free is the oldest request that an answer can go out on, or nil.
func (w *window) free() *request {
	for _, r := range w.held {
		if r.to != nil {
			return r
		}
	}
	return nil
}

// waiting is how many requests with a client behind them are held.
func (w *window) waiting() int {
	n := 0
	for _, r := range w.held {
		if r.to != nil {
			n++
		}
	}
	return n
}

// surplus is the oldest held request if more are held than may be (section 8),
// or nil.
func (w *window) surplus() *request {
	if w.waiting() > w.hold {
		return w.free()
	}
	return nil
}

// answered moves a held request to those that can be replayed.
func (w *window) answered(r *request, answer, payload []byte) {
	w.held = slices.DeleteFunc(w.held, func(x *request) bool { return x == r })
	r.answer, r.lost, r.body = answer, payload, nil
	at, _ := slices.BinarySearchFunc(w.sent, r.rid, byRID)
	w.sent = slices.Insert(w.sent, at, r)
	if extra := len(w.sent) - w.requests; extra > 0 {
		w.sent = slices.Delete(w.sent, 0, extra)
	}
	// A held request whose client is gone is not asked for again once newer
	// ones fill the buffer.
	for len(w.held) > 0 && w.held[0].to == nil && w.held[0].rid+uint64(w.requests) < w.next {
		w.held = w.held[1:]
	}
}

// takeBack undoes answered for a request whose client went before it got the
// answer; it returns the payload.
func (w *window) takeBack(r *request) (payload []byte) {
	i := slices.Index(w.sent, r)
	if i < 0 {
		return nil
	}
	w.sent = slices.Delete(w.sent, i, i+1)
	payload = r.lost
	r.answer, r.lost, r.to = nil, nil, nil
	at, _ := slices.BinarySearchFunc(w.held, r.rid, byRID)
	w.held = slices.Insert(w.held, at, r)
	return payload
}

// all lists every request that somebody waits for, oldest first.
func (w *window) all() []*request {
	var list []*request
	for _, part := range [][]*request{w.held, w.ready, w.early} {
		for _, r := range part {
			if r.to != nil {
				list = append(list, r)
			}
		}
	}
	return list
}

// of finds the request that a responder waits for, answered or not.
func (w *window) of(to *responder) (r *request, answered bool) {
	for _, list := range [][]*request{w.held, w.ready, w.early} {
		for _, r := range list {
			if r.to == to {
				return r, false
			}
		}
	}
	for _, r := range w.sent {
		if r.to == to {
			return r, true
		}
	}
	return nil, false
}

func byRID(r *request, rid uint64) int {
	switch {
	case r.rid < rid:
		return -1
	case r.rid > rid:
		return 1
	}
	return 0
}

func find(list []*request, rid uint64) *request {
	for _, r := range list {
		if r.rid == rid {
			return r
		}
	}
	return nil
}
