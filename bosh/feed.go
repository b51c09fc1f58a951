package bosh

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"mellium.im/xmpp/stream"

	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// What clients do against the rules of XEP-0124; for the log.
var (
	errTooHigh    = errors.New("bosh: rid above the window")
	errOveractive = errors.New("bosh: too many requests at the same time")
	errStubborn   = errors.New("bosh: one request repeated too often")
	errPolls      = errors.New("bosh: empty requests too soon one after the other")
	errKey        = errors.New("bosh: wrong key")
	errUnacked    = errors.New("bosh: too many replies not acknowledged")
	errPause      = errors.New("bosh: pause out of range")
)

// arrive takes a request, and answers it sooner or later.
func (s *session) arrive(r *request) {
	s.mu.Lock()
	v, old, rep := s.win.accept(r.rid, r, r.terminate || r.pause.given)
	s.acknowledged(r, v)
	if v != tooOld {
		s.core.Touch()
		if s.end == nil {
			s.active = r.at
		}
	}
	start := false
	switch v {
	case process, early:
		start = v == process && s.end == nil && !s.running
		if s.end == nil {
			s.pause = 0
		}
		if s.carried {
			s.busy = r.at
		}
		s.running = s.running || start
		s.serve()
	case repeated:
		if old != nil {
			s.give(old, errorReply())
		}
		if r.rid < s.win.next {
			r.shrink()
		}
		s.serve()
	case replayed:
		s.give(r, rep)
		s.rests(&rep)
	case tooOld:
		// The session goes on: what is so old may be a copy that lingered somewhere
		// on the way.
		s.give(r, refusal(itemNotFound, s.legacy))
	}
	s.rest()
	s.unlock()
	switch {
	case start:
		s.run()
	case v == tooHigh:
		s.expel(r, itemNotFound, fmt.Errorf("%w: %d", errTooHigh, r.rid))
	case v == overactive:
		s.expel(r, policyViolation, errOveractive)
	case v == stubborn:
		s.expel(r, policyViolation, errStubborn)
	}
}

// expel ends the session because of a request that is out of order.
func (s *session) expel(r *request, condition string, cause error) {
	r.refer(s.violate(condition, cause), s.terms.contentType)
}

// violate ends the session because of a request that is no part of it, and returns
// the answer to that request.
func (s *session) violate(condition string, cause error) reply {
	turn := s.core.Begin()
	s.terminate(turn, condition, cause)
	turn.End()
	s.mu.Lock()
	defer s.mu.Unlock()
	// What is pending stays: nobody tells whether this reply is taken.
	s.told = true
	rep := terminateReply(*s.end, nil)
	if s.legacy {
		rep.status = legacyStatus(s.end.condition)
	}
	return rep
}

// terminate ends the session with a condition of XEP-0124 section 17.2.
func (s *session) terminate(turn *server.Turn, condition string, cause error) {
	s.mu.Lock()
	s.fate = condition
	s.mu.Unlock()
	turn.Close(server.StreamError(stream.PolicyViolation, cause))
}

// abandon ends a session that its client does not know of.
func (s *session) abandon() {
	turn := s.core.Begin()
	defer turn.End()
	turn.Close(server.Close{Reason: server.ReasonLost})
}

// run processes requests until one is missing.
func (s *session) run() {
	for {
		s.mu.Lock()
		r, ok := s.win.take()
		s.running = ok
		s.mu.Unlock()
		if !ok {
			return
		}
		turn := s.core.Begin()
		s.feed(turn, r)
		turn.End()
		s.processed(r)
	}
}

// feed gives the session what a request says.
func (s *session) feed(turn *server.Turn, r *request) {
	defer turn.Guard("input")
	if !s.unlocks(r) {
		s.terminate(turn, itemNotFound, errKey)
		return
	}
	if r.creates || r.restart {
		// XEP-0206 section 5: what comes with a restart is ignored.
		if turn.Open(s.streamHeader(r.body)) == server.Done || r.restart {
			return
		}
	}
	if s.tooSoon(r) {
		s.terminate(turn, policyViolation, errPolls)
		return
	}
	if p := r.pause; p.given && (p.value == 0 || time.Duration(p.value)*time.Second > s.h.cfg.MaxPause) {
		s.terminate(turn, policyViolation, errPause)
		return
	}
	err := r.each(func() xmlscan.Limits {
		return xmlscan.Limits{
			Bytes: turn.MaxElement(), Depth: s.h.cfg.Limits.Depth, Attrs: s.h.cfg.Limits.Attributes,
		}
	}, func(el *xmlscan.Element) bool {
		outcome := turn.Element(el)
		if outcome == server.Restart {
			s.authenticated()
		}
		return outcome != server.Done
	})
	if err != nil {
		turn.Close(server.BadXML(err))
		return
	}
	if r.terminate {
		turn.Hangup()
	}
}

// streamHeader is the stream header that a request stands for (XEP-0206 sections 4
// and 5). Clients that name no version mean 1.0: there is no other stream over
// BOSH.
func (s *session) streamHeader(b *body) server.StreamHeader {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lang = cmp.Or(b.lang, s.lang)
	return server.StreamHeader{
		From: b.from, To: cmp.Or(b.to, s.domain), Lang: s.lang, Version: cmp.Or(b.version, "1.0"),
	}
}

// tooSoon reports whether a client polls more often than it may (XEP-0124 section
// 12). One that fills its set of requests with an empty one is let off (section 11):
// web clients do when they have nothing else to send.
func (s *session) tooSoon(r *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := 0
	for range s.win.waiting() {
		waiting++
	}
	if waiting >= s.terms.requests() && r.empty() && r.at-s.came < s.h.cfg.Polling {
		s.h.cfg.Log.Debug("client polls too often", "conn", s.core.Conn(), "remote", s.remote)
	}
	s.came = r.at
	return s.polling() && r.empty() && s.lastPoll > 0 && r.at-s.lastPoll < s.h.cfg.Polling
}

func (s *session) authenticated() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authed = true
}

// bodyLimit is how long a body may be, in bytes. What comes before authentication
// is limited altogether; after it, clients send in one body what they gathered.
func (s *session) bodyLimit() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.authed {
		return stanzasPerBody*int(s.h.cfg.Limits.StanzaBytes) + wrapperBytes
	}
	return s.h.strangersLimit()
}

// strangersLimit is how long a body may be, in bytes, of whoever is not logged in.
func (h *Handler) strangersLimit() int { return int(h.cfg.Limits.LoginBytes) + wrapperBytes }

const (
	// stanzasPerBody is how many stanzas of the greatest length fit in a body.
	stanzasPerBody = 4
	// wrapperBytes is the room for the body's own tags and declaration.
	wrapperBytes = 4 << 10
)

// processed has r wait for its answer, or answers it.
func (s *session) processed(r *request) {
	s.mu.Lock()
	defer s.unlock()
	s.win.done(r.rid)
	if s.end == nil {
		if r.creates {
			s.h.add(s)
		}
		if r.pause.given {
			s.pauseFor(r)
		}
		s.lastPoll = 0
		if r.empty() && s.pending.len() == 0 {
			s.lastPoll = r.at
		}
		s.tellMissing()
	}
	r.shrink()
	s.serve()
	s.rest()
}

// pauseFor answers every request, and waits longer than usual for the next one,
// unless that came first (XEP-0124 section 10). The caller has the lock.
func (s *session) pauseFor(r *request) {
	if s.win.received() == r.rid {
		s.pause = time.Duration(r.pause.value) * time.Second
	}
	for {
		rid, ok := s.win.oldest()
		if !ok {
			return
		}
		s.dismiss(rid)
	}
}
