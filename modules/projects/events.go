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
	cn := p.conns.find(s.Conn())
	if cn == nil {
		cn = &conn{session: s}
		p.conns.add(cn)
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
	var over []*conn // others that count no longer
	show, hidden := c.m.show(e.Presence)
	if e.Presence.Available {
		// Before the others are removed, so that the user was online all the time.
		change, err = c.set(ctx, p, cn, show, e.Presence)
		over = p.endGrace(cn, hidden)
	} else {
		change, err = c.remove(ctx, p, cn)
	}
	for _, o := range over {
		change, err = c.remove(ctx, p, o)
	}
	c.tell(e.Batch, p, &word{cn: cn, says: e.Presence, hidden: hidden, over: over, change: change, err: err})
	if e.Presence.Available && !cn.reads.Load() {
		c.welcome(e.Batch, p, cn)
	}
	if !e.Presence.Available {
		p.conns.remove(cn)
		c.leaveIfGone(e.Batch, p)
	}
}

// word is what a connection says of itself, or what is said of it when it is gone.
type word struct {
	cn     *conn
	says   *server.Presence
	hidden bool
	over   []*conn // others that count no longer
	change storage.PresenceChange
	err    error // why the store did not say what changed
}

// tell makes a word what others see of a connection, and takes back what they saw of
// those that are over. What others are told of the user is the state after all that.
func (c *community) tell(b *server.Batch, p *person, w *word) {
	c.ties.RLock()
	defer c.ties.RUnlock()
	p.fan.Lock()
	defer p.fan.Unlock()
	old := p.status
	visible := w.says.Available && !w.hidden
	was, last := false, false
	if visible {
		p.show(w.cn, w.says)
	} else {
		was, last = p.hide(w.cn)
	}
	fresh := visible || was || w.hidden
	var over, lasts []*conn
	for _, o := range w.over {
		seen, last := p.hide(o)
		if !seen {
			continue
		}
		fresh = true
		if last {
			lasts = append(lasts, o)
		}
		// The successor at the same address has told others enough.
		if o.jid() != w.cn.jid() || !visible && !was {
			over = append(over, o)
		}
	}
	c.count(p, w.change, w.err)
	changed, projects := p.status != old, p.seenIn()
	switch {
	case visible:
		c.announce(b, p, w.says, projects)
	case was && w.hidden:
		c.announceEnd(b, p, server.Unavailable(w.cn.jid(), w.says.At), last, changed, projects)
	case was:
		c.announceEnd(b, p, w.says, last, changed, projects)
	}
	for _, o := range over {
		c.announceEnd(b, p, server.Unavailable(o.jid(), w.says.At), slices.Contains(lasts, o), changed, projects)
	}
	if c.m.clustered && fresh {
		c.pass(b, p, w, was)
	}
}

// pass tells other nodes; p.fan is held.
func (c *community) pass(b *server.Batch, p *person, w *word, was bool) {
	n := &news{hidden: w.hidden}
	if was && !w.hidden {
		n.gone = []heard{{id: w.cn.id(), presence: w.says}}
	}
	c.post(b, p, c.peersIn(p.projects(), w.change.Nodes), n)
}

// count makes what the store said the user's state, or what this node sees when
// the store did not say or does not know; p.fan is held.
func (c *community) count(p *person, ch storage.PresenceChange, err error) {
	p.unsure = err != nil
	guess := p.shaky()
	if guess {
		ch.New, ch.Rev = p.guess(c.m), max(p.rev, ch.Rev, c.rev.Load())
	}
	c.stands(p, ch.New, ch.Rev, guess, p.seenIn())
}

// sawRev notes a revision that the store told here or at another node.
func (c *community) sawRev(rev uint64) {
	for known := c.rev.Load(); known < rev && !c.rev.CompareAndSwap(known, rev); known = c.rev.Load() {
	}
}

// stands makes a status the user's, unless a later one is known. projects are those
// that others see it by, or did until now; p.fan is held.
func (c *community) stands(p *person, status storage.Show, rev uint64, guessed bool, projects []string) {
	c.sawRev(rev)
	if rev < p.rev {
		return // another node told what came of both
	}
	if uint8(status) != p.status {
		c.record(p, rev, projects)
	}
	p.status, p.rev, p.guessed = uint8(status), rev, guessed
}

// endGrace takes the connections that counted for a while and do so no longer, as
// the user is back with cn. A replaced connection's successor is still waited
// for, unless the user turned invisible.
func (p *person) endGrace(cn *conn, hidden bool) (late []*conn) {
	for x := range p.conns.all() {
		if x.waits() && (hidden || !x.replaced() || x.jid() == cn.jid()) {
			x.away.grace.Stop()
			p.conns.remove(x)
			late = append(late, x)
		}
	}
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
	cn := p.conns.find(e.Conn)
	if cn == nil {
		return
	}
	cn = p.retire(cn, e.Replaced())
	delay := p.delay(cn, c.m.o.Grace)
	if delay == 0 || !c.startGrace(p, cn, delay) {
		c.drop(ctx, e.Batch, p, cn)
	}
}

// lingering is how long a connection still counts whose successor is at another node:
// the news of the one and of the other's end reach a third node on different ways.
const lingering = 500 * time.Millisecond

// startGrace lets a gone connection count for a while; mu is held. It reports
// false when the module has stopped.
func (c *community) startGrace(p *person, cn *conn, delay time.Duration) bool {
	if c.stopped.Load() {
		return false
	}
	p.fan.Lock()
	defer p.fan.Unlock()
	cn.away.grace = time.AfterFunc(delay, func() {
		b := c.m.host.NewBatch()
		defer b.Flush()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.conns.has(cn) {
			c.drop(c.m.host.Context(), b, p, cn)
		}
	})
	return true
}

// drop forgets a connection and tells co-members; mu is held.
func (c *community) drop(ctx context.Context, b *server.Batch, p *person, cn *conn) {
	p.conns.remove(cn)
	change, err := c.remove(ctx, p, cn)
	c.tell(b, p, &word{cn: cn, says: server.Unavailable(cn.jid(), time.Now()), change: change, err: err})
	c.leaveIfGone(b, p)
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
		for _, cn := range p.conns.list() {
			if cn.waits() {
				cn.away.grace.Stop()
			}
			c.drop(ctx, b, p, cn)
		}
		// The last try; what goes wrong is counted and logged.
		_, _ = c.pay(ctx, p)
		p.mu.Unlock()
	}
	c.debtors.stop()
}
