package projects

import (
	"context"
	"slices"
	"time"

	"rollcall/server"
	"rollcall/storage"
)

// userAvailable makes the newcomer known, before anything is told.
func (c *community) userAvailable(ctx context.Context, e *server.UserAvailable) {
	p := c.enter(ctx, e.Session.JID().Bare())
	defer p.mu.Unlock()
	c.connOf(p, e.Session)
}

// connOf returns a living connection's entry, made if need be.
func (c *community) connOf(p *person, s *server.Session) *conn {
	cn := p.find(s.Conn())
	if cn == nil {
		cn = &conn{id: s.Conn(), jid: s.JID(), session: s}
		p.conns = append(p.conns, cn)
		p.publish(p.view.Load().projects)
	}
	return cn
}

// setPresence stores what a connection says and tells co-members.
func (c *community) setPresence(ctx context.Context, e *server.SetPresence) {
	p := c.enter(ctx, e.Session.JID().Bare())
	defer p.mu.Unlock()
	cn := c.connOf(p, e.Session)
	show, hidden := c.m.show(e.Presence)
	change := c.set(ctx, p, cn, show, e.Presence)
	var late []*conn
	if e.Presence.Available {
		late, change = c.endGrace(ctx, p, change)
	}
	c.record(p, change)

	p.fan.Lock()
	p.status, p.rev = change.New, change.Rev
	switch {
	case e.Presence.Available && !hidden:
		p.show(cn, e.Presence)
		c.announce(e.Batch, p, e.Presence)
	case p.hide(cn):
		gone := e.Presence
		if hidden {
			gone = server.Unavailable(cn.jid, e.Presence.At)
		}
		c.announce(e.Batch, p, gone)
	}
	for _, l := range late {
		if p.hide(l) && (l.jid != cn.jid || hidden) {
			c.announce(e.Batch, p, server.Unavailable(l.jid, e.Presence.At))
		}
	}
	p.fan.Unlock()

	if e.Presence.Available && !e.WasAvailable {
		c.welcome(e.Batch, p, e.Session)
	}
	if !e.Presence.Available {
		p.conns = slices.DeleteFunc(p.conns, func(x *conn) bool { return x == cn })
		p.publish(p.view.Load().projects)
		c.leaveIfGone(p)
	}
}

// endGrace forgets the connections in their grace period: the user is back.
func (c *community) endGrace(ctx context.Context, p *person, change storage.PresenceChange) ([]*conn, storage.PresenceChange) {
	var late []*conn
	p.conns = slices.DeleteFunc(p.conns, func(x *conn) bool {
		if x.grace == nil {
			return false
		}
		x.grace.Stop()
		late = append(late, x)
		ch := c.remove(ctx, p, x)
		change.New, change.Rev = ch.New, ch.Rev
		return true
	})
	return late, change
}

// removeConnection ends what others see of a connection: at once when the user
// is there with another one, after the grace period otherwise.
func (c *community) removeConnection(ctx context.Context, e *server.RemoveConnection) {
	p := c.lock(e.JID.Bare(), false)
	if p == nil {
		return
	}
	defer p.mu.Unlock()
	cn := p.find(e.Conn)
	if cn == nil {
		return
	}
	cn.session = nil
	p.publish(p.view.Load().projects)
	delay := c.m.o.Grace
	if e.Replaced() {
		delay = max(delay, replacedGrace)
	}
	if delay > 0 && p.isShown(cn) && (e.Replaced() || !p.othersShown(cn)) {
		c.startGrace(p, cn, delay)
		return
	}
	c.drop(ctx, e.Batch, p, cn)
}

// startGrace lets a gone connection count for a while; mu is held.
func (c *community) startGrace(p *person, cn *conn, delay time.Duration) {
	cn.grace = time.AfterFunc(delay, func() {
		b := c.m.host.NewBatch()
		defer b.Flush()
		p.mu.Lock()
		defer p.mu.Unlock()
		if slices.Contains(p.conns, cn) {
			c.drop(c.m.host.Context(), b, p, cn)
		}
	})
}

// drop forgets a connection and tells co-members; mu is held.
func (c *community) drop(ctx context.Context, b *server.Batch, p *person, cn *conn) {
	p.conns = slices.DeleteFunc(p.conns, func(x *conn) bool { return x == cn })
	change := c.remove(ctx, p, cn)
	c.record(p, change)
	p.fan.Lock()
	p.status, p.rev = change.New, change.Rev
	if p.hide(cn) {
		c.announce(b, p, server.Unavailable(cn.jid, time.Now()))
	}
	p.fan.Unlock()
	c.leaveIfGone(p)
}

// set tells the store what a connection says of itself. When the store does not
// answer, the aggregate is worked out here.
func (c *community) set(ctx context.Context, p *person, cn *conn, show storage.Show, pr *server.Presence) storage.PresenceChange {
	change, err := c.m.o.Presence.Set(ctx, storage.ConnState{
		Conn: cn.id, User: p.key, Resource: cn.jid.Resource(),
		Show: show, Priority: pr.Priority, At: pr.At,
	}, c.keys(p.view.Load().projects))
	if err != nil {
		c.m.failed("set", err, "user", p.bare.String())
		return c.guess(p, cn, show, pr.Priority)
	}
	if !pr.Available {
		if _, err := c.m.o.Presence.Remove(ctx, p.key, cn.id); err != nil {
			c.m.failed("remove", err, "user", p.bare.String())
		}
	}
	return change
}

func (c *community) remove(ctx context.Context, p *person, cn *conn) storage.PresenceChange {
	change, err := c.m.o.Presence.Remove(ctx, p.key, cn.id)
	if err != nil {
		c.m.failed("remove", err, "user", p.bare.String())
		return c.guess(p, cn, storage.Offline, 0)
	}
	return change
}

// guess is the change as this node sees it, by the rule of storage.Presence.
func (c *community) guess(p *person, changed *conn, show storage.Show, priority int8) storage.PresenceChange {
	p.fan.Lock()
	defer p.fan.Unlock()
	best, at := show, priority
	for _, o := range p.shown {
		if o == changed || o.presence.Priority < at && best != storage.Offline {
			continue
		}
		if best == storage.Offline || o.presence.Priority > at {
			best, _ = c.m.show(o.presence)
			at = o.presence.Priority
		}
	}
	return storage.PresenceChange{Old: p.status, New: best, Rev: p.rev}
}

// stop ends all grace periods in the store.
func (c *community) stop(ctx context.Context) {
	c.mu.RLock()
	people := make([]*person, 0, len(c.people))
	for _, p := range c.people {
		people = append(people, p)
	}
	c.mu.RUnlock()
	b := c.m.host.NewBatch()
	defer b.Flush()
	for _, p := range people {
		p.mu.Lock()
		for _, cn := range slices.Clone(p.conns) {
			if cn.grace != nil {
				cn.grace.Stop()
				c.drop(ctx, b, p, cn)
			}
		}
		p.mu.Unlock()
	}
}
