package roster

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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

	// answers holds, by session, the pushes that have to come after an answer which
	// was encoded and is not sent yet. It has a lock of its own since answers are
	// encoded under mu's read lock; pushes are made under mu.
	answering sync.Mutex
	answers   map[*server.Session][][]byte
}

// user is somebody with at least one connection that asked for the roster (an
// "interested resource", RFC 6121 section 2.2), or with items of their own and an
// available connection.
type user struct {
	bare     jid.JID
	sessions []*server.Session // the interested ones
	projects []*project        // ordered by id
	own      *own              // nil when the user has no items of their own
	// stale says that a project is missing because the store failed.
	stale bool
	// sum is the roster's version (RFC 6121 section 2.6) as far as summed says so: the sum
	// of its items' hashes, so that a change of one item does not need the others.
	sum    atomic.Uint64
	summed atomic.Bool
}

func (u *user) id() string { return u.bare.Local() }

// project is one that at least one user of the cache belongs to.
type project struct {
	id, name string
	members  []storage.User // ordered by id
	users    []*user        // in no order; most projects are small
	// stale says that a name may be missing because the store failed.
	stale bool
}

func newCache() *cache {
	return &cache{
		users: make(map[string]*user), projects: make(map[string]*project),
		answers: make(map[*server.Session][][]byte),
	}
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

// add makes u a member.
func (p *project) add(u storage.User) {
	if i, had := slices.BinarySearchFunc(p.members, u.ID, compareID); !had {
		p.members = slices.Insert(p.members, i, u)
	}
}

// remove ends a membership.
func (p *project) remove(id string) {
	if i, had := slices.BinarySearchFunc(p.members, id, compareID); had {
		p.members = slices.Delete(p.members, i, i+1)
	}
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

// with reports whether the user shares a project with somebody.
func (u *user) with(contact jid.JID) bool {
	return contact.Domain() == u.bare.Domain() && contact != u.bare &&
		slices.ContainsFunc(u.projects, func(p *project) bool {
			_, ok := p.member(contact.Local())
			return ok
		})
}

// with reports whether a user of the cache shares a project with somebody, if the cache
// knows.
func (c *cache) with(key string, contact jid.JID) (with, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	u := c.users[key]
	if u == nil || u.stale {
		return false, false
	}
	return u.with(contact), true
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
func (c *cache) forget(key, conn string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[key]
	if u == nil {
		return
	}
	u.sessions = slices.DeleteFunc(u.sessions, func(s *server.Session) bool { return s.Conn() == conn })
	if len(u.sessions) == 0 {
		u.summed.Store(false)
		if u.own == nil {
			c.remove(key, u)
		}
	}
}

// remove takes a user out; c.mu is held.
func (c *cache) remove(key string, u *user) {
	delete(c.users, key)
	for _, p := range slices.Clone(u.projects) {
		c.part(u, p)
	}
}

// disown forgets the items of a user who has left.
func (c *cache) disown(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u := c.users[key]; u != nil {
		u.own = nil
		if len(u.sessions) == 0 {
			c.remove(key, u)
		}
	}
}

// interested makes sure that the cache has what the session's roster is made of,
// and that the session gets pushes from now on.
func (m *Module) interested(ctx context.Context, b *server.Batch, s *server.Session) error {
	bare := s.JID().Bare()
	if m.cache.interest(m.key(bare), s) {
		return nil
	}
	if m.o.Rosters == nil {
		return m.enter(ctx, b, bare, s, nil)
	}
	defer m.lock(bare)()
	o, err := m.load(ctx, bare)
	if err != nil {
		return err
	}
	return m.enter(ctx, b, bare, s, o)
}

// interest adds a session to a user that the cache knows well.
func (c *cache) interest(key string, s *server.Session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[key]
	if u == nil || u.stale || slices.ContainsFunc(u.projects, func(p *project) bool { return p.stale }) {
		return false
	}
	u.add(s)
	return true
}

func (u *user) add(s *server.Session) {
	if s != nil && !slices.Contains(u.sessions, s) {
		u.sessions = append(u.sessions, s)
	}
}

// answer is the roster of a user who has asked for it, as it is when it is encoded.
type answer struct {
	m     *Module
	asker *server.Session
}

// AppendXML implements server.Payload. What changes from now on is pushed after it.
func (a answer) AppendXML(dst []byte) ([]byte, error) {
	c := a.m.cache
	c.mu.RLock()
	defer c.mu.RUnlock()
	c.answering.Lock()
	c.answers[a.asker] = nil
	c.answering.Unlock()
	return appendRoster(dst, c.user(a.m.key(a.asker.JID()), a.asker.JID().Bare())), nil
}

// Sent implements server.Sent.
func (a answer) Sent(b *server.Batch) {
	c := a.m.cache
	c.mu.RLock()
	defer c.mu.RUnlock()
	c.answering.Lock()
	defer c.answering.Unlock()
	for _, el := range c.answers[a.asker] {
		b.Send(a.asker, el)
	}
	delete(c.answers, a.asker)
}

// user returns somebody of the cache, or somebody without anything; c.mu is held.
func (c *cache) user(key string, bare jid.JID) *user {
	if u := c.users[key]; u != nil {
		return u
	}
	return &user{bare: bare}
}

// version is the version of a user's roster.
func (m *Module) version(bare jid.JID) uint64 {
	m.cache.mu.RLock()
	defer m.cache.mu.RUnlock()
	return m.cache.user(m.key(bare), bare).version()
}
