package bosh

// What goes back when a session is over and forgotten (XEP-0206 section 7): what
// waited for a request, and what no reply could be written with. When the client
// neither ended the session nor took the last word on it, so does what it may have
// missed of the replies written, see window.undelivered: a client that had got the
// last of them would have asked for more at once. One that got them and vanished in
// the same moment is the price: its stanzas go back all the same, for lost ones are
// worse than double ones.

// outbox is how many bytes may wait for the client.
func (s *session) outbox() int { return int(s.h.cfg.Limits.OutboxBytes) }

// tooLate keeps what can only go back. The caller has the lock.
func (s *session) tooLate(el []byte) {
	if n := len(s.late); n == 0 || n+len(el) <= s.outbox() {
		s.late = append(s.late, el...)
	}
}

// forget gives the session up for good. The caller has the lock.
func (s *session) forget() {
	s.forgotten = true
	s.h.remove(s)
	s.giveBack()
}

// giveBack gives back what the client did not get. Before the first reply, whose
// request still waits for the last word, there is nothing from others. The caller
// has the lock, which the core does not wait for.
func (s *session) giveBack() {
	if !s.created {
		return
	}
	var all []byte
	if !s.returned {
		all = s.win.undelivered(!s.told)
	}
	all = append(all, s.pending.bytes()...)
	all = append(all, s.late...)
	s.h.putOutput(s.pending)
	s.returned, s.pending, s.late = true, nil, nil
	if len(all) == 0 {
		return
	}
	if s.back = append(s.back, all...); !s.giving {
		s.giving = true
		go s.handBack()
	}
}

// handBack hands the core what goes back, one piece after the other.
func (s *session) handBack() {
	for {
		s.mu.Lock()
		all := s.back
		s.back, s.giving = nil, len(all) > 0
		s.mu.Unlock()
		if len(all) == 0 {
			return
		}
		s.core.Undelivered(all)
	}
}
