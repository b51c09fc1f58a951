package server

// Listener says what holds for the sessions of one listener.
type Listener struct {
	// RequireTLS refuses authentication on a connection that is not secure.
	RequireTLS bool
	// PlainWithoutTLS offers PLAIN on a connection that is not secure.
	PlainWithoutTLS bool
	// LegacyAuth lets clients log in as XEP-0078 says.
	LegacyAuth bool
	// AdvertiseSession lists the legacy session request of RFC 3921 among the
	// features. It is answered in any case.
	AdvertiseSession bool
	// NoPings is for clients that do not answer when they are asked whether they are
	// still there, such as load generators.
	NoPings bool
}

// traits are a Listener in one byte: every session has them.
type traits uint8

const (
	requireTLS traits = 1 << iota
	plainWithoutTLS
	legacyAuth
	advertiseSession
	noPings
	anonymous // not of the listener: the client has no account
)

func (l *Listener) traits() (t traits) {
	for _, x := range [...]struct {
		on bool
		traits
	}{
		{l.RequireTLS, requireTLS}, {l.PlainWithoutTLS, plainWithoutTLS}, {l.LegacyAuth, legacyAuth},
		{l.AdvertiseSession, advertiseSession}, {l.NoPings, noPings},
	} {
		if x.on {
			t |= x.traits
		}
	}
	return t
}

// Listener is what holds for the listener that the client came to.
func (s *Session) Listener() Listener {
	return Listener{
		RequireTLS: s.traits&requireTLS != 0, PlainWithoutTLS: s.traits&plainWithoutTLS != 0,
		LegacyAuth: s.traits&legacyAuth != 0, AdvertiseSession: s.traits&advertiseSession != 0,
		NoPings: s.traits&noPings != 0,
	}
}

// Pingable reports whether the client may be asked whether it is still there.
func (s *Session) Pingable() bool {
	carrier := s
	if m := s.managed(); m != nil {
		carrier = m.on()
	}
	return carrier != nil && carrier.traits&noPings == 0
}
