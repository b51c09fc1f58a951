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
	"rollcall/storage"
)

// person is a user with at least one connection that was available, or that is
// gone and in its grace period.
type person struct {
	bare jid.JID
	key  string // in the presence store

	// mu makes the person's events follow each other: what the store answers is
	// told before the next change. It may be held for as long as a store call
	// takes.
	mu    sync.Mutex
	gone  bool // no longer in the community; look again
	known bool // the memberships were loaded
	conns []*conn

	owed   []debt // what the store did not take yet, in order
	behind bool   // something of it was tried

	// view is what others read without a lock.
	view atomic.Pointer[view]

	// fan is held while something is told of the person and while what is told
	// changes, so that nobody gets an older state after a newer one. It is never
	// held for long, and no other lock of a person is taken under it.
	fan    sync.Mutex
	shown  []*conn // in the order of their last presence
	status storage.Show
	rev    uint64
}

// view is a person as a reader of presence.
type view struct {
	projects []string // sorted ids
	readers  []*server.Session
}

// conn is one connection of a person.
type conn struct {
	id      string
	jid     jid.JID
	session *server.Session // nil once the connection is gone
	// presence is what others were told; guarded by the person's fan.
	presence *server.Presence
	grace    *time.Timer // running while a gone connection still counts
	replaced bool        // gone because a newer connection took the address
}

// find returns the connection of that id, or nil.
func (p *person) find(id string) *conn {
	for _, c := range p.conns {
		if c.id == id {
			return c
		}
	}
	return nil
}

// publish renews the view.
func (p *person) publish(projects []string) {
	v := &view{projects: projects}
	for _, c := range p.conns {
		if c.session != nil {
			v.readers = append(v.readers, c.session)
		}
	}
	p.view.Store(v)
}

// show makes pr what others are told of a connection, as the latest of all; fan
// is held.
func (p *person) show(c *conn, pr *server.Presence) {
	c.presence = pr
	p.shown = append(slices.DeleteFunc(p.shown, func(o *conn) bool { return o == c }), c)
}

// hide is the end of what others are told of a connection; it reports whether
// there was anything. fan is held.
func (p *person) hide(c *conn) bool {
	i := slices.Index(p.shown, c)
	if i < 0 {
		return false
	}
	p.shown = slices.Delete(p.shown, i, i+1)
	c.presence = nil
	return true
}

// shownAt returns a connection that others see at an address; fan is held.
func (p *person) shownAt(full jid.JID) *conn {
	if i := slices.IndexFunc(p.shown, func(c *conn) bool { return c.jid == full }); i >= 0 {
		return p.shown[i]
	}
	return nil
}

// waits reports whether a gone connection may count for a while: others see it,
// and nothing that is there instead of it.
func (p *person) waits(c *conn) bool {
	p.fan.Lock()
	defer p.fan.Unlock()
	return slices.Contains(p.shown, c) && !slices.ContainsFunc(p.shown, func(o *conn) bool {
		return o != c && o.session != nil && (!c.replaced || o.jid == c.jid)
	})
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
		c.mu.Lock()
		p := c.people[bare]
		if p == nil && create {
			p = &person{bare: bare, key: c.key(bare.Local())}
			p.view.Store(new(view))
			c.people[bare] = p
		}
		c.mu.Unlock()
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
	p.known = true
	if len(p.conns) > 0 {
		// The directory failed before, and the user is here for a while.
		for _, id := range ids {
			c.member(ctx, p, id, true)
		}
		c.ties.Lock()
		defer c.ties.Unlock()
	}
	before := p.view.Load().projects
	p.publish(ids)
	for _, id := range ids {
		c.join(id, p)
	}
	if len(p.conns) > 0 {
		c.meet(b, p, before, ids)
	}
}

// leaveIfGone forgets a person without connections of whom the store knows; mu is
// held.
func (c *community) leaveIfGone(p *person) {
	if p.gone || len(p.conns) > 0 || len(p.owed) > 0 {
		return
	}
	p.gone = true
	for _, id := range p.view.Load().projects {
		c.part(id, p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.people, p.bare)
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
