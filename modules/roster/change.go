package roster

import (
	"context"
	"slices"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// notice is presence about a subscription, for the user whose item it changes.
type notice struct {
	list [][]byte // encoded stanzas
	// available says that it is for the available connections, and not the interested
	// ones.
	available bool
}

// change is an item before and after.
type change struct{ old, new contact }

// changed reports whether the two differ for clients, or for who may see whom.
func (c *change) changed() bool {
	a, b := c.old, c.new
	return a.Listed != b.Listed || a.Name != b.Name || !slices.Equal(a.Groups, b.Groups) ||
		a.Subscription != b.Subscription || a.Ask != b.Ask || a.Approved != b.Approved || a.pending() != b.pending()
}

// gained reports whether the contact may see the user's presence from now on.
func (c *change) gained() bool { return !c.old.watches() && c.new.watches() }

// changing says what to make of an item.
type changing struct {
	user, contact jid.JID // bare
	become        func(*contact)
	// check is asked first whether that may be, by the items that there are; nil for
	// what always may.
	check func([]*item) error
	// tell makes the notice about what came of it; nil for none.
	tell func(old, new *contact) notice
	// always pushes the item also when it did not change.
	always bool
	// remembered says that the item before is what this node knows, if it does: the
	// store may have forgotten it.
	remembered bool
}

// change changes an item of any user, and tells whoever is concerned, at any node.
func (m *Module) change(ctx context.Context, b *server.Batch, g changing) (ch change, err error) {
	defer m.lock(g.user)()
	if g.check != nil {
		list, err := m.items(ctx, g.user)
		if err == nil {
			err = g.check(list)
		}
		if err != nil {
			return ch, err
		}
	}
	_, err = m.o.Rosters.ChangeRosterItem(ctx, m.key(g.user), g.contact.String(), m.o.Items, func(i storage.RosterItem) (storage.RosterItem, bool) {
		ch.old = open(i)
		ch.new = ch.old
		g.become(&ch.new)
		return ch.new.seal()
	})
	if err != nil {
		return ch, err
	}
	if !ch.old.there() && ch.new.there() {
		m.later(func(ctx context.Context) error { return m.orphaned(ctx, g.user, g.contact) })
	}
	if i := m.owner(g.user).at(g.contact.String()); i != nil && g.remembered {
		ch.old = i.contact
	}
	var n notice
	if g.tell != nil {
		n = g.tell(&ch.old, &ch.new)
	}
	if len(n.list) == 0 && !g.always && !ch.changed() {
		return ch, nil
	}
	m.learn(ctx, b, g.user, g.contact, ch.new, n, g.always)
	m.tellNodes(b, g.user, g.contact, n)
	return ch, nil
}

// learn makes an item what the store says it is, as far as the user is here: interested
// connections get the notice and a push, and the presence that they may see from now on.
// A contact that sees the user no longer is told, and one that may from now on if it has
// asked already. It is the user's turn.
func (m *Module) learn(ctx context.Context, b *server.Batch, bare, at jid.JID, now contact, n notice, always bool) {
	m.notify(b, bare, at, n)
	o := m.owner(bare)
	if o == nil && !m.known(bare) {
		m.meet(ctx, b, bare, now)
		return
	}
	if o == nil && now.there() {
		o = m.own(bare, nil)
	}
	was := m.become(b, o, bare, at, now, always)
	if o == nil {
		return
	}
	if !was.watches() && now.watches() {
		m.answerAsks(b, o, at)
	}
	if !was.watched() && now.watched() {
		m.greetAll(b, o, at)
	}
}

// become changes an item, pushes it, and tells the contact if it sees the user no longer.
// It returns the item before.
func (m *Module) become(b *server.Batch, o *own, bare, at jid.JID, now contact, always bool) (was contact) {
	if o != nil {
		// What the user says now is told before that or not at all.
		o.fan.Lock()
		defer o.fan.Unlock()
		if i := o.at(at.String()); i != nil {
			was = i.contact
		}
	}
	m.push(b, o, bare, at, now, always)
	if was.watches() && !now.watches() {
		m.conceal(b, o, at)
	}
	return was
}

// push changes an item in the cache, and pushes it.
func (m *Module) push(b *server.Batch, o *own, bare, at jid.JID, now contact, always bool) {
	c := m.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	changes := pushes{m: m}
	u := c.users[m.key(bare)]
	if u != nil {
		changes.add(pending{u: u, of: address{at.Local(), at.Domain()}, only: !always})
	}
	if o != nil {
		o.put(at, now)
		if u != nil {
			u.own = o
		}
	}
	changes.send(b)
}

// known reports whether the cache has a user, and so knows whether there are own items.
func (m *Module) known(bare jid.JID) bool {
	m.cache.mu.RLock()
	defer m.cache.mu.RUnlock()
	return m.cache.users[m.key(bare)] != nil
}

// meet loads the items of a user who is available here, but had none so far.
func (m *Module) meet(ctx context.Context, b *server.Batch, bare jid.JID, now contact) {
	if now.there() && slices.ContainsFunc(m.host.Sessions(bare), func(s *server.Session) bool { return s.Presence() != nil }) {
		m.loadAll(ctx, b, bare)
	}
}

// loadAll loads a user who is available here, with all that goes with the items; what
// fails is done later. It is the user's turn.
func (m *Module) loadAll(ctx context.Context, b *server.Batch, bare jid.JID) *own {
	o, err := m.load(ctx, bare)
	if err == nil && o != nil {
		err = m.enter(ctx, b, bare, nil, o)
	}
	if err != nil {
		m.failed("roster", err, "user", bare.String())
		m.later(func(ctx context.Context) error { return m.refresh(ctx, bare) })
	}
	return o
}

// notify delivers a notice about a contact to connections to this node, unless one of the
// two blocks the other.
func (m *Module) notify(b *server.Batch, bare, at jid.JID, n notice) {
	if !m.host.Passes(at, bare) {
		return
	}
	for _, el := range n.list {
		m.notifyOf(b, bare, el, n.available)
	}
}

func (m *Module) notifyOf(b *server.Batch, bare jid.JID, el []byte, available bool) {
	if available {
		for _, s := range m.host.Sessions(bare) {
			if s.Presence() != nil {
				b.Send(s, el)
			}
		}
		return
	}
	m.cache.mu.Lock()
	defer m.cache.mu.Unlock()
	if u := m.cache.users[m.key(bare)]; u != nil {
		for _, s := range u.sessions {
			m.cache.send(b, s, el)
		}
	}
}
