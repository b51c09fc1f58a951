package bosh

import "time"

// gathers reports whether what is pending waits for more to go with it. It does
// when replies go out one after the other, unless the client waits for it, or
// has one request too many at the server. The caller has the lock.
func (s *session) gathers() bool {
	at, waits := s.gathered()
	if !waits || s.h.now() >= at {
		return false
	}
	_, surplus := s.win.surplus()
	return !surplus
}

// gathered is when what is pending has waited for long enough, if it waits. The
// caller has the lock.
func (s *session) gathered() (at time.Duration, waits bool) {
	c := s.h.cfg.Coalesce
	if c == 0 || s.pending.len() == 0 || s.prompt || !s.created || s.polling() || s.coming-s.busy >= c {
		return at, false
	}
	if busy, _ := s.win.writing(); busy {
		return at, false
	}
	_, held := s.win.oldest()
	return s.coming + c, held
}
