// Package memory keeps presence in this process, for a server that runs alone.
package memory

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rollcall/storage"
)

// shards is how many locks the users, and likewise the projects, are spread
// over.
const shards = 256

// Presence is a storage.Presence. NewPresence makes one. It keeps the strings that it
// is given for as long as the user is online: whoever is online keeps them as well.
//
// A user's shard is locked before a project's, never the other way round, and
// never two of a kind at once.
type Presence struct {
	seed     maphash.Seed
	rev      atomic.Uint64
	users    [shards]userShard
	projects [shards]projectShard
}

type userShard struct {
	mu     sync.RWMutex
	online map[string]*user
}

// user is someone whose aggregate is not Offline. Others take no memory.
type user struct {
	id string
	// show is the aggregate: written under the user's shard, read under that or
	// under the shard of any of the projects.
	show atomic.Int32
	// last is the visible connection of the latest call; most users have just that one.
	// A connection that is Offline decides nothing, so it is not kept.
	last conn
	// projects are exactly those whose online set holds the user.
	projects []*project
	only     [1]*project // what projects is made of while there is one
}

type conn struct {
	id       string
	at       int64 // nanoseconds since 1970, as far as they go
	show     int8
	priority int8
	before   *conn // that of the latest call before this one
}

var _ storage.Presence = (*Presence)(nil)

// NewPresence returns a store in which everybody is Offline. Its revisions begin
// at the time in microseconds, so that one which a client remembers from an
// earlier process is older than all of them.
func NewPresence() *Presence {
	p := &Presence{seed: maphash.MakeSeed()}
	p.rev.Store(uint64(time.Now().UnixMicro()))
	for i := range shards {
		p.users[i].online = make(map[string]*user)
		p.projects[i].online = make(map[string]*project)
	}
	return p
}

// Set implements storage.Presence. A Show that is none of the four states is
// storage.ErrInvalid.
func (p *Presence) Set(ctx context.Context, c storage.ConnState, projects []string) (storage.PresenceChange, error) {
	if err := ctx.Err(); err != nil {
		return storage.PresenceChange{}, err
	}
	if c.Show < storage.Offline || c.Show > storage.Leave {
		return storage.PresenceChange{}, fmt.Errorf("%w: show %d", storage.ErrInvalid, int(c.Show))
	}
	if c.Show == storage.Offline {
		return p.drop(c.User, c.Conn), nil
	}
	s := &p.users[p.shard(c.User)]
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.online[c.User]
	if u == nil {
		u = &user{id: c.User}
		s.online[c.User] = u
	}
	u.put(c)
	old, now := u.aggregate(), u.best()
	u.show.Store(int32(now))
	if old == storage.Offline {
		p.enter(u, projects)
	}
	return p.changed(old, now), nil
}

// Remove implements storage.Presence.
func (p *Presence) Remove(ctx context.Context, user, conn string) (storage.PresenceChange, error) {
	if err := ctx.Err(); err != nil {
		return storage.PresenceChange{}, err
	}
	return p.drop(user, conn), nil
}

// drop takes a connection out of the user's aggregate.
func (p *Presence) drop(userID, connID string) storage.PresenceChange {
	s := &p.users[p.shard(userID)]
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.online[userID]
	if u == nil {
		return p.changed(storage.Offline, storage.Offline)
	}
	old := u.aggregate()
	if !u.take(connID) {
		return p.changed(old, old)
	}
	now := u.best()
	if now == storage.Offline {
		// Out of the sets first: nobody in a set is ever Offline.
		for _, pr := range u.projects {
			pr.remove(u)
		}
		delete(s.online, userID)
	}
	u.show.Store(int32(now))
	return p.changed(old, now)
}

// changed counts a change. It runs after the change is visible, so that whoever
// reads the revision first and the sets later misses nothing up to it.
func (p *Presence) changed(old, now storage.Show) storage.PresenceChange {
	if old == now {
		return storage.PresenceChange{Old: old, New: now, Rev: p.rev.Load()}
	}
	return storage.PresenceChange{Old: old, New: now, Rev: p.rev.Add(1)}
}

// Join implements storage.Presence.
func (p *Presence) Join(ctx context.Context, user, project string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := &p.users[p.shard(user)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.online[user]; u != nil {
		p.enter(u, []string{project})
	}
	return nil
}

// Leave implements storage.Presence.
func (p *Presence) Leave(ctx context.Context, user, projectID string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := &p.users[p.shard(user)]
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.online[user]
	if u == nil {
		return nil
	}
	i := slices.IndexFunc(u.projects, func(pr *project) bool { return pr.id == projectID })
	if i >= 0 {
		u.projects[i].remove(u)
		u.projects = slices.Delete(u.projects, i, i+1)
	}
	return nil
}

// Status implements storage.Presence.
func (p *Presence) Status(ctx context.Context, users []string) ([]storage.Show, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	shows := make([]storage.Show, len(users))
	for i, id := range users {
		s := &p.users[p.shard(id)]
		s.mu.RLock()
		if u := s.online[id]; u != nil {
			shows[i] = u.aggregate()
		}
		s.mu.RUnlock()
	}
	return shows, nil
}

// OnlineIn implements storage.Presence. The set holds every change up to the
// revision and may hold later ones already.
func (p *Presence) OnlineIn(ctx context.Context, project string) ([]storage.OnlineUser, uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	rev := p.rev.Load()
	s := &p.projects[p.shard(project)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	pr := s.online[project]
	if pr == nil {
		return nil, rev, nil
	}
	users := make([]storage.OnlineUser, len(pr.users))
	for i, u := range pr.users {
		users[i] = storage.OnlineUser{ID: u.id, Show: u.aggregate()}
	}
	return users, rev, nil
}

func (p *Presence) shard(id string) uint64 { return maphash.String(p.seed, id) % shards }

func (u *user) aggregate() storage.Show { return storage.Show(u.show.Load()) }

// put makes c the latest of the user's connections.
func (u *user) put(c storage.ConnState) {
	u.take(c.Conn)
	next := conn{id: c.Conn, at: nanoseconds(c.At), show: int8(c.Show), priority: c.Priority}
	if u.last.show != int8(storage.Offline) {
		before := u.last
		next.before = &before
	}
	u.last = next
}

// take takes a connection out, if it is there.
func (u *user) take(connID string) bool {
	for c := &u.last; c != nil && c.show != int8(storage.Offline); c = c.before {
		if c.id != connID {
			continue
		}
		if c.before != nil {
			*c = *c.before
		} else {
			u.cut(c)
		}
		return true
	}
	return false
}

// cut takes the earliest connection out.
func (u *user) cut(first *conn) {
	if first == &u.last {
		u.last = conn{}
		return
	}
	c := &u.last
	for c.before != first {
		c = c.before
	}
	c.before = nil
}

// best computes the aggregate: of equals, the latest decides.
func (u *user) best() storage.Show {
	best := &u.last
	for c := best.before; c != nil; c = c.before {
		if c.priority > best.priority || c.priority == best.priority && c.at > best.at {
			best = c
		}
	}
	return storage.Show(best.show)
}

// nanoseconds is t.UnixNano, held at the ends of its range instead of wrapped.
func nanoseconds(t time.Time) int64 {
	const limit = 9_000_000_000 // seconds; int64 holds a little more
	switch s := t.Unix(); {
	case s < -limit:
		return -limit * int64(time.Second)
	case s > limit:
		return limit * int64(time.Second)
	}
	return t.UnixNano()
}
