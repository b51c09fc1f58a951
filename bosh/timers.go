package bosh

import (
	"time"

	"rollcall/server"
)

// A session has one timer, for whichever comes first: a request has waited for the
// time agreed upon (XEP-0124 section 8), or stanzas were gathered, or no request came for too long (section
// 10), or, after the end, the session has been remembered for long enough.

// patience is how long the client may be without a request.
func (s *session) patience() time.Duration {
	if s.pause > 0 {
		return s.pause
	}
	return s.h.cfg.Inactivity
}

// due is when a request that waits must be answered, or, when one before it does
// not come, the session given up.
func (s *session) due(state slotState, r *request) time.Duration {
	if state == held {
		return r.at + s.terms.wait
	}
	return r.at + s.terms.wait + s.h.cfg.Inactivity
}

// rest sets the timer. The caller has the lock.
func (s *session) rest() {
	next := time.Duration(0)
	present := false
	if s.end == nil {
		present, _ = s.win.writing() // for as long as that takes
		for state, r := range s.win.waiting() {
			present = true
			if state == taken {
				break // whatever is above it waits for its end
			}
			if at := s.due(state, r); next == 0 || at < next {
				next = at
			}
		}
		if at, waits := s.gathered(); waits && (next == 0 || at < next) {
			next = at
		}
	}
	if !present {
		next = s.active + s.patience()
	}
	switch {
	case s.forgotten:
		if s.timer != nil {
			s.timer.Stop()
		}
	case next == 0 || s.armed > 0 && s.armed <= next:
		// It may fire too early, and is set anew then: with each request that would cost
		// more.
	case s.timer == nil:
		s.armed = next
		s.timer = time.AfterFunc(next-s.h.now(), s.tick)
	default:
		s.armed = next
		s.timer.Reset(next - s.h.now())
	}
}

// tick is called by the timer.
func (s *session) tick() {
	s.mu.Lock()
	defer s.unlock()
	now := s.h.now()
	s.armed = 0
	switch {
	case s.end != nil:
		if !s.forgotten && now >= s.active+s.patience() {
			s.forget()
		}
	case s.idle(now):
		go s.giveUp()
		return
	default:
		s.expire(now)
		s.serve()
	}
	s.rest()
}

// expire answers the requests that have waited long enough, and those before them.
// The caller has the lock.
func (s *session) expire(now time.Duration) {
	last := int64(0)
	for state, r := range s.win.waiting() {
		if state == held && now >= s.due(state, r) {
			last = r.rid
		}
	}
	for {
		rid, ok := s.win.oldest()
		if !ok || rid > last {
			return
		}
		s.release(rid)
	}
}

// idle reports whether the client has been away for too long, or has left out a
// request for too long. The caller has the lock.
func (s *session) idle(now time.Duration) bool {
	present, _ := s.win.writing()
	for state, r := range s.win.waiting() {
		if state == taken {
			return false
		}
		if state == arrived && now >= s.due(state, r) {
			return true
		}
		present = true
	}
	return !present && now >= s.active+s.patience()
}

// giveUp ends the session unless the client came back in the meantime.
func (s *session) giveUp() {
	turn := s.core.Begin()
	defer turn.End()
	s.mu.Lock()
	still := s.end == nil && s.idle(s.h.now())
	if !still {
		s.rest()
	}
	s.mu.Unlock()
	if still {
		turn.Close(server.Close{Reason: server.ReasonInactive})
	}
}
