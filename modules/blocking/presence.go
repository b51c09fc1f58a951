package blocking

import (
	"maps"
	"slices"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server"
)

// known is a session here of somebody whom a change is about.
type known struct {
	session *server.Session
	// sees says that its user may see the one whose list changed, shown the other way
	// round.
	sees, shown bool
}

// known lists the available sessions here of those whom a change is about, as far as
// they and the user see anything of each other.
func (m *Module) known(user jid.JID, about []jid.JID) (all []known) {
	relation := make(map[jid.JID]known)
	for _, s := range m.sessions(user, about) {
		if s.Presence() == nil {
			continue
		}
		bare := s.JID().Bare()
		k, ok := relation[bare]
		if !ok {
			k.sees, k.shown = m.host.MaySee(bare, user), m.host.MaySee(user, bare)
			relation[bare] = k
		}
		k.session = s
		if k.sees || k.shown {
			all = append(all, k)
		}
	}
	return all
}

// sessions lists the sessions here of others whom a change is about, each once.
func (m *Module) sessions(user jid.JID, about []jid.JID) (all []*server.Session) {
	them, asked := newList(about), make(map[jid.JID]struct{})
	note := func(s *server.Session) {
		if s.JID().Bare() != user && them.matches(s.JID()) {
			all = append(all, s)
		}
	}
	if slices.ContainsFunc(about, m.isWide) {
		for s := range m.host.All() {
			note(s)
		}
		return all
	}
	for _, item := range about {
		bare := item.Bare()
		if _, twice := asked[bare]; twice {
			continue
		}
		asked[bare] = struct{}{}
		for _, s := range m.host.Sessions(bare) {
			note(s)
		}
	}
	return all
}

// isWide reports whether an item is about everybody at a virtual host.
func (m *Module) isWide(j jid.JID) bool { return !j.IsFull() && m.lists.isHost(j) }

// tell tells the user and those whom a change is about what they see of each other by the
// list as it is now; the user's lock is held.
func (m *Module) tell(b *server.Batch, user jid.JID, about []jid.JID) {
	var blocked, free []jid.JID
	for _, j := range about {
		if m.lists.of(user).has(j) {
			blocked = append(blocked, j)
		} else {
			free = append(free, j)
		}
	}
	if len(blocked) > 0 {
		m.part(b, user, blocked)
	}
	if len(free) > 0 {
		m.meet(b, user, free)
	}
}

// part tells the user and those just blocked that the others are gone, as far as they
// saw them (section 3.3). It comes after the list counts, so that nothing newer follows,
// and passes the filter by.
func (m *Module) part(b *server.Batch, user jid.JID, about []jid.JID) {
	at := time.Now()
	if resources := m.host.Resources(user); len(resources) > 0 {
		for _, k := range m.known(user, about) {
			theirs := k.session.JID()
			for _, own := range resources {
				if k.sees {
					b.Deliver(theirs, server.Unavailable(own, at).AppendTo(nil, theirs, nil))
				}
				if k.shown {
					b.Deliver(own, server.Unavailable(theirs, at).AppendTo(nil, own, nil))
				}
			}
		}
	}
	// Nor do they see any longer what was directed to them.
	them := newList(about)
	m.host.Retract(m.host.Sessions(user), func(to jid.JID) bool { return to.Bare() != user && them.matches(to) })
	m.host.Retract(m.sessions(user, about), func(to jid.JID) bool { return to.Bare() == user })
}

// meet tells the user and those who are blocked no longer what they may see of each
// other (section 3.4). The user's connections may be at other nodes.
func (m *Module) meet(b *server.Batch, user jid.JID, about []jid.JID) {
	if len(m.host.Resources(user)) == 0 {
		return
	}
	shown := make(map[jid.JID]struct{})
	for _, k := range m.known(user, about) {
		if k.sees {
			m.host.Probe(b, k.session, user)
		}
		if k.shown {
			shown[k.session.JID().Bare()] = struct{}{}
		}
	}
	if len(shown) == 0 {
		return
	}
	contacts := slices.Collect(maps.Keys(shown))
	m.probe(b, user, contacts)
	for _, node := range m.host.Nodes() {
		m.host.Tell(b, node, appendAddresses(packed.AppendString([]byte{itemProbe}, user.String()), contacts))
	}
}

// probe tells the user's sessions here what is to be seen of others.
func (m *Module) probe(b *server.Batch, user jid.JID, contacts []jid.JID) {
	for _, s := range m.host.Sessions(user) {
		if s.Presence() == nil {
			continue
		}
		for _, j := range contacts {
			m.host.Probe(b, s, j)
		}
	}
}
