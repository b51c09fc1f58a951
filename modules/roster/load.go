package roster

import (
	"context"
	"errors"
	"slices"
	"strings"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// enter puts a user with items of their own and, unless it is nil, a session into the
// cache, and loads what they need. What was missing before is pushed to other sessions.
func (m *Module) enter(ctx context.Context, b *server.Batch, bare jid.JID, s *server.Session, o *own) error {
	c := m.cache
	// RWMutex lets a waiting change in before further loads, so neither starves.
	c.loading.RLock()
	defer c.loading.RUnlock()
	list, err := m.o.Projects.ProjectsOf(ctx, bare.Local())
	if err != nil {
		return err
	}
	loaded := make([]*project, 0, len(list))
	for _, p := range list {
		found, err := m.loadProject(ctx, p)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			// It went away since; so do the memberships.
		case err != nil:
			return err
		default:
			loaded = append(loaded, found)
		}
	}
	m.install(b, bare, s, loaded, o)
	return nil
}

// loadProject reads a project unless the cache has it.
func (m *Module) loadProject(ctx context.Context, p storage.Project) (*project, error) {
	m.cache.mu.RLock()
	had := m.cache.projects[p.ID]
	known := had != nil && !had.stale
	m.cache.mu.RUnlock()
	if known {
		return had, nil
	}
	members, err := m.o.Projects.Members(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b storage.User) int { return strings.Compare(a.ID, b.ID) })
	return &project{id: p.ID, name: p.Name, members: members}, nil
}

// install makes loaded the projects of a user and adds a session.
func (m *Module) install(b *server.Batch, bare jid.JID, s *server.Session, loaded []*project, o *own) {
	c, key := m.cache, m.key(bare)
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[key]
	if u == nil {
		u = &user{bare: bare}
		c.users[key] = u
	}
	changes := m.reloads(u, loaded, o)
	changes.but = s // which is told everything
	u.stale = false
	u.own = o
	for _, p := range loaded {
		had := c.projects[p.id]
		switch {
		case had == nil:
			c.join(u, p)
		case had.stale && had != p:
			had.name, had.members, had.stale = p.name, p.members, false
			c.join(u, had)
		default:
			c.join(u, had)
		}
	}
	changes.send(b)
	u.add(s)
}

// reloads expects what may change for users of the cache when u gets projects that were
// loaded, and o; c.mu is held.
func (m *Module) reloads(u *user, loaded []*project, o *own) *pushes {
	changes := &pushes{m: m}
	seen := make(map[*user]map[address]struct{})
	expect := func(u *user, a address) {
		if seen[u] == nil {
			seen[u] = make(map[address]struct{})
		}
		if _, twice := seen[u][a]; !twice {
			seen[u][a] = struct{}{}
			changes.add(pending{u: u, of: a, only: true})
		}
	}
	all := func(u *user, p *project) {
		if len(u.sessions) == 0 {
			u.summed.Store(false)
			return
		}
		for _, member := range p.members {
			if member.ID != u.id() {
				expect(u, address{member.ID, u.bare.Domain()})
			}
		}
	}
	for _, p := range loaded {
		had := m.cache.projects[p.id]
		if had != nil && had.stale && had != p {
			for _, other := range had.users {
				all(other, had)
				all(other, p)
			}
		}
		if !u.in(p.id) {
			all(u, p)
		}
	}
	if u.own != o && len(u.sessions) > 0 {
		for _, i := range slices.Concat(u.own.list(), o.list()) {
			expect(u, address{i.jid.Local(), i.jid.Domain()})
		}
	}
	if len(u.sessions) == 0 {
		u.summed.Store(false)
	}
	return changes
}
