package bosh

import (
	"slices"
	"sync"
	"time"

	"rollcall/server"
)

// give answers a request, once: the reply is sent by unlock. Whether it was written,
// the session is told later. The caller has the lock.
func (s *session) give(r *request, rep reply) {
	r.reply(rep, s.terms.contentType)
	last := &s.answers
	for *last != nil {
		last = &(*last).next
	}
	*last = r
}

// unlock gives up the lock, and sends the replies that were given meanwhile.
func (s *session) unlock() {
	r := s.answers
	s.answers = nil
	s.mu.Unlock()
	for r != nil {
		next := r.next
		r.next = nil
		r.Send()
		r = next
	}
}

// shrink forgets what the request said: it may wait for long.
func (r *request) shrink() {
	if b := r.body; b != nil {
		r.body = nil
		r.h.recycle(b)
	}
}

// output is what waits for a request to go out with.
type output struct{ b []byte }

func (o *output) len() int { return len(o.bytes()) }

func (o *output) bytes() []byte {
	if o == nil {
		return nil
	}
	return o.b
}

// maxKeptOutput bounds what is kept for the next output, in bytes.
const maxKeptOutput = 32 << 10

// newOutput returns an empty output.
func (h *Handler) newOutput() *output {
	if o, ok := h.outputs.Get().(*output); ok {
		return o
	}
	return new(output)
}

// putOutput is called when nobody needs an output any more, which may be nil.
func (h *Handler) putOutput(o *output) {
	if o != nil && cap(o.b) <= maxKeptOutput {
		o.b = o.b[:0]
		h.outputs.Put(o)
	}
}

// opening is what the first reply needs beside the rest.
type opening struct{ version, id string }

// session is one BOSH session, a server.Transport. Requests are processed in the
// order of their rids by one goroutine at a time, that of a request that filled a
// gap.
//
// Output waits in pending for a request to go out with. mu is a leaf: nobody
// begins a turn with it held, and of other locks only Handler.mu is taken within.
type session struct {
	h      *Handler
	sid    string
	terms  terms
	remote string          // for logs
	core   *server.Session // set before anybody else knows the session
	secure bool
	legacy bool // knows HTTP errors only (XEP-0124 section 17.1)

	mu      sync.Mutex
	win     window[*request]
	answers *request // that are to be sent by unlock
	pending *output  // nil for none
	// coming is when the first of what is pending came; prompt says that the
	// client's own request caused some of it. busy is when the last reply with
	// stanzas went out, or was followed by a request.
	coming, busy time.Duration // see Handler.now, as for all times here
	prompt       bool
	carried      bool     // the last reply had stanzas
	running      bool     // somebody processes requests
	created      bool     // the first reply is composed
	authed       bool     // larger bodies may come
	opening      *opening // until then
	domain       string   // that the client talks to
	lang         string   // of the client's latest header

	timer    *time.Timer
	armed    time.Duration // when the timer fires, 0 for never
	active   time.Duration // when the last request came or was answered
	pause    time.Duration // of the inactivity, instead of the usual one
	came     time.Duration // the last request processed
	lastPoll time.Duration // of the last request that was empty, and answered so, or 0

	key    string  // what the next key must be the origin of
	report missing // to be told to the client

	late      []byte  // came too late for the last word
	back      []byte  // goes back
	giving    bool    // somebody hands it back
	packs     bool    // packer knows the session
	told      bool    // the client knows of the end
	returned  bool    // what the replies carried went back
	fate      string  // condition of an end that this side brings about
	end       *ending // set by Close
	last      int64   // rid of the last request taken before the end
	said      bool    // the end was said, with what was pending
	forgotten bool    // the session is not known any more
}

func (s *session) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end != nil
}

// serve answers whatever can be answered now. Stanzas wait while others are being
// written: clients take answers as they come, and what cannot be written goes out
// first the next time. The caller has the lock.
func (s *session) serve() {
	if s.end != nil {
		s.settle()
		return
	}
	for {
		rid, ok := s.win.oldest()
		_, busy := s.win.writing()
		ready := s.polling() || !s.created || !busy && s.pending.len() > 0
		if !ok || !ready || s.gathers() {
			if rid, ok = s.win.surplus(); !ok {
				return
			}
			busy = true // it goes without a payload
		}
		if busy {
			s.dismiss(rid)
		} else {
			s.answer(rid)
		}
	}
}

// answer answers a request that was processed, with what is pending. The caller
// has the lock.
func (s *session) answer(rid int64) {
	out := s.pending
	s.pending, s.prompt = nil, false
	s.reply(rid, s.compose(rid, out.bytes()), out.len() > 0)
	s.h.putOutput(out)
}

func (s *session) compose(rid int64, stanzas []byte) reply {
	attrs := s.ackAttrs(rid)
	if s.created {
		return payloadReply(attrs, stanzas)
	}
	rep := s.createdReply(attrs, stanzas)
	s.created, s.opening = true, nil
	return rep
}

// dismiss answers a request without a payload. The caller has the lock.
func (s *session) dismiss(rid int64) { s.reply(rid, payloadReply(s.ackAttrs(rid), nil), false) }

// release answers a request with what is pending, if that can go. The caller has
// the lock.
func (s *session) release(rid int64) {
	if busy, _ := s.win.writing(); busy {
		s.dismiss(rid)
		return
	}
	s.answer(rid)
}

func (s *session) reply(rid int64, rep reply, carries bool) {
	s.active = s.h.now()
	rep.at = s.active
	if s.carried = carries; carries {
		s.busy = s.active
	}
	if who, ok := s.win.answer(rid, rep, emptyReply()); ok {
		s.give(who, rep)
	}
	s.rests(&rep)
	s.bound()
}

// settle tells everybody who waits that the session is over: the oldest gets what
// is pending as well, the others nothing but the reason. After a polite end those
// that had been waiting get an empty body (XEP-0124 section 13). The caller has
// the lock.
func (s *session) settle() {
	for {
		rid, ok := s.win.oldest()
		if !ok {
			return
		}
		rep := s.farewell()
		if polite := s.end.condition == ""; polite && s.said && rid <= s.last {
			rep = emptyReply()
		}
		s.said = true
		if who, ok := s.win.answer(rid, rep, emptyReply()); ok {
			s.give(who, rep)
		}
	}
}

// farewell is the session's last word, with what is pending. The caller has the
// lock.
func (s *session) farewell() reply {
	rep := terminateReply(*s.end, s.pending.bytes())
	s.h.putOutput(s.pending)
	s.pending = nil
	if s.legacy {
		rep.status = legacyStatus(s.end.condition)
	}
	return rep
}

// wrote says that a reply to r was written.
func (s *session) wrote(r *request) {
	s.mu.Lock()
	defer s.unlock()
	last, ok := s.win.wrote(r.rid, r)
	s.told = s.told || last
	if ok {
		s.written()
	}
}

// lost says that nobody waits for the answer to r any more, or that it could not
// be written. What it carried, if anything, is put back.
func (s *session) lost(r *request) {
	s.mu.Lock()
	defer s.unlock()
	if back := s.win.lost(r.rid, r); len(back) > 0 {
		s.pending = &output{slices.Concat(back, s.pending.bytes())}
		s.coming = 0 // it has waited for long enough
	}
	s.written()
}

// written goes on after a reply was written, or was not. The caller has the lock.
func (s *session) written() {
	if s.end == nil {
		s.active = s.h.now()
	}
	s.serve()
	s.rest()
}
