package roster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// cache is what the rosters of interested users are made of, as those users'
// clients know it: every answer and every push is computed from it, so that a
// push can say what changed even when the store no longer knows what was there.
//
// A load and a change never overlap (see Module.interested): a load sees every
// change told before it, and a change that it saw but that is told later does
// nothing.
type cache struct {
	// loading is read-locked for a load and locked for a change. It may be held
	// for as long as a store call takes, and is taken before mu.
	loading sync.RWMutex

	mu       sync.RWMutex // of what follows; never held over a store call
	users    map[string]*user
	projects map[string]*project
}

// user is somebody with at least one connection that asked for the roster (an
// "interested resource", RFC 6121 section 2.2).
type user struct {
	id       string
	sessions []*server.Session
	projects []*project // ordered by id
	// stale says that a project is missing because the store failed.
	stale bool
}

// project is one that at least one interested user belongs to.
type project struct {
	id, name string
	members  []storage.User // ordered by id
	users    []*user        // in no order; most projects are small
	// stale says that a name may be missing because the store failed.
	stale bool
}

func newCache() *cache {
	return &cache{users: make(map[string]*user), projects: make(map[string]*project)}
}

func compareID(u storage.User, id string) int { return strings.Compare(u.ID, id) }

// member returns a member, if there is one of that id.
func (p *project) member(id string) (storage.User, bool) {
	i, ok := slices.BinarySearchFunc(p.members, id, compareID)
	if !ok {
		return storage.User{}, false
	}
	return p.members[i], true
}

// add makes u a member and reports whether u was none.
func (p *project) add(u storage.User) bool {
	i, had := slices.BinarySearchFunc(p.members, u.ID, compareID)
	if !had {
		p.members = slices.Insert(p.members, i, u)
	}
	return !had
}

// remove ends a membership and reports whether there was one.
func (p *project) remove(id string) bool {
	i, had := slices.BinarySearchFunc(p.members, id, compareID)
	if had {
		p.members = slices.Delete(p.members, i, i+1)
	}
	return had
}

// group is the project's name as a roster group; a group cannot be empty (RFC
// 6121 section 2.3.3).
func (p *project) group() string {
	if strings.TrimSpace(p.name) == "" {
		return p.id
	}
	return p.name
}

func (u *user) place(projectID string) (int, bool) {
	return slices.BinarySearchFunc(u.projects, projectID, func(p *project, id string) int {
		return strings.Compare(p.id, id)
	})
}

// in reports whether the user's roster has the members of a project.
func (u *user) in(projectID string) bool {
	_, ok := u.place(projectID)
	return ok
}

// join puts a user in a project; c.mu is held.
func (c *cache) join(u *user, p *project) {
	at, had := u.place(p.id)
	if had {
		return
	}
	u.projects = slices.Insert(u.projects, at, p)
	p.users = append(p.users, u)
	c.projects[p.id] = p
}

// part takes a user out of a project, and forgets a project that nobody is
// interested in; c.mu is held.
func (c *cache) part(u *user, p *project) {
	if at, had := u.place(p.id); had {
		u.projects = slices.Delete(u.projects, at, at+1)
	}
	if i := slices.Index(p.users, u); i >= 0 {
		last := len(p.users) - 1
		p.users[i], p.users[last] = p.users[last], nil
		p.users = p.users[:last]
	}
	if len(p.users) == 0 {
		delete(c.projects, p.id)
	}
}

// forget ends the interest of a connection.
func (c *cache) forget(userID, conn string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[userID]
	if u == nil {
		return
	}
	// Others read the old list without a lock.
	u.sessions = slices.DeleteFunc(slices.Clone(u.sessions), func(s *server.Session) bool { return s.Conn() == conn })
	if len(u.sessions) > 0 {
		return
	}
	delete(c.users, userID)
	for _, p := range slices.Clone(u.projects) {
		c.part(u, p)
	}
}

// interested makes sure that the cache has what the session's roster is made of,
// and that the session gets pushes from now on.
func (m *Module) interested(ctx context.Context, s *server.Session) error {
	c := m.cache
	id := s.JID().Local()
	if c.interest(id, s) {
		return nil
	}
	// RWMutex lets a waiting change in before further loads, so neither starves.
	c.loading.RLock()
	defer c.loading.RUnlock()
	list, err := m.o.Projects.ProjectsOf(ctx, id)
	if err != nil {
		return err
	}
	loaded := make([]*project, 0, len(list))
	for _, p := range list {
		found, err := m.load(ctx, p)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			// It went away since; so do the memberships.
		case err != nil:
			return err
		default:
			loaded = append(loaded, found)
		}
	}
	c.enter(id, s, loaded)
	return nil
}

// interest adds a session to a user that the cache knows well.
func (c *cache) interest(id string, s *server.Session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[id]
	if u == nil || u.stale || slices.ContainsFunc(u.projects, func(p *project) bool { return p.stale }) {
		return false
	}
	u.add(s)
	return true
}

func (u *user) add(s *server.Session) {
	if !slices.Contains(u.sessions, s) {
		u.sessions = append(slices.Clip(u.sessions), s)
	}
}

// load reads a project unless the cache has it.
func (m *Module) load(ctx context.Context, p storage.Project) (*project, error) {
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

// enter makes loaded the projects of a user and adds a session.
func (c *cache) enter(id string, s *server.Session, loaded []*project) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[id]
	if u == nil {
		u = &user{id: id}
		c.users[id] = u
	}
	u.add(s)
	u.stale = false
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
}

// answer is the roster of a user who has asked for it, as it is when it is encoded.
type answer struct {
	c     *cache
	asker jid.JID
}

// AppendXML implements server.Payload.
func (a answer) AppendXML(dst []byte) ([]byte, error) {
	a.c.mu.RLock()
	defer a.c.mu.RUnlock()
	u := a.c.users[a.asker.Local()]
	if u == nil {
		u = &user{id: a.asker.Local()}
	}
	return appendRoster(dst, u, a.asker.Domain()), nil
}
