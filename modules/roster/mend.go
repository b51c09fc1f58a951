package roster

import (
	"context"
	"errors"
	"slices"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// item reads a user's item of a contact from the store; there may be none.
func (m *Module) item(ctx context.Context, bare, at jid.JID) (contact, error) {
	i, err := m.o.Rosters.RosterItem(ctx, m.key(bare), at.String())
	if errors.Is(err, storage.ErrNotFound) {
		return contact{}, nil
	}
	return open(i), err
}

// overlooked is the contact's request if this node did not know of it.
func overlooked(was *item, now *contact) (n notice) {
	if now.pending() && (was == nil || !was.pending()) {
		n = notice{list: [][]byte{now.Request}, available: true}
	}
	return n
}

// recall makes an item at every node what the store says it is: a store that failed may
// have done all the same what it was told. tell is that of a change.
func (m *Module) recall(ctx context.Context, b *server.Batch, bare, at jid.JID, tell func(old, new *contact) notice) error {
	defer m.lock(bare)()
	now, err := m.item(ctx, bare, at)
	if err != nil {
		return err
	}
	o := m.owner(bare)
	was := o.at(at.String())
	n := overlooked(was, &now)
	if tell != nil && o != nil && len(n.list) == 0 {
		var old contact
		if was != nil {
			old = was.contact
		}
		n = tell(&old, &now)
	}
	m.learn(ctx, b, bare, at, now, n, false)
	m.tellNodes(b, bare, at, n)
	return nil
}

// doubt has what two users are to each other looked after, when a change failed that may
// have been made all the same.
func (m *Module) doubt(err error, one, other jid.JID) {
	if doubtful(err) {
		m.later(func(ctx context.Context) error { return m.straighten(ctx, one, other) })
	}
}

// doubtful reports whether what failed may have been done.
func doubtful(err error) bool {
	return err != nil && !errors.Is(err, storage.ErrFull) && !errors.Is(err, storage.ErrInvalid) && !errors.As(err, new(stanza.Error))
}

// straighten makes the items of two users agree, and what the nodes know of them.
func (m *Module) straighten(ctx context.Context, one, other jid.JID) error {
	b := m.host.NewBatch()
	defer b.Flush()
	for _, r := range []relation{{one, other}, {other, one}} {
		if err := m.recallAt(ctx, b, r.watched, r.watcher); err != nil {
			return err
		}
	}
	for _, r := range []relation{{one, other}, {other, one}} {
		if !m.local(r.watched) {
			continue
		}
		exists, err := m.exists(ctx, r.watched)
		if err != nil {
			return err
		}
		if !exists {
			continue // whoever asks nobody waits for ever
		}
		now, err := m.item(ctx, r.watched, r.watcher)
		if err == nil {
			err = m.settle(ctx, b, r, now, turned(r))
		}
		if errors.Is(err, storage.ErrFull) {
			_, err = m.unsubscribe(ctx, b, r, server.AppendPresenceType(nil, r.watcher, r.watched, "unsubscribe"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recallAt is recall for an address that may be no account's.
func (m *Module) recallAt(ctx context.Context, b *server.Batch, bare, at jid.JID) error {
	if !m.local(bare) {
		return nil
	}
	return m.recall(ctx, b, bare, at, turned(relation{watcher: bare, watched: at}))
}

// turned is the notice about what became of a subscription.
func turned(r relation) func(old, new *contact) notice {
	return func(old, new *contact) notice {
		if new.watched() {
			return begins(server.AppendPresenceType(nil, r.watched, r.watcher, "subscribed"))(old, new)
		}
		return ends(server.AppendPresenceType(nil, r.watched, r.watcher, "unsubscribed"))(old, new)
	}
}

// refresh makes what this node has of a user what the store says.
func (m *Module) refresh(ctx context.Context, bare jid.JID) error {
	b := m.host.NewBatch()
	defer b.Flush()
	defer m.lock(bare)()
	if len(m.host.Sessions(bare)) == 0 {
		return nil
	}
	now, err := m.read(ctx, bare)
	if err != nil {
		return err
	}
	o := m.owner(bare)
	if !m.known(bare) {
		if o == nil && len(now) > 0 {
			o = m.own(bare, nil)
		}
		if o == nil {
			return nil
		}
		if err := m.enter(ctx, b, bare, nil, o); err != nil {
			return err
		}
	}
	next := make(map[string]*item, len(now))
	for _, i := range now {
		next[i.Contact] = i
	}
	for _, i := range slices.Clone(o.list()) {
		if next[i.Contact] == nil {
			m.learn(ctx, b, bare, i.jid, contact{}, notice{}, false)
		}
	}
	for _, i := range now {
		was := o.at(i.Contact)
		m.learn(ctx, b, bare, i.jid, i.contact, overlooked(was, &i.contact), false)
		if o = m.owner(bare); o != nil && (was == nil || !was.watches()) {
			m.tellShown(b, o, i.jid, bare, false) // it may have asked long ago
		}
	}
	return nil
}
