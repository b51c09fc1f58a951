package roster

import (
	"context"
	"errors"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// relation is the subscription of one user to another's presence, there or not.
type relation struct{ watcher, watched jid.JID } // bare

// maxSettles bounds how often a watcher's item is made what the watched user's says.
// Whoever changes that meanwhile does the same.
const maxSettles = 16

// settle makes the watcher's item follow the watched user's, which has just become
// authority. Others may change either at the same time, at any node: whoever writes
// last has read what counts last.
func (m *Module) settle(ctx context.Context, b *server.Batch, r relation, authority contact, tell func(old, new *contact) notice) error {
	if !m.local(r.watcher) {
		return nil
	}
	for range maxSettles {
		_, err := m.change(ctx, b, changing{
			user: r.watcher, contact: r.watched, tell: tell,
			become: func(c *contact) { c.follow(&authority) },
		})
		if err != nil {
			return err
		}
		now, err := m.item(ctx, r.watched, r.watcher)
		if err != nil {
			return err
		}
		if now.watches() == authority.watches() && now.pending() == authority.pending() {
			return nil
		}
		authority = now
	}
	return nil
}

// follow settles what has to come of a change, now or as soon as the store can be asked
// again. Only a full roster is an error.
func (m *Module) follow(ctx context.Context, b *server.Batch, r relation, authority contact, tell func(old, new *contact) notice) error {
	err := m.settle(ctx, b, r, authority, tell)
	if err == nil || errors.Is(err, storage.ErrFull) {
		return err
	}
	m.failed("settle", err, "user", r.watcher.String(), "contact", r.watched.String())
	m.later(func(ctx context.Context) error {
		b := m.host.NewBatch()
		defer b.Flush()
		if err := m.recall(ctx, b, r.watcher, r.watched, tell); err != nil {
			return err
		}
		now, err := m.item(ctx, r.watched, r.watcher)
		if err != nil {
			return err
		}
		return m.settle(ctx, b, r, now, tell)
	})
	return nil
}

// subscribe asks for the watched user's presence; request is the stanza. It reports
// whether it was there already.
func (m *Module) subscribe(ctx context.Context, b *server.Batch, r relation, request []byte) (had bool, err error) {
	exists, err := m.exists(ctx, r.watched)
	if err != nil {
		return false, err
	}
	if !exists {
		// Nobody learns that from the answer.
		_, err := m.change(ctx, b, changing{user: r.watcher, contact: r.watched, become: func(c *contact) {
			if !c.watched() {
				c.wait(true)
			}
		}})
		return false, err
	}
	if err := m.room(ctx, r); err != nil {
		return false, err
	}
	kept := request
	ch, err := m.change(ctx, b, changing{
		user: r.watched, contact: r.watcher,
		check: func(list []*item) error {
			if requests(list)+len(request) > maxRequests {
				kept = server.AppendPresenceType(nil, r.watcher, r.watched, "subscribe")
			}
			return nil
		},
		become: func(c *contact) { c.ask(kept) },
		tell: func(old, new *contact) (n notice) {
			if !old.pending() && new.pending() {
				n = notice{list: [][]byte{request}, available: true}
			}
			return n
		},
	})
	if err != nil {
		return false, err
	}
	approval := server.AppendPresenceType(nil, r.watched, r.watcher, "subscribed")
	if err := m.follow(ctx, b, r, ch.new, begins(approval)); err != nil {
		// No room after all, as another connection was faster.
		goodbye := server.AppendPresenceType(nil, r.watcher, r.watched, "unsubscribe")
		if _, undo := m.unsubscribe(ctx, b, r, goodbye); undo != nil {
			m.failed("unsubscribe", undo, "user", r.watcher.String(), "contact", r.watched.String())
		}
		return false, err
	}
	return ch.old.watches(), nil
}

// begins is the notice that a subscription was approved.
func begins(el []byte) func(old, new *contact) notice {
	return func(old, new *contact) (n notice) {
		if !old.watched() && new.watched() {
			n.list = [][]byte{el}
		}
		return n
	}
}

// ends is the notice that a subscription or a request was denied.
func ends(el []byte) func(old, new *contact) notice {
	return func(old, new *contact) (n notice) {
		if (old.watched() || old.Ask) && !new.watched() && !new.Ask {
			n.list = [][]byte{el}
		}
		return n
	}
}

// room returns storage.ErrFull when the watcher cannot have another item.
func (m *Module) room(ctx context.Context, r relation) error {
	list, err := m.items(ctx, r.watcher)
	if err != nil || len(list) < m.o.Items {
		return err
	}
	for _, i := range list {
		if i.jid == r.watched {
			return nil
		}
	}
	return storage.ErrFull
}

// approve lets the watcher see the watched user's presence, or is to do so as soon as it
// asks; approval is the stanza.
func (m *Module) approve(ctx context.Context, b *server.Batch, r relation, approval []byte) error {
	ch, err := m.change(ctx, b, changing{user: r.watched, contact: r.watcher, become: (*contact).approve})
	if err != nil || !ch.gained() {
		return err
	}
	return m.follow(ctx, b, r, ch.new, begins(approval))
}

// revoke takes that back, or refuses it.
func (m *Module) revoke(ctx context.Context, b *server.Batch, r relation, denial []byte) error {
	ch, err := m.change(ctx, b, changing{user: r.watched, contact: r.watcher, become: (*contact).revoke})
	if err != nil || !ch.old.watches() && !ch.old.pending() {
		return err
	}
	return m.follow(ctx, b, r, ch.new, ends(denial))
}

// unsubscribe ends the watcher's interest.
func (m *Module) unsubscribe(ctx context.Context, b *server.Batch, r relation, goodbye []byte) (contact, error) {
	ch := change{}
	if m.local(r.watched) {
		var err error
		ch, err = m.change(ctx, b, changing{
			user: r.watched, contact: r.watcher, become: (*contact).leave,
			tell: func(old, _ *contact) (n notice) {
				if old.watches() || old.pending() {
					n.list = [][]byte{goodbye}
				}
				return n
			},
		})
		if err != nil {
			return contact{}, err
		}
	}
	return ch.new, m.follow(ctx, b, r, ch.new, nil)
}

// exists reports whether there is a user of that address.
func (m *Module) exists(ctx context.Context, bare jid.JID) (bool, error) {
	if m.o.Owners != nil {
		return m.o.Owners.UserExists(ctx, bare.Local())
	}
	_, err := m.o.Users.User(ctx, bare.Local())
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// local reports whether an address is one of an account.
func (m *Module) local(bare jid.JID) bool {
	_, ok := m.hosts[bare.Domain()]
	return ok && bare.Local() != ""
}
