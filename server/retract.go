package server

import (
	"slices"
	"time"

	"rollcall/internal/jid"
)

// Retract says that sessions are unavailable to whom they directed presence to (RFC 6121
// section 4.6), as far as match says, whatever the filter says by now. It waits for each
// one's turn, so it runs apart from any.
func (h *Host) Retract(sessions []*Session, match func(to jid.JID) bool) {
	sessions = slices.DeleteFunc(slices.Clone(sessions), func(s *Session) bool { return s.rare.Load() == nil })
	if len(sessions) == 0 {
		return
	}
	go func() {
		for _, s := range sessions {
			s.retract(h, match)
		}
	}()
}

func (s *Session) retract(h *Host, match func(to jid.JID) bool) {
	turn := s.Turn()
	defer turn.End()
	defer turn.Guard("retract")
	if s.phase != bound {
		return // everybody was told
	}
	gone := Unavailable(s.jid, time.Now())
	directed := s.rare.Load().directed
	for to := range directed {
		told := []jid.JID{to}
		if !to.IsFull() && s.srv.foreign(to) == nil {
			told = h.Resources(to)
		}
		for _, j := range told {
			if match(j) {
				turn.Deliver(j, gone.AppendTo(nil, j, nil))
			}
		}
		if match(to) {
			delete(directed, to)
		}
	}
}
