package bosh

import (
	"slices"
	"sync"
	"time"

	"rollcall/server"
)

// request is one HTTP request of a session: what it said, and where its answer
// goes.
type request struct {
	*body
	x       *exchange
	at      time.Time
	creates bool // the session
}

func newRequest(b *body, x *exchange, at time.Time) *request {
	return &request{body: b, x: x, at: at}
}

// answer does not wait for anything; a request is answered once. Whether the reply was
// written, the session is told later.
func (r *request) answer(rep reply) { r.x.reply(rep, r.x.s.terms.contentType) }

// shrink forgets what the request said: it may wait for long.
func (r *request) shrink() { r.inner, r.decls = nil, nil }

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
	info   server.Info
	legacy bool            // knows HTTP errors only (XEP-0124 section 17.1)
	core   *server.Session // set before anybody else knows the session

	mu      sync.Mutex
	win     window[*request]
	pending []byte
	// coming is when the first of what is pending came; prompt says that the
	// client's own request caused some of it. busy is when the last reply with
	// stanzas went out, or was followed by a request.
	coming, busy time.Time
	prompt       bool
	carried      bool                // the last reply had stanzas
	header       server.StreamHeader // the core's latest
	lang         string              // of the client's latest header
	running      bool                // somebody processes requests
	created      bool                // the first reply is composed
	authed       bool                // larger bodies may come

	timer    *time.Timer
	active   time.Time     // when the last request came or was answered
	pause    time.Duration // of the inactivity, instead of the usual one
	came     time.Time     // the last request processed
	lastPoll time.Time     // of the last request that was empty, and answered so

	key    string  // what the next key must be the origin of
	report missing // to be told to the client

	late      []byte  // came too late for the last word
	back      []byte  // goes back
	giving    bool    // somebody hands it back
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
		ready := s.terms.polling() || !s.created || !busy && len(s.pending) > 0
		if !ok || !ready || s.gathers(time.Now()) {
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
	stanzas := s.pending
	s.pending, s.prompt = nil, false
	s.reply(rid, s.compose(rid, stanzas), len(stanzas) > 0)
}

func (s *session) compose(rid int64, stanzas []byte) reply {
	attrs := s.ackAttrs(rid)
	if s.created {
		return payloadReply(attrs, stanzas)
	}
	s.created = true
	return createdReply(s.sid, &s.terms, s.header, s.info.Secure, attrs, stanzas)
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
	s.active = time.Now()
	rep.at = s.active
	if s.carried = carries; carries {
		s.busy = s.active
	}
	if who, ok := s.win.answer(rid, rep, emptyReply()); ok {
		who.answer(rep)
	}
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
			who.answer(rep)
		}
	}
}

// farewell is the session's last word, with what is pending. The caller has the
// lock.
func (s *session) farewell() reply {
	rep := terminateReply(*s.end, s.pending)
	s.pending = nil
	if s.legacy {
		rep.status = legacyStatus(s.end.condition)
	}
	return rep
}

// wrote says that a reply to r was written.
func (s *session) wrote(r *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
	defer s.mu.Unlock()
	if back := s.win.lost(r.rid, r); len(back) > 0 {
		s.pending = slices.Concat(back, s.pending)
		s.coming = time.Time{} // it has waited for long enough
	}
	s.written()
}

// written goes on after a reply was written, or was not. The caller has the lock.
func (s *session) written() {
	if s.end == nil {
		s.active = time.Now()
	}
	s.serve()
	s.rest()
}
