package roster

import (
	"context"
	"errors"
	"slices"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// directoryChanged keeps the cache true and pushes what that means. Removed projects
// need nothing: their memberships ended before.
func (m *Module) directoryChanged(ctx context.Context, e *server.DirectoryChange) {
	m.parted = nil
	m.cache.loading.Lock()
	defer m.cache.loading.Unlock()
	switch e.Kind {
	case storage.MemberAdded:
		m.memberAdded(ctx, e)
	case storage.MemberRemoved:
		m.memberRemoved(e)
	case storage.UserChanged:
		m.userChanged(ctx, e)
	case storage.ProjectChanged:
		m.projectChanged(ctx, e)
	default:
	}
}

// accounts lists whom the cache has of a user of the directory, who has an address at
// every virtual host; c.mu is held.
func (m *Module) accounts(id string) (list []*user) {
	for _, host := range m.domains {
		if u := m.cache.users[m.keyAt(id, host)]; u != nil {
			list = append(list, u)
		}
	}
	return list
}

// find returns what the cache has of a user and a project; nil for nothing.
func (m *Module) find(userID, projectID string) ([]*user, *project) {
	m.cache.mu.RLock()
	defer m.cache.mu.RUnlock()
	return m.accounts(userID), m.cache.projects[projectID]
}

// expectOthers notes that what a user is told of the members of a project, without
// itself, is about to change.
func (p *pushes) expectOthers(u *user, pr *project) {
	for _, member := range pr.members {
		if member.ID != u.id() {
			p.expect(u, address{member.ID, u.bare.Domain()})
		}
	}
}

// memberAdded puts the user into the rosters of the project's members, and the
// members into the user's.
func (m *Module) memberAdded(ctx context.Context, e *server.DirectoryChange) {
	c := m.cache
	accounts, p := m.find(e.User, e.Project)
	var added storage.User
	named := true
	switch {
	case p != nil:
		added, named = m.named(ctx, e.User)
	case len(accounts) > 0:
		p = m.loadMissing(ctx, accounts, e.Project)
	}
	if p == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	changes := pushes{m: m}
	_, had := p.member(e.User)
	news := added.ID != "" && !had
	if news {
		for _, other := range p.users {
			if other.id() != e.User {
				changes.expect(other, address{e.User, other.bare.Domain()})
			}
		}
	}
	accounts = slices.DeleteFunc(m.accounts(e.User), func(u *user) bool { return u.in(p.id) })
	for _, u := range accounts {
		changes.expectOthers(u, p)
	}
	if news {
		p.add(added)
		p.stale = p.stale || !named
	}
	for _, u := range accounts {
		c.join(u, p)
	}
	changes.send(e.Batch)
}

// named returns a user with the display name, or without it when the store
// does not tell.
func (m *Module) named(ctx context.Context, id string) (u storage.User, ok bool) {
	u, err := m.o.Users.User(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		// Removed since; that is told later.
		return storage.User{ID: id}, true
	case err != nil:
		m.failed("user", err, "user", id)
		return storage.User{ID: id}, false
	}
	return u, true
}

// loadMissing loads the project that a user of the cache just joined; nil when
// there is none.
func (m *Module) loadMissing(ctx context.Context, accounts []*user, id string) *project {
	record, err := m.o.Projects.Project(ctx, id)
	var p *project
	if err == nil {
		p, err = m.loadProject(ctx, record)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		// Removed since; that is told later.
		return nil
	case err != nil:
		m.failed("project", err, "project", id, "user", accounts[0].id())
		m.cache.mu.Lock()
		defer m.cache.mu.Unlock()
		for _, u := range accounts {
			u.stale = true // the next roster get makes up for it
		}
		return nil
	}
	return p
}

// memberRemoved takes the user out of the rosters of the project's members, and
// the members out of the user's, as far as they share no other project.
func (m *Module) memberRemoved(e *server.DirectoryChange) {
	c := m.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.projects[e.Project]
	if p == nil {
		return
	}
	changes := pushes{m: m}
	if _, had := p.member(e.User); had {
		for _, other := range p.users {
			if other.id() != e.User {
				changes.expect(other, address{e.User, other.bare.Domain()})
			}
		}
	}
	accounts := slices.DeleteFunc(m.accounts(e.User), func(u *user) bool { return !u.in(p.id) })
	for _, u := range accounts {
		changes.expectOthers(u, p)
	}
	m.part(p, e.User, accounts)
	p.remove(e.User)
	for _, u := range accounts {
		c.part(u, p)
	}
	m.parted = slices.DeleteFunc(m.parted, func(x parting) bool { return c.user(m.key(x.o.bare), x.o.bare).with(x.contact) })
	changes.send(e.Batch)
}

// parting is the end of all projects that somebody shared with an own contact.
type parting struct {
	o       *own
	contact jid.JID
}

// part notes whom somebody who leaves a project may lose there, and who may lose them;
// c.mu is held.
func (m *Module) part(p *project, id string, accounts []*user) {
	for _, u := range accounts {
		for _, i := range u.own.list() {
			if u.with(i.jid) {
				m.parted = append(m.parted, parting{u.own, i.jid})
			}
		}
	}
	for _, u := range p.users {
		if i := u.own.find(address{id, u.bare.Domain()}); i != nil && u.id() != id {
			m.parted = append(m.parted, parting{u.own, i.jid})
		}
	}
}

// userChanged tells a new display name.
func (m *Module) userChanged(ctx context.Context, e *server.DirectoryChange) {
	in := m.cache.having(e.User)
	if len(in) == 0 {
		return
	}
	now, ok := m.named(ctx, e.User)
	m.cache.mu.Lock()
	defer m.cache.mu.Unlock()
	changes := pushes{m: m}
	expected := make(map[*user]struct{})
	for _, p := range in {
		if !ok {
			p.stale = true // the next roster get makes up for it
			continue
		}
		i, _ := slices.BinarySearchFunc(p.members, e.User, compareID)
		if p.members[i].Name == now.Name {
			continue
		}
		for _, other := range p.users {
			if _, twice := expected[other]; !twice && other.id() != e.User {
				expected[other] = struct{}{}
				changes.expect(other, address{e.User, other.bare.Domain()})
			}
		}
	}
	for _, p := range in {
		if i, _ := slices.BinarySearchFunc(p.members, e.User, compareID); ok {
			p.members[i].Name = now.Name
		}
	}
	changes.send(e.Batch)
}

// having lists the projects in the cache that a user is a member of.
func (c *cache) having(userID string) []*project {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var list []*project
	for _, p := range c.projects {
		if _, ok := p.member(userID); ok {
			list = append(list, p)
		}
	}
	return list
}

// projectChanged tells a project's new name: a group of every member's item.
func (m *Module) projectChanged(ctx context.Context, e *server.DirectoryChange) {
	_, p := m.find("", e.Project)
	if p == nil {
		return
	}
	now, err := m.o.Projects.Project(ctx, e.Project)
	if errors.Is(err, storage.ErrNotFound) {
		return // removed since; that is told later
	}
	m.cache.mu.Lock()
	defer m.cache.mu.Unlock()
	if err != nil {
		m.failed("project", err, "project", e.Project)
		p.stale = true // the next roster get makes up for it
		return
	}
	if renamed := (&project{id: p.id, name: now.Name}); renamed.group() == p.group() {
		p.name = now.Name
		return
	}
	changes := pushes{m: m}
	for _, u := range p.users {
		changes.expectOthers(u, p)
	}
	p.name = now.Name
	changes.send(e.Batch)
}
