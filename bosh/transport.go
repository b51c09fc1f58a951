package bosh

import (
	"rollcall/server"
)

var _ server.Transport = (*session)(nil)

// Info implements server.Transport.
func (s *session) Info() server.Info {
	return server.Info{Kind: "bosh", Remote: s.remote, Secure: s.secure}
}

// Open implements server.Transport.
func (s *session) Open(h server.StreamHeader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.domain = h.From
	if s.opening != nil {
		s.opening.id = h.ID
	}
}

// Write implements server.Transport. An element of any length may wait where next to
// nothing does.
func (s *session) Write(el []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil {
		s.tooLate(el)
		return nil
	}
	if n := s.pending.len(); n > s.outbox()/32 && n+len(el) > s.outbox() {
		s.tooLate(el)
		return server.ErrOutboxFull
	}
	if s.prompt = s.prompt || s.running; s.pending.len() == 0 && s.h.cfg.Coalesce > 0 {
		s.coming = s.h.now()
	}
	if s.pending == nil {
		s.pending = s.h.newOutput()
	}
	s.pending.b = append(s.pending.b, el...)
	return nil
}

// Flush implements server.Transport.
func (s *session) Flush() {
	s.mu.Lock()
	defer s.unlock()
	s.serve()
	s.rest()
	if s.forgotten {
		s.giveBack()
	}
}

// Close implements server.Transport. The session stays known for a while, so that
// who has no request here now learns the reason with the next one.
func (s *session) Close(c server.Close) {
	s.mu.Lock()
	defer s.unlock()
	if s.end != nil {
		return
	}
	end := conditionOf(c, s.created)
	if s.fate != "" {
		end = ending{condition: s.fate}
	}
	s.end, s.last = &end, s.win.next-1
	s.told = c.Reason == server.ReasonClient
	s.win.finish()
	s.settle()
	s.active = s.h.now()
	// A client that is not there any more, or never knew the session, needs no
	// reason (XEP-0124 section 10).
	present, _ := s.win.writing()
	if !s.created || !present && (c.Reason == server.ReasonInactive || c.Reason == server.ReasonLost) {
		s.forget()
	}
	s.rest()
}
