package projects

import (
	"bytes"
	"slices"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// learn makes what a node says of a user what this node knows, and tells its people
// what is new to them. It reports whether the news were about anybody they see.
func (c *community) learn(b *server.Batch, pe *peer, user jid.JID, n *news) bool {
	p, unlock := c.reach(user, pe, n)
	if p == nil {
		return len(n.conns) == 0
	}
	of := c.hear(b, p, pe, n)
	left := len(p.remotes) == 0 && len(p.projects()) == 0
	unlock()
	if left {
		c.tidy(p)
	}
	return of || len(n.conns) == 0
}

// reach returns the user's person, made if need be, with fan held, and c.ties so that
// the news may come true.
func (c *community) reach(user jid.JID, pe *peer, n *news) (p *person, unlock func()) {
	create := len(n.conns) > 0 && len(c.withRoom(n.projects)) > 0
	for whole := false; ; {
		lock, unlock := c.ties.RLock, c.ties.RUnlock
		if whole {
			lock, unlock = c.ties.Lock, c.ties.Unlock
		}
		lock()
		p := c.personOf(user, create)
		if p == nil {
			unlock()
			return nil, nil
		}
		p.fan.Lock()
		if !p.gone && (whole || !c.moves(p, pe, n)) {
			return p, func() {
				p.fan.Unlock()
				unlock()
			}
		}
		whole = whole || !p.gone
		p.fan.Unlock()
		unlock()
	}
}

// personOf finds or makes a person without waiting for what goes on there.
func (c *community) personOf(bare jid.JID, create bool) *person {
	c.mu.RLock()
	p := c.people[bare.Local()]
	c.mu.RUnlock()
	if p != nil || !create {
		return p
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p = c.people[bare.Local()]; p == nil {
		p = c.newPerson(bare)
	}
	return p
}

// withRoom lists those of some projects that somebody of this node is in.
func (c *community) withRoom(projects []string) []string {
	var list []string
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, id := range projects {
		if r := c.rooms[id]; r != nil {
			list = append(list, r.id)
		}
	}
	return list
}

// moves reports whether others will see what is shown of p already by other projects
// than now; fan is held.
func (c *community) moves(p *person, pe *peer, n *news) bool {
	if len(p.shown) == 0 {
		return false
	}
	var projects []string
	if len(n.conns) > 0 {
		projects = c.withRoom(n.projects)
	}
	if rem := p.remote(pe); rem != nil && slices.Equal(rem.projects, projects) {
		return false
	}
	return !slices.Equal(p.seenIn(), p.seenWith(pe, projects))
}

// hear makes the news true; p.fan is held, and c.ties at least for reading. It reports
// false when nobody of this node is in the projects.
func (c *community) hear(b *server.Batch, p *person, pe *peer, n *news) bool {
	rem := p.remote(pe)
	if rem == nil {
		if len(n.conns) == 0 && !n.unsure {
			old := p.status
			c.hearStatus(p, n, p.seenIn())
			if p.status != old {
				c.announceStatus(b, p, p.seenIn())
			}
			c.cutGrace(p, nil, n.hidden)
			return true
		}
		rem = &remote{peer: pe}
		p.remotes = append(p.remotes, rem)
		pe.add(p)
	}
	rem.mark, rem.unsure = pe.begun(), n.unsure
	before, old := p.seenIn(), p.status
	both, either := before, before
	if len(n.conns) > 0 {
		c.spread(p, rem, c.withRoom(n.projects))
		if after := p.seenIn(); !slices.Equal(before, after) {
			both, either = shared(nil, before, after), union(before, after)
			c.reveal(b, p, before, both)
		}
	}
	conns := n.conns
	if len(rem.projects) == 0 {
		conns = nil
	}
	news, gone := p.replace(rem, conns)
	c.hearStatus(p, n, either)
	for _, cn := range news {
		c.announce(b, p, cn.presence, both)
	}
	for i, g := range gone {
		at := g.presence.JID
		if slices.ContainsFunc(news, func(cn *conn) bool { return cn.away.jid == at }) ||
			slices.ContainsFunc(gone[i+1:], func(o ended) bool { return o.presence.JID == at }) {
			continue
		}
		c.announceEnd(b, p, g.farewell(n.gone), g.last, p.status != old, both)
	}
	known := len(rem.projects) > 0
	if len(rem.conns) == 0 {
		c.spread(p, rem, nil)
	}
	if len(rem.conns) == 0 && !rem.unsure {
		p.remotes = slices.DeleteFunc(p.remotes, func(r *remote) bool { return r == rem })
		pe.remove(p)
	}
	p.respread()
	if p.status != old && len(news)+len(gone) == 0 {
		c.announceStatus(b, p, both)
	}
	c.reveal(b, p, both, p.seenIn())
	c.cutGrace(p, news, n.hidden)
	return known
}

// spread makes now, as far as somebody of this node is still in them, the projects that
// a node says the person is in; fan is held.
func (c *community) spread(p *person, rem *remote, now []string) {
	was := rem.projects
	if slices.Equal(was, now) {
		return
	}
	rem.projects = slices.DeleteFunc(now, func(id string) bool { return !c.joinFar(id, p) })
	for _, id := range minus(was, rem.projects) {
		c.partFarIfLast(p, id)
	}
	p.respread()
}

// partFarIfLast takes a person out of a room that no other node has the person in.
func (c *community) partFarIfLast(p *person, project string) {
	if !slices.ContainsFunc(p.remotes, func(r *remote) bool { return slices.Contains(r.projects, project) }) {
		c.partFar(project, p)
	}
}

// ended is a connection that is gone, with the last that was heard of it.
type ended struct {
	id       string
	presence *server.Presence
	last     bool // nobody spoke at its address later
}

// farewell is the presence that others are told of the end.
func (g *ended) farewell(said []heard) *server.Presence {
	for _, h := range said {
		if h.id == g.id && h.presence.JID == g.presence.JID {
			return h.presence
		}
	}
	return server.Unavailable(g.presence.JID, g.presence.At)
}

// replace makes conns all that is shown of the connections to a node. It returns those
// that said something new, and those that are gone; fan is held.
func (p *person) replace(rem *remote, conns []heard) (news []*conn, gone []ended) {
	now := make([]*conn, 0, len(conns))
	var a, z []byte
	for _, h := range conns {
		i := slices.IndexFunc(rem.conns, func(cn *conn) bool { return cn.away.id == h.id })
		if i < 0 {
			now = append(now, &conn{away: &away{id: h.id, jid: h.presence.JID, peer: rem.peer}})
			news = append(news, now[len(now)-1])
			p.show(now[len(now)-1], h.presence)
			continue
		}
		cn := rem.conns[i]
		now = append(now, cn)
		a, z = cn.presence.AppendPacked(a[:0]), h.presence.AppendPacked(z[:0])
		if !bytes.Equal(a, z) {
			cn.away.jid = h.presence.JID
			news = append(news, cn)
			p.show(cn, h.presence)
		}
	}
	for _, cn := range rem.conns {
		if slices.Contains(now, cn) {
			continue
		}
		g := ended{id: cn.away.id, presence: cn.presence}
		_, g.last = p.hide(cn)
		gone = append(gone, g)
	}
	rem.conns = now
	return news, gone
}

// hearStatus takes the status in the news. It guesses when the node did so, when the
// store does not know all that happened, and when an older guess is all that can be said
// against it; fan is held.
func (c *community) hearStatus(p *person, n *news, projects []string) {
	if n.guessed || p.shaky() || p.guessed && n.rev < p.rev {
		c.stands(p, p.guess(c.m), max(p.rev, n.rev, c.rev.Load()), true, projects)
		return
	}
	c.stands(p, n.status, n.rev, false, projects)
}

// cutGrace ends, soon, the time that connections to this node are waited for: the user
// is back at another node. A replaced connection's successor is still waited for,
// unless the user turned invisible. fan is held.
func (c *community) cutGrace(p *person, back []*conn, hidden bool) {
	for _, x := range p.shown {
		if !x.here() || !x.waits() {
			continue
		}
		if hidden || slices.ContainsFunc(back, func(cn *conn) bool { return !x.replaced() || x.jid() == cn.jid() }) {
			x.away.grace.Reset(lingering)
		}
	}
}

// outOf takes a person of other nodes out of a project that nobody of this node is in
// any more; c.ties is held.
func (c *community) outOf(b *server.Batch, p *person, project string) {
	p.fan.Lock()
	defer p.fan.Unlock()
	for _, rem := range slices.Clone(p.remotes) {
		left := slices.DeleteFunc(slices.Clone(rem.projects), func(id string) bool { return id == project })
		if len(left) == len(rem.projects) {
			continue
		}
		if len(left) == 0 {
			c.hear(b, p, rem.peer, c.silence())
			continue
		}
		rem.projects = left
		p.respread()
	}
}

// silence are the news of a user who is not connected to a node any more, when the
// node itself does not say so.
func (c *community) silence() *news {
	return &news{guessed: true, rev: c.rev.Load()}
}

// state is what this node says of a person; p.fan is held.
func (p *person) state(n *news) *news {
	n.user, n.projects = p.bare.Local(), p.projects()
	n.status, n.rev, n.guessed, n.unsure = storage.Show(p.status), p.rev, p.guessed, p.unsure
	for _, cn := range p.shown {
		if cn.here() {
			n.conns = append(n.conns, heard{cn.id(), cn.presence})
		}
	}
	return n
}

// takenFor is the state that this node takes a person for.
func (p *person) takenFor() storage.Show {
	p.fan.Lock()
	defer p.fan.Unlock()
	return storage.Show(p.status)
}
