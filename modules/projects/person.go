package projects

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"rollcall/internal/jid"
	"rollcall/server"
)

// person is a user with at least one connection that was available, or that is
// gone and in its grace period. The connections are to this node, or to others that
// told of them.
//
// There is one for everybody who is online: BenchmarkFootprint watches what it takes.
type person struct {
	bare jid.JID

	// mu makes the person's events follow each other: what the store answers is
	// told before the next change. It may be held for as long as a store call
	// takes.
	mu    sync.Mutex
	conns conns  // to this node; changed under mu
	owed  *debts // what the store did not take yet; nil for nothing

	// member lists the ids of the projects, sorted, and spread those with what other
	// nodes tell of the person, nil if they tell nothing. Lists are shared and never
	// changed. Others read them without a lock; fan is held to change them.
	member atomic.Pointer[[]string]
	spread atomic.Pointer[[]string]

	// fan is held while something is told of the person and while what is told
	// changes, so that nobody gets an older state after a newer one. It is never
	// held for long, and no other lock of a person is taken under it.
	fan     sync.Mutex
	remotes []*remote
	shown   []*conn // in the order of their last presence
	rev     uint64
	floor   uint64 // what was told of the user before this person was made is not above
	status  uint8  // a storage.Show
	guessed bool   // status is not what the store said
	unsure  bool   // the store lacks something of this node's connections

	gone  bool // no longer in the community, look again; written under mu and fan
	known bool // the memberships were loaded; guarded by mu
}

// told is the revision that goes with what is told of the person; fan is held.
func (p *person) told() uint64 { return max(p.rev, p.floor) }

// projects lists the ids of the person's projects, sorted.
func (p *person) projects() []string {
	if l := p.member.Load(); l != nil {
		return *l
	}
	return nil
}

// remote is what another node tells of a person; guarded by the person's fan.
type remote struct {
	peer     *peer
	projects []string // sorted; in each of them is somebody of this node
	conns    []*conn  // in the order of their last presence
	mark     uint64   // the turn of the latest question that the node had when it told
	unsure   bool     // the store lacks something of the connections
}

// shaky reports whether the store does not know of all connections; fan is held.
func (p *person) shaky() bool {
	return p.unsure || slices.ContainsFunc(p.remotes, func(r *remote) bool { return r.unsure })
}

// remote returns what a node tells of the person, or nil; fan is held.
func (p *person) remote(pe *peer) *remote {
	for _, r := range p.remotes {
		if r.peer == pe {
			return r
		}
	}
	return nil
}

// retire makes a connection one that is gone, and returns what stands for it from now
// on; mu is held. Its session and all that hangs on it go at once.
func (p *person) retire(cn *conn, replaced bool) *conn {
	gone := &conn{away: &away{id: cn.id(), jid: cn.jid(), replaced: replaced}}
	p.fan.Lock()
	defer p.fan.Unlock()
	gone.presence = cn.presence
	if i := slices.Index(p.shown, cn); i >= 0 {
		p.shown[i] = gone
	}
	p.conns.replace(cn, gone)
	return gone
}

// seenIn lists the projects that others know the person by.
func (p *person) seenIn() []string {
	if s := p.spread.Load(); s != nil {
		return *s
	}
	return p.projects()
}

// respread makes seenIn true after what it is made of changed; fan is held.
func (p *person) respread() {
	if len(p.remotes) == 0 {
		p.spread.Store(nil)
		return
	}
	all := p.seenWith(nil, nil)
	p.spread.Store(&all)
}

