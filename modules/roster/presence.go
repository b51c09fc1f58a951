package roster

import (
	"context"
	"errors"
	"slices"
	"time"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// visible reports whether others may see a presence.
func (m *Module) visible(p *server.Presence) bool {
	return p.Available && (!m.o.LegacyShows || p.Declared != "offline")
}

// setPresence tells contacts what somebody says of themselves, and a newcomer of the
// contacts and what they ask.
func (m *Module) setPresence(ctx context.Context, e *server.SetPresence) {
	bare := e.Session.JID().Bare()
	o := m.owner(bare)
	if o == nil && !e.WasAvailable {
		o = m.arrive(ctx, e.Batch, bare)
	}
	if o == nil {
		return
	}
	m.say(e.Batch, o, e.Session.Conn(), e.Presence)
	if !e.Presence.Available || e.WasAvailable {
		return
	}
	m.welcome(e.Batch, o, e.Session)
}

// arrive finds out whether somebody who became available has items of their own.
func (m *Module) arrive(ctx context.Context, b *server.Batch, bare jid.JID) *own {
	if m.known(bare) {
		return nil // there are none
	}
	defer m.lock(bare)()
	return m.loadAll(ctx, b, bare)
}

// say tells contacts a connection's presence.
func (m *Module) say(b *server.Batch, o *own, conn string, p *server.Presence) {
	o.fan.Lock()
	defer o.fan.Unlock()
	i := slices.IndexFunc(o.shown, func(s shown) bool { return s.conn == conn })
	switch {
	case m.visible(p) && i < 0:
		o.shown = append(o.shown, shown{conn, p})
	case m.visible(p):
		o.shown[i].presence = p
	case i < 0:
		return
	default:
		o.shown = slices.Delete(o.shown, i, i+1)
		if p.Available { // and hidden
			p = server.Unavailable(p.JID, p.At)
		}
	}
	for _, at := range m.audience(o) {
		b.Tell(p, at)
	}
}

// audience lists the contacts that see a user's presence for the subscription alone; who
// shares a project is told by those.
func (m *Module) audience(o *own) (list []jid.JID) {
	m.cache.mu.RLock()
	defer m.cache.mu.RUnlock()
	u := m.cache.user(m.key(o.bare), o.bare)
	for _, i := range o.list() {
		if i.watches() && !(m.o.ByProjects && u.with(i.jid)) {
			list = append(list, i.jid)
		}
	}
	return list
}

// tied reports whether two users have each other's presence by a project, as far as the
// cache knows.
func (m *Module) tied(a, b jid.JID) bool {
	with, _ := m.cache.with(m.key(a), b)
	return with && m.o.ByProjects
}

// successor is how long the successor of a connection has to become available before
// contacts learn that the old one is gone.
const successor = 2 * time.Second

// removeConnection ends what contacts see of a connection.
func (m *Module) removeConnection(_ context.Context, e *server.RemoveConnection) {
	bare := e.JID.Bare()
	m.cache.forget(m.key(bare), e.Conn)
	o := m.owner(bare)
	if o == nil {
		return
	}
	o.fan.Lock()
	shown := slices.ContainsFunc(o.shown, func(s shown) bool { return s.conn == e.Conn })
	o.fan.Unlock()
	if shown && e.Replaced() && !slices.Contains(m.host.Resources(bare), e.JID) && !m.stopping() {
		conn, full := e.Conn, e.JID
		time.AfterFunc(successor, func() {
			b := m.host.NewBatch()
			defer b.Flush()
			m.gone(b, o, conn, full)
			m.disown(o)
		})
		return
	}
	m.gone(e.Batch, o, e.Conn, e.JID)
	m.disown(o)
}

// gone ends what contacts see of a connection, unless another one has told of the address.
func (m *Module) gone(b *server.Batch, o *own, conn string, full jid.JID) {
	if !slices.Contains(m.host.Resources(o.bare), full) {
		m.say(b, o, conn, server.Unavailable(full, time.Now()))
		return
	}
	o.fan.Lock()
	defer o.fan.Unlock()
	o.shown = slices.DeleteFunc(o.shown, func(s shown) bool { return s.conn == conn })
}

// tellShown tells an address of a contact what it may see of the user's connections to
// this node, or of the one that about is the full address of; parted says that the two share no project, whatever this node knows. It
// reports how many connections that were, and whether the contact may see them.
func (m *Module) tellShown(b *server.Batch, o *own, to, about jid.JID, parted bool) (n int, may bool) {
	if !parted && m.tied(o.bare, to.Bare()) {
		return 0, true
	}
	o.fan.Lock()
	defer o.fan.Unlock()
	if i := o.at(to.Bare().String()); i == nil || !i.watches() {
		return 0, false
	}
	for _, s := range o.shown {
		if !about.IsFull() || s.presence.JID == about {
			b.Tell(s.presence, to)
			n++
		}
	}
	return n, true
}

// conceal tells a contact that what it saw of the user is gone; fan is held.
func (m *Module) conceal(b *server.Batch, o *own, at jid.JID) {
	if m.tied(o.bare, at) {
		return
	}
	if len(m.host.Nodes()) > 0 {
		// Where both this and the next approval are heard of at once, nobody asks again.
		m.asks.note(wanted{at, o.bare})
	}
	for _, s := range o.shown {
		b.Tell(server.Unavailable(s.presence.JID, time.Now()), at)
	}
}

// welcome tells a newcomer what it may see of the user's contacts, and what waits for
// the user's answer (RFC 6121 section 3.1.3).
func (m *Module) welcome(b *server.Batch, o *own, s *server.Session) {
	var contacts []jid.JID
	m.cache.mu.RLock()
	u := m.cache.user(m.key(o.bare), o.bare)
	list := slices.DeleteFunc(slices.Clone(o.list()), func(i *item) bool { return i.pending() && u.with(i.jid) })
	m.cache.mu.RUnlock()
	for _, i := range list {
		if i.watched() && !m.tied(o.bare, i.jid) {
			m.greet(b, s.JID(), i.jid, false)
			contacts = append(contacts, i.jid)
		}
	}
	m.ask(b, s.JID(), contacts, askAgain)
	for _, i := range list {
		if i.pending() && m.host.Passes(i.jid, o.bare) {
			b.Send(s, i.Request)
		}
	}
}

// greetAll tells the user's available connections to this node of a contact.
func (m *Module) greetAll(b *server.Batch, o *own, at jid.JID) {
	if m.tied(o.bare, at) {
		return
	}
	for _, s := range m.host.Sessions(o.bare) {
		if s.Presence() != nil {
			m.greet(b, s.JID(), at, false)
			m.ask(b, s.JID(), []jid.JID{at}, askAgain)
		}
	}
}

// Ended tells a session what it may see of a contact, after it was told that the contact
// is gone because the two share no project any more. Other nodes need not know that yet.
func (m *Module) Ended(b *server.Batch, s *server.Session, at jid.JID) {
	i := m.owner(s.JID().Bare()).at(at.String())
	if i == nil || !i.watched() || s.Presence() == nil {
		return
	}
	m.greet(b, s.JID(), at, true)
	m.ask(b, s.JID(), []jid.JID{at}, askParted)
}

// partedPresence makes up for what contacts at other nodes were not told while this one
// did not know yet that the last common project had ended.
func (m *Module) partedPresence(_ context.Context, e *server.DirectoryChange) {
	for _, p := range m.parted {
		for _, full := range m.elsewhere(p.contact) {
			m.tellShown(e.Batch, p.o, full, p.o.bare, false)
		}
	}
	m.parted = nil
}

// watching reports whether a user is subscribed to another's presence.
func (m *Module) watching(ctx context.Context, watcher, watched jid.JID) (bool, error) {
	i, err := m.item(ctx, watched, watcher)
	return i.watches(), err
}

// probe answers a contact (RFC 6121 section 4.3.2).
func (m *Module) probe(ctx context.Context, e *server.Probe) {
	from := e.From.JID()
	if e.Answered {
		return
	}
	ok, err := m.watching(ctx, from.Bare(), e.To)
	if err != nil {
		m.failed("item", err, "user", e.To.String())
		e.Answered = errors.Is(err, storage.ErrUnavailable) // nobody knows
		return
	}
	if !ok {
		return
	}
	e.Answered = true
	about := e.To
	if !e.Only.IsZero() {
		about = e.Only
	}
	if m.greet(e.Batch, from, about, false) > 0 || slices.ContainsFunc(m.elsewhere(e.To), e.Wants) {
		// The others answer for what they have.
		m.ask(e.Batch, from, []jid.JID{about}, askProbe)
		return
	}
	e.Batch.Send(e.From, server.AppendPresenceType(nil, e.To, from.Bare(), "unavailable"))
}

// elsewhere lists a user's available connections to other nodes.
func (m *Module) elsewhere(bare jid.JID) []jid.JID {
	here := m.host.Sessions(bare)
	return slices.DeleteFunc(m.host.Resources(bare), func(full jid.JID) bool {
		return slices.ContainsFunc(here, func(s *server.Session) bool { return s.JID() == full })
	})
}

// authorize says who may see whom.
func (m *Module) authorize(ctx context.Context, e *server.Authorize) {
	if e.Allowed {
		return
	}
	ok, err := m.together(ctx, e.Viewer, e.User)
	if err == nil && !ok && m.o.Rosters != nil && m.local(e.User) {
		ok, err = m.watching(ctx, e.Viewer, e.User)
	}
	if err != nil {
		m.failed("authorize", err, "user", e.User.String())
	}
	e.Allowed = ok
}
