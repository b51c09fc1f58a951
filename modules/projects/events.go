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
	p := c.enter(ctx, e.Batch, e.Session.JID().Bare())
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
	p := c.enter(ctx, e.Batch, e.Session.JID().Bare())
	defer p.mu.Unlock()
	cn := c.connOf(p, e.Session)
	var err error
	var change storage.PresenceChange
	over := []*conn{cn} // the connections that count no longer
	show, hidden := c.m.show(e.Presence)
	if e.Presence.Available {
		// Before the others are removed, so that the user was online all the time.
		change, err = c.set(ctx, p, cn, show, e.Presence)
		over = p.endGrace(cn, hidden)
	}
	for _, o := range over {
		change, err = c.remove(ctx, p, o)
	}
	c.tell(e.Batch, p, cn, e.Presence, hidden, over, func() { c.count(p, change, err) })
	if e.Presence.Available && !e.WasAvailable {
		c.welcome(e.Batch, p, e.Session)
	}
	if !e.Presence.Available {
		p.conns = slices.DeleteFunc(p.conns, func(x *conn) bool { return x == cn })
		p.publish(p.view.Load().projects)
		c.leaveIfGone(p)
	}
}

// tell makes a presence what others see of a connection, and takes back what they
// saw of those that are over. counted is called in between: what others are told
// of the user is the state after all that.
func (c *community) tell(b *server.Batch, p *person, cn *conn, pr *server.Presence, hidden bool, over []*conn, counted func()) {
	c.ties.RLock()
	defer c.ties.RUnlock()
	p.fan.Lock()
	defer p.fan.Unlock()
	visible := pr.Available && !hidden
	was := false
	if visible {
		p.show(cn, pr)
	} else {
		was = p.hide(cn)
	}
	over = slices.DeleteFunc(over, func(o *conn) bool {
		// The successor at the same address has told others enough.
		return !p.hide(o) || o.jid == cn.jid && (visible || was)
	})
	counted()
	switch {
	case visible:
		c.announce(b, p, pr)
	case was && hidden:
		c.announceEnd(b, p, server.Unavailable(cn.jid, pr.At))
	case was:
		c.announceEnd(b, p, pr)
	}
	for _, o := range over {
		c.announceEnd(b, p, server.Unavailable(o.jid, pr.At))
	}
}

// announceEnd tells co-members that what they saw of an address is over, or what
// they see of it now if a newer connection has it; p.fan is held.
func (c *community) announceEnd(b *server.Batch, p *person, gone *server.Presence) {
	if twin := p.shownAt(gone.JID); twin != nil {
		gone = twin.presence
	}
	c.announce(b, p, gone)
}

// count makes what the store said the user's state, or what this node sees when
// the store did not say; p.fan is held.
func (c *community) count(p *person, ch storage.PresenceChange, err error) {
	if err != nil {
		ch.New, ch.Rev = p.guess(c.m), c.rev.Load()
	}
	for rev := c.rev.Load(); rev < ch.Rev && !c.rev.CompareAndSwap(rev, ch.Rev); rev = c.rev.Load() {
	}
	if ch.New != p.status {
		c.record(p, ch.Rev)
	}
	p.status, p.rev = ch.New, ch.Rev
}

// endGrace takes the connections that counted for a while and do so no longer, as
// the user is back with cn. A replaced connection's successor is still waited
// for, unless the user turned invisible.
func (p *person) endGrace(cn *conn, hidden bool) (late []*conn) {
	p.conns = slices.DeleteFunc(p.conns, func(x *conn) bool {
		over := x.grace != nil && (hidden || !x.replaced || x.jid == cn.jid)
		if over {
			x.grace.Stop()
			late = append(late, x)
		}
		return over
	})
	return late
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
	cn.session, cn.replaced = nil, e.Replaced()
	p.publish(p.view.Load().projects)
	delay := c.m.o.Grace
	if cn.replaced {
		delay = max(delay, replacedGrace)
	}
	if delay == 0 || !p.waits(cn) || !c.startGrace(p, cn, delay) {
		c.drop(ctx, e.Batch, p, cn)
	}
}

// startGrace lets a gone connection count for a while; mu is held. It reports
// false when the module has stopped.
func (c *community) startGrace(p *person, cn *conn, delay time.Duration) bool {
	if c.stopped.Load() {
		return false
	}
	cn.grace = time.AfterFunc(delay, func() {
		b := c.m.host.NewBatch()
		defer b.Flush()
		p.mu.Lock()
		defer p.mu.Unlock()
		if slices.Contains(p.conns, cn) {
			c.drop(c.m.host.Context(), b, p, cn)
		}
	})
	return true
}

// drop forgets a connection and tells co-members; mu is held.
func (c *community) drop(ctx context.Context, b *server.Batch, p *person, cn *conn) {
	p.conns = slices.DeleteFunc(p.conns, func(x *conn) bool { return x == cn })
	change, err := c.remove(ctx, p, cn)
	c.tell(b, p, cn, server.Unavailable(cn.jid, time.Now()), false, nil, func() { c.count(p, change, err) })
	c.leaveIfGone(p)
}

// stop makes everybody offline in the store: by now only those in their grace
// period are not, and those whose sessions did not end in time.
func (c *community) stop(ctx context.Context) {
	c.stopped.Store(true)
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
			}
			c.drop(ctx, b, p, cn)
		}
		// The last try; what goes wrong is counted and logged.
		_, _ = c.pay(ctx, p)
		p.mu.Unlock()
	}
	c.debtors.stop()
}