// seenWith is seenIn if what one node tells of the projects were projects; fan is
// held.
func (p *person) seenWith(pe *peer, projects []string) []string {
	all := slices.Concat(p.projects(), projects)
	for _, r := range p.remotes {
		if r.peer != pe {
			all = append(all, r.projects...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// show makes pr what others are told of a connection, as the latest of all; fan
// is held.
func (p *person) show(c *conn, pr *server.Presence) {
	c.presence = pr
	p.shown = append(slices.DeleteFunc(p.shown, func(o *conn) bool { return o == c }), c)
}

// hide is the end of what others are told of a connection. It reports whether there
// was anything, and whether that was the last word about the address. fan is held.
func (p *person) hide(c *conn) (was, last bool) {
	i := slices.Index(p.shown, c)
	if i < 0 {
		return false, false
	}
	p.shown = slices.Delete(p.shown, i, i+1)
	c.presence = nil
	return true, !slices.ContainsFunc(p.shown[i:], func(o *conn) bool { return o.jid() == c.jid() })
}

// shownAt returns the connection that others saw last at an address; fan is held.
func (p *person) shownAt(full jid.JID) *conn {
	for _, c := range slices.Backward(p.shown) {
		if c.jid() == full {
			return c
		}
	}
	return nil
}

// shownHere reports whether anything is shown of connections to this node; fan is held.
func (p *person) shownHere() bool {
	return slices.ContainsFunc(p.shown, (*conn).here)
}

// delay is how long a gone connection counts: not at all when others do not see it,
// or see what is there instead of it.
func (p *person) delay(c *conn, grace time.Duration) time.Duration {
	p.fan.Lock()
	defer p.fan.Unlock()
	if c.replaced() {
		grace = max(grace, replacedGrace)
	}
	if !slices.Contains(p.shown, c) {
		return 0
	}
	for _, o := range p.shown {
		switch {
		case o == c || o.session == nil && o.here():
		case !o.here() && o.jid() == c.jid():
			return lingering
		case !c.replaced() || o.jid() == c.jid():
			grace = 0
		}
	}
	return grace
}

// enter returns the user's person, made if need be, with mu held and the
// memberships loaded if the directory could be asked.
func (c *community) enter(ctx context.Context, b *server.Batch, bare jid.JID) *person {
	p := c.lock(bare, true)
	c.load(ctx, b, p)
	return p
}

// lock returns the user's person with mu held; without create it may be nil.
func (c *community) lock(bare jid.JID, create bool) *person {
	for {
		p := c.personOf(bare, create)
		if p == nil {
			return nil
		}
		p.mu.Lock()
		if !p.gone {
			return p
		}
		p.mu.Unlock()
	}
}

// newPerson makes a person; c.mu is held.
func (c *community) newPerson(bare jid.JID) *person {
	p := &person{bare: bare, floor: c.forgotten}
	c.people[bare.Local()] = p
	return p
}

// load learns the person's projects, unless they are known. Changes that come
// later wait for mu.
func (c *community) load(ctx context.Context, b *server.Batch, p *person) {
	if p.known {
		return
	}
	list, err := c.m.o.Directory.ProjectsOf(ctx, p.bare.Local())
	if err != nil {
		c.m.failed("projects_of", err, "user", p.bare.String())
		return
	}
	ids := make([]string, len(list))
	for i, pr := range list {
		ids[i] = pr.ID
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	p.known = true
	if !p.conns.empty() {
		// The directory failed before, and the user is here for a while.
		for _, id := range ids {
			c.member(ctx, p, id, true)
		}
		c.recount(ctx, p)
	}
	c.belong(b, p, ids)
}

// here reports whether a person is more than what other nodes tell; mu is held.
func (p *person) here() bool { return !p.conns.empty() || p.known || p.owed != nil }

// leaveIfGone forgets a person without connections of whom the store knows; mu is
// held.
func (c *community) leaveIfGone(b *server.Batch, p *person) {
	if p.gone || !p.conns.empty() || p.owed != nil {
		return
	}
	if ended, ok := c.vanish(p); ok {
		c.endRooms(b, ended)
		return
	}
	// Other nodes have the user.
	p.known = false
	c.belong(b, p, nil)
	c.vanish(p)
}

// vanish forgets a person whom no other node has; mu is held. Nobody of this node is
// left in the rooms it returns.
func (c *community) vanish(p *person) (ended []*room, ok bool) {
	p.fan.Lock()
	defer p.fan.Unlock()
	if len(p.remotes) > 0 {
		return nil, false
	}
	p.gone = true
	ended = c.partAll(p, p.projects())
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.people, p.bare.Local())
	c.forgotten = max(c.forgotten, p.told())
	return ended, true
}

// tidy forgets a person of whom neither this node nor another one has anything.
func (c *community) tidy(p *person) {
	if !p.mu.TryLock() {
		// Whoever has it may wait for a store.
		go func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if !p.gone && !p.here() {
				c.vanish(p)
			}
		}()
		return
	}
	defer p.mu.Unlock()
	if !p.gone && !p.here() {
		c.vanish(p)
	}
}

// shared appends what two sorted lists have in common.
func shared(dst, a, b []string) []string {
	for len(a) > 0 && len(b) > 0 {
		switch strings.Compare(a[0], b[0]) {
		case 0:
			dst = append(dst, a[0])
			a, b = a[1:], b[1:]
		case -1:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return dst
}

// firstShared is the first of what two sorted lists have in common, "" for
// nothing.
func firstShared(a, b []string) string {
	for len(a) > 0 && len(b) > 0 {
		switch strings.Compare(a[0], b[0]) {
		case 0:
			return a[0]
		case -1:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return ""
}

// minus lists what is in a and not in b, both sorted.
func minus(a, b []string) []string {
	if len(b) == 0 {
		return a
	}
	var list []string
	for _, id := range a {
		if _, both := slices.BinarySearch(b, id); !both {
			list = append(list, id)
		}
	}
	return list
}

// union lists what is in a or b, sorted.
func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
