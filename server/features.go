package server

import (
	"log/slog"
	"strconv"
	"time"

	"rollcall/internal/ns"
)

// feature is one row of the table of stream features: what must hold for it to
// be offered, what must not.
type feature struct {
	need, forbid state
	append       func(s *Session, st state, dst []byte) []byte
}

// state is what a stream has reached, as a set.
type state uint8

const (
	secure        state = 1 << iota // nobody can read along
	authAllowed                     // authentication is allowed, secure or not
	plainAllowed                    // a password may cross the connection
	canStartTLS                     // the transport can turn to TLS
	authenticated                   //
	legacySession                   // the listener advertises RFC 3921 sessions
	iqAuth                          // XEP-0078 can be used
)

var features = [...]feature{
	{need: canStartTLS, forbid: secure | authenticated, append: appendStartTLS},
	{need: authAllowed, forbid: authenticated, append: appendMechanisms},
	{need: iqAuth, forbid: authenticated, append: func(_ *Session, _ state, dst []byte) []byte {
		return append(dst, "<auth xmlns='"+ns.IQAuthOffer+"'/>"...)
	}},
	{need: authenticated, append: func(_ *Session, _ state, dst []byte) []byte {
		return append(dst, "<bind xmlns='"+ns.Bind+"'/>"...)
	}},
	{need: authenticated | legacySession, append: func(_ *Session, _ state, dst []byte) []byte {
		return append(dst, "<session xmlns='"+ns.Session+"'><optional/></session>"...)
	}},
	{append: appendLimits},
}

func (s *Session) state() state {
	var st state
	if s.transport.Info().Secure {
		st |= secure | authAllowed | plainAllowed
	}
	if s.traits&requireTLS == 0 {
		st |= authAllowed
	}
	if s.traits&plainWithoutTLS != 0 {
		st |= plainAllowed
	}
	if s.traits&legacyAuth != 0 && st&authAllowed != 0 && (st&plainAllowed != 0 || s.srv.cfg.Auth.Digests()) {
		st |= iqAuth
	}
	if x, ok := s.transport.(TLSStarter); ok && x.CanStartTLS() {
		st |= canStartTLS
	}
	if !s.jid.IsZero() {
		st |= authenticated
	}
	if s.traits&advertiseSession != 0 {
		st |= legacySession
	}
	return st
}

// appendFeatures appends what the stream offers now (RFC 6120 section 4.3.2).
func (s *Session) appendFeatures(dst []byte) []byte {
	st := s.state()
	dst = append(dst, "<stream:features xmlns:stream='"+ns.Stream+"'>"...)
	for i := range features {
		if f := &features[i]; st&f.need == f.need && st&f.forbid == 0 {
			dst = f.append(s, st, dst)
		}
	}
	phase := BeforeLogin
	if st&authenticated != 0 {
		phase = AfterLogin
	}
	dst = s.srv.offers.append(s, phase, dst)
	return append(dst, "</stream:features>"...)
}

func appendStartTLS(s *Session, _ state, dst []byte) []byte {
	dst = append(dst, "<starttls xmlns='"+ns.TLS+"'>"...)
	if s.traits&requireTLS != 0 {
		dst = append(dst, "<required/>"...)
	}
	return append(dst, "</starttls>"...)
}

func appendMechanisms(s *Session, st state, dst []byte) []byte {
	names, anonymous := s.srv.cfg.Auth.Mechanisms(st&plainAllowed != 0), s.srv.cfg.Auth.Anonymous(s.neg.host)
	if len(names) == 0 && !anonymous {
		return dst
	}
	dst = append(dst, "<mechanisms xmlns='"+ns.SASL+"'>"...)
	for _, m := range names {
		dst = append(dst, "<mechanism>"...)
		dst = append(dst, m...)
		dst = append(dst, "</mechanism>"...)
	}
	if anonymous {
		dst = append(dst, "<mechanism>ANONYMOUS</mechanism>"...)
	}
	return append(dst, "</mechanisms>"...)
}

// appendLimits appends what the client may send next, and when it is asked whether it
// is still there (XEP-0478).
func appendLimits(s *Session, st state, dst []byte) []byte {
	dst = append(dst, "<limits xmlns='"+ns.Limits+"'><max-bytes>"...)
	dst = strconv.AppendInt(dst, int64(s.maxElement()), 10)
	dst = append(dst, "</max-bytes>"...)
	if idle := s.srv.cfg.Idle; idle > 0 && st&authenticated != 0 && s.Pingable() {
		dst = append(dst, "<idle-seconds>"...)
		dst = strconv.AppendInt(dst, int64(idle/time.Second), 10)
		dst = append(dst, "</idle-seconds>"...)
	}
	return append(dst, "</limits>"...)
}

// informs reports whether the log takes lines of level info, which are garbage otherwise.
func (srv *Server) informs() bool { return srv.log.Enabled(srv.ctx, slog.LevelInfo) }
