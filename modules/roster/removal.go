package roster

import (
	"context"
	"slices"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// userRemoved forgets what a user kept, and takes the user off everybody's roster.
func (m *Module) userRemoved(_ context.Context, e *server.DirectoryChange) {
	if e.Kind != storage.UserRemoved {
		return
	}
	for _, host := range m.domains {
		bare, err := jid.New(e.User, host, "")
		if err != nil {
			m.host.Log().Error("the id of a user is no address", "user", e.User, "err", err)
			return
		}
		var watched []jid.JID // what is known here of contacts, if the store forgets at once
		for _, i := range m.owner(bare).list() {
			watched = append(watched, i.jid)
		}
		m.later(func(ctx context.Context) error { return m.bury(ctx, bare, watched) })
	}
}

// orphaned buries a user who was removed before the item of a contact came: a request of
// the user's own session or of the contact's was under way meanwhile.
func (m *Module) orphaned(ctx context.Context, bare, at jid.JID) error {
	exists, err := m.exists(ctx, bare)
	if err != nil || exists {
		return err
	}
	return m.bury(ctx, bare, []jid.JID{at})
}

// bury ends everything between a removed user and others.
func (m *Module) bury(ctx context.Context, bare jid.JID, contacts []jid.JID) error {
	switch exists, err := m.exists(ctx, bare); {
	case err != nil:
		return err
	case exists:
		// Who may not log in for a while keeps everything. But it may be another user of
		// that name, if the store knows.
		return m.rereadAll(ctx, bare)
	}
	items, err := m.read(ctx, bare)
	if err != nil {
		return err
	}
	all := make(map[jid.JID]struct{})
	for _, i := range items {
		all[i.jid] = struct{}{}
	}
	for _, at := range contacts {
		all[at] = struct{}{}
	}
	for _, o := range m.having(bare) {
		all[o.bare] = struct{}{}
	}
	b := m.host.NewBatch()
	defer b.Flush()
	for at := range all {
		if !m.local(at) {
			continue
		}
		if err := m.bereave(ctx, b, at, bare); err != nil {
			return err
		}
	}
	return m.o.Rosters.RemoveRoster(ctx, m.key(bare))
}

// having lists the users here with an item of somebody.
func (m *Module) having(bare jid.JID) []*own {
	return slices.DeleteFunc(m.everyOwner(), func(o *own) bool { return o.at(bare.String()) == nil })
}

// rereadAll makes all that is known here of somebody what the store says.
func (m *Module) rereadAll(ctx context.Context, bare jid.JID) error {
	for _, o := range m.having(bare) {
		if err := m.reread(ctx, o.bare, bare); err != nil {
			return err
		}
	}
	return m.refresh(ctx, bare)
}

// bereave takes back what a user and a removed one were to each other. The item stays,
// as the user's note, unless the store knows better.
func (m *Module) bereave(ctx context.Context, b *server.Batch, bare, gone jid.JID) error {
	_, err := m.change(ctx, b, changing{
		user: bare, contact: gone, remembered: true,
		become: func(c *contact) {
			c.follow(new(contact))
			c.revoke()
		},
		tell: func(old, _ *contact) (n notice) {
			if old.watched() || old.Ask {
				n.list = append(n.list, server.AppendPresenceType(nil, gone, bare, "unsubscribed"))
			}
			if old.watches() || old.pending() {
				n.list = append(n.list, server.AppendPresenceType(nil, gone, bare, "unsubscribe"))
			}
			return n
		},
	})
	return err
}
