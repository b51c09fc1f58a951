package server

import (
	"errors"

	"mellium.im/xmpp/stream"

	"rollcall/internal/jid"
)

var (
	errTooEarly = errors.New("proof of identity before the stream's header")
	errProven   = errors.New("proof of identity after authentication")
)

// Authenticated is SASL success for a transport that has proof of its own of who the
// client is, for example the word of a back end: it takes the place of the element
// that ends an exchange, is counted and logged like one, and on success the stream is
// to be restarted (Restart). account is a bare address of the stream's host. An
// account that is not there is a failed authentication: the peer is told
// not-authorized, or temporary-auth-failure if the store cannot say, and the Outcome
// is More.
func (t *Turn) Authenticated(account jid.JID) Outcome {
	defer t.Guard("authentication")
	return t.outcome(t.s.trusted(t, account))
}

func (s *Session) trusted(t *Turn, account jid.JID) Outcome {
	s.Touch()
	switch {
	case s.phase == closed:
		return Done
	case s.phase == opening:
		s.close(t, StreamError(stream.NotAuthorized, errTooEarly))
		return Done
	case !s.jid.IsZero():
		s.close(t, StreamError(stream.PolicyViolation, errProven))
		return Done
	}
	s.neg.since = s.srv.removals.now()
	if f := s.srv.cfg.Auth.Known(s.srv.ctx, s.neg.host, account); f != nil {
		return s.saslFailed(t, f)
	}
	s.authenticated(account)
	s.srv.log.Debug("authenticated by its transport", "jid", account.String(), "conn", s.conn)
	return Restart
}

// authenticated notes who the client is, by a bare address.
func (s *Session) authenticated(account jid.JID) {
	s.jid, s.neg.exchange = account, nil
	s.srv.metrics.auth("success")
}
