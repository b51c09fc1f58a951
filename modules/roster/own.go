package roster

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"rollcall/internal/jid"
	"rollcall/server"
)

// own is what this node knows of a user with items of their own. There is one as long
// as the user has connections to this node.
type own struct {
	bare  jid.JID
	items atomic.Pointer[[]*item] // ordered by contact; the list never changes

	// fan is held while contacts are told of the user's presence and while what they are
	// told changes, so that nobody gets an older state after a newer one. No lock but the
	// cache's is taken under it, and it is never waited for under the cache's.
	fan   sync.Mutex
	shown []shown
}

// item is a contact with its address; it never changes.
type item struct {
	contact
	jid jid.JID
}

// shown is what contacts see of a connection to this node.
type shown struct {
	conn     string
	presence *server.Presence
}

// owners knows the users with items of their own who have connections to this node.
type owners struct {
	count atomic.Int64
	mu    sync.RWMutex
	users map[string]*own // by key

	seed maphash.Seed
	// turns makes the changes of a user's items, and what comes of them, follow each
	// other. They may be held for as long as a store call takes. Nobody holds two.
	turns [256]sync.Mutex
}

// lock begins a user's turn.
func (m *Module) lock(bare jid.JID) (unlock func()) {
	mu := &m.owners.turns[maphash.String(m.owners.seed, bare.String())%uint64(len(m.owners.turns))]
	mu.Lock()
	return mu.Unlock
}

// owner returns what is known of a user's own items; nil when there are none, or when
// the user has no connection to this node.
func (m *Module) owner(bare jid.JID) *own {
	if m.owners.count.Load() == 0 {
		return nil
	}
	m.owners.mu.RLock()
	defer m.owners.mu.RUnlock()
	return m.owners.users[m.key(bare)]
}

// everyOwner lists them as they are now.
func (m *Module) everyOwner() []*own {
	m.owners.mu.RLock()
	defer m.owners.mu.RUnlock()
	list := make([]*own, 0, len(m.owners.users))
	for _, o := range m.owners.users {
		list = append(list, o)
	}
	return list
}

// load reads a user's items unless they are known; it returns nil when there are none.
// It is the user's turn.
func (m *Module) load(ctx context.Context, bare jid.JID) (*own, error) {
	if o := m.owner(bare); o != nil {
		return o, nil
	}
	items, err := m.read(ctx, bare)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	return m.own(bare, items), nil
}

// items lists what there is of a user's items, hidden ones too, wherever the user is.
func (m *Module) items(ctx context.Context, bare jid.JID) ([]*item, error) {
	if o := m.owner(bare); o != nil {
		return o.list(), nil
	}
	return m.read(ctx, bare)
}

// read reads a user's items from the store.
func (m *Module) read(ctx context.Context, bare jid.JID) ([]*item, error) {
	list, err := m.o.Rosters.Roster(ctx, m.key(bare))
	if err != nil {
		return nil, err
	}
	items := make([]*item, 0, len(list))
	for _, i := range list {
		at, err := jid.Parse(i.Contact)
		if err != nil {
			m.host.Log().Error("a roster item cannot be read", "user", bare.String(), "contact", i.Contact, "err", err)
			continue
		}
		items = append(items, &item{open(i), at})
	}
	slices.SortFunc(items, func(a, b *item) int { return strings.Compare(a.Contact, b.Contact) })
	return items, nil
}

// own notes what a user's items are. Whoever says something of themselves from now on
// finds it; what was said before is taken from the sessions. It returns nil when the user
// has left.
func (m *Module) own(bare jid.JID, items []*item) *own {
	o := &own{bare: bare}
	o.items.Store(&items)
	o.fan.Lock()
	defer o.fan.Unlock()
	m.owners.mu.Lock()
	m.owners.users[m.key(bare)] = o
	m.owners.mu.Unlock()
	m.owners.count.Add(1)
	sessions := m.host.Sessions(bare)
	if len(sessions) == 0 {
		m.forget(o)
		return nil
	}
	for _, s := range sessions {
		if p := s.Presence(); p != nil && m.visible(p) {
			o.shown = append(o.shown, shown{s.Conn(), p})
		}
	}
	return o
}

// disown forgets a user without connections.
func (m *Module) disown(o *own) {
	defer m.lock(o.bare)()
	o.fan.Lock()
	gone := len(o.shown) == 0 && len(m.host.Sessions(o.bare)) == 0
	o.fan.Unlock()
	if !gone || m.owner(o.bare) != o {
		return
	}
	m.forget(o)
	m.cache.disown(m.key(o.bare))
}

func (m *Module) forget(o *own) {
	m.owners.mu.Lock()
	defer m.owners.mu.Unlock()
	delete(m.owners.users, m.key(o.bare))
	m.owners.count.Add(-1)
}

// list lists the items, hidden ones too.
func (o *own) list() []*item {
	if o == nil {
		return nil
	}
	return *o.items.Load()
}

// find returns the item of a contact, or nil.
func (o *own) find(a address) *item {
	if o == nil {
		return nil
	}
	name := a.domain
	if a.local != "" {
		name = a.local + "@" + a.domain
	}
	return o.at(name)
}

func (o *own) at(name string) *item {
	list := o.list()
	i, ok := slices.BinarySearchFunc(list, name, compareContact)
	if !ok {
		return nil
	}
	return list[i]
}

func compareContact(i *item, name string) int { return strings.Compare(i.Contact, name) }

// put makes c the item of a contact; it is the user's turn.
func (o *own) put(at jid.JID, c contact) {
	list := o.list()
	i, had := slices.BinarySearchFunc(list, at.String(), compareContact)
	end := i
	if had {
		end++
	}
	var now []*item
	if c.there() {
		c.Contact = at.String()
		now = []*item{{c, at}}
	}
	list = slices.Concat(list[:i], now, list[end:])
	o.items.Store(&list)
}
