package roster

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"rollcall/server"
	"rollcall/storage"
)

// directoryChanged keeps the cache true and pushes what that means. Removed
// users and projects need nothing: their memberships ended before.
func (m *Module) directoryChanged(ctx context.Context, e *server.DirectoryChange) {
	var apply func(context.Context, storage.Change) []push
	switch e.Kind {
	case storage.MemberAdded:
		apply = m.memberAdded
	case storage.MemberRemoved:
		apply = m.memberRemoved
	case storage.UserChanged:
		apply = m.userChanged
	case storage.ProjectChanged:
		apply = m.projectChanged
	default:
		return
	}
	m.push(m.apply(ctx, e.Change, apply))
}

// apply runs one change while nothing is loaded. The lock is free again when
// pushes are sent: whoever loads holds the turn that a push waits for.
func (m *Module) apply(ctx context.Context, change storage.Change, f func(context.Context, storage.Change) []push) []push {
	m.cache.loading.Lock()
	defer m.cache.loading.Unlock()
	return f(ctx, change)
}

// push is an encoded roster query on its way to one interested session.
type push struct {
	session *server.Session
	query   []byte
}

// flushEvery bounds how many pushes pile up before the connection may take
// them.
const flushEvery = 64

// push sends what a change means, each session's pushes on its own turn: the
// answer to a roster get that is still on its way must come before them.
func (m *Module) push(list []push) {
	var buf []byte
	for len(list) > 0 {
		s := list[0].session
		turn := s.Turn()
		n := 0
		for ; n < len(list) && list[n].session == s; n++ {
			id := "push-" + strconv.FormatUint(m.pushed.Add(1), 36)
			buf = server.AppendIQ(buf[:0], "set", id, s.JID().Bare(), s.JID(), list[n].query)
			turn.Send(s, buf)
			if n%flushEvery == flushEvery-1 {
				turn.Flush()
			}
		}
		turn.End()
		m.pushes.Add(float64(n))
		list = list[n:]
	}
}

// tell adds pushes of items, named by user id, to a user's sessions; c.mu is
// held.
func tell(list []push, u *user, ids ...string) []push {
	for _, s := range u.sessions {
		for _, id := range ids {
			list = append(list, push{s, appendPush(nil, u, id, s.JID().Domain())})
		}
	}
	return list
}

// othersIn lists the members of a project without one.
func othersIn(p *project, without string) []string {
	ids := make([]string, 0, len(p.members))
	for _, member := range p.members {
		if member.ID != without {
			ids = append(ids, member.ID)
		}
	}
	return ids
}

// find returns what the cache has of a user and a project; nil for nothing.
func (c *cache) find(userID, projectID string) (*user, *project) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.users[userID], c.projects[projectID]
}

// memberAdded puts the user into the rosters of the project's members, and the
// members into the user's.
func (m *Module) memberAdded(ctx context.Context, change storage.Change) []push {
	c := m.cache
	u, p := c.find(change.User, change.Project)
	var added storage.User
	named := true
	switch {
	case p != nil:
		added, named = m.named(ctx, change.User)
	case u != nil:
		p = m.loadMissing(ctx, u, change.Project)
	}
	if p == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []push
	if added.ID != "" && p.add(added) {
		p.stale = p.stale || !named
		for _, other := range p.users {
			if other.id != change.User {
				list = tell(list, other, change.User)
			}
		}
	}
	if u == nil || c.users[change.User] != u || u.in(p.id) {
		return list
	}
	c.join(u, p)
	return tell(list, u, othersIn(p, u.id)...)
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

// loadMissing loads the project that an interested user just joined; nil when
// there is none.
func (m *Module) loadMissing(ctx context.Context, u *user, id string) *project {
	record, err := m.o.Projects.Project(ctx, id)
	var p *project
	if err == nil {
		p, err = m.load(ctx, record)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		// Removed since; that is told later.
		return nil
	case err != nil:
		m.failed("project", err, "project", id, "user", u.id)
		m.cache.mu.Lock()
		defer m.cache.mu.Unlock()
		u.stale = true // the next roster get makes up for it
		return nil
	}
	return p
}

// memberRemoved takes the user out of the rosters of the project's members, and
// the members out of the user's, as far as they share no other project.
func (m *Module) memberRemoved(_ context.Context, change storage.Change) []push {
	c := m.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	u, p := c.users[change.User], c.projects[change.Project]
	if p == nil {
		return nil
	}
	var list []push
	if p.remove(change.User) {
		for _, other := range p.users {
			if other != u {
				list = tell(list, other, change.User)
			}
		}
	}
	if u != nil && u.in(p.id) {
		c.part(u, p)
		list = tell(list, u, othersIn(p, u.id)...)
	}
	return list
}

// userChanged tells a new display name.
func (m *Module) userChanged(ctx context.Context, change storage.Change) []push {
	in := m.cache.with(change.User)
	if len(in) == 0 {
		return nil
	}
	now, ok := m.named(ctx, change.User)
	m.cache.mu.Lock()
	defer m.cache.mu.Unlock()
	told := make(map[*user]struct{})
	for _, p := range in {
		if !ok {
			p.stale = true // the next roster get makes up for it
			continue
		}
		i, _ := slices.BinarySearchFunc(p.members, change.User, compareID)
		if p.members[i].Name == now.Name {
			continue
		}
		p.members[i].Name = now.Name
		for _, other := range p.users {
			if other.id != change.User {
				told[other] = struct{}{}
			}
		}
	}
	var list []push
	for other := range told {
		list = tell(list, other, change.User)
	}
	return list
}

// with lists the projects in the cache that a user is a member of.
func (c *cache) with(userID string) []*project {
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
func (m *Module) projectChanged(ctx context.Context, change storage.Change) []push {
	_, p := m.cache.find("", change.Project)
	if p == nil {
		return nil
	}
	now, err := m.o.Projects.Project(ctx, change.Project)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // removed since; that is told later
	}
	m.cache.mu.Lock()
	defer m.cache.mu.Unlock()
	if err != nil {
		m.failed("project", err, "project", change.Project)
		p.stale = true // the next roster get makes up for it
		return nil
	}
	before := p.group()
	p.name = now.Name
	if p.group() == before {
		return nil
	}
	var list []push
	for _, u := range p.users {
		list = tell(list, u, othersIn(p, u.id)...)
	}
	return list
}
