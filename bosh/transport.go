package bosh

import (
	"time"

	"rollcall/server"
)

var _ server.Transport = (*session)(nil)

// Info implements server.Transport.
func (s *session) Info() server.Info { return s.info }

// Open implements server.Transport. There is no header to answer with: what is
// in it goes out with the first answer.
func (s *session) Open(h server.StreamHeader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.header.ID == "" {
		s.header = h
	}
}

// Write implements server.Transport.
func (s *session) Write(el []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil:
		return nil
	case len(s.out)+len(el) > int(s.h.cfg.Limits.OutboxBytes):
		return server.ErrOutboxFull
	}
	s.out = append(s.out, el...)
	return nil
}

// Flush implements server.Transport.
func (s *session) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pump()
}

// Close implements server.Transport (XEP-0124 sections 13 and 17): the oldest
// request gets what is left and the reason, the others end empty. Who asks later
// learns the reason too, for as long as a client may be silent.
func (s *session) Close(c server.Close) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return
	}
	var attrs []byte
	creating := !s.created
	if creating && c.Condition() == "" {
		attrs = s.creation()
	}
	last := farewell(c, creating, attrs, s.out)
	s.ended = farewell(c, creating, nil, nil)
	waiting := s.win.all()
	for i, r := range waiting {
		if i == 0 {
			r.to.answer <- last
			s.win.answered(r, last, nil)
		} else {
			r.to.answer <- emptyBody()
		}
	}
	if len(waiting) == 0 {
		// Nobody was there to take what is left.
		s.ended = last
	}
	s.out = nil
	for _, t := range []*time.Timer{s.deadline, s.silence} {
		if t != nil {
			t.Stop()
		}
	}
	s.deadline, s.silence = nil, nil
	s.grave = time.AfterFunc(s.h.cfg.Inactivity, func() { s.h.forget(s) })
}
