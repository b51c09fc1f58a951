package server

// Anonymous reports whether the client has no account (XEP-0175): nothing is kept for it,
// and it is known to no store.
func (s *Session) Anonymous() bool { return s.traits&anonymous != 0 }

// enterAnonymously makes the session one of an anonymous user, unless there are too many.
func (s *Session) enterAnonymously() bool {
	if s.srv.anonymous.Add(1) > int64(s.srv.cfg.Anonymous) {
		s.srv.anonymous.Add(-1)
		return false
	}
	s.traits |= anonymous
	return true
}
