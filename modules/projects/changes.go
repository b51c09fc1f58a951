package projects

import (
	"context"
	"slices"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// directoryChanged keeps memberships of people on this node true.
func (c *community) directoryChanged(ctx context.Context, e *server.DirectoryChange) {
	if e.Kind != storage.MemberAdded && e.Kind != storage.MemberRemoved {
		return
	}
	bare, err := jid.New(e.User, c.host, "")
	if err != nil {
		c.m.failed("change", err, "user", e.User)
		return
	}
	defer func() {
		if r := c.room(e.Project); r != nil {
			r.log.forget(c.rev.Load())
		}
	}()
	p := c.lock(bare, false)
	if p == nil {
		return
	}
	defer p.mu.Unlock()
	if !p.here() {
		return // the nodes that have the user tell what comes of it
	}
	if !p.known {
		c.load(ctx, e.Batch, p)
		return
	}
	if e.Kind == storage.MemberAdded {
		c.memberAdded(ctx, e.Batch, p, e.Project)
	} else {
		c.memberRemoved(ctx, e.Batch, p, e.Project)
	}
}

// memberAdded lets p and the members of a project see each other, unless they do
// already.
func (c *community) memberAdded(ctx context.Context, b *server.Batch, p *person, project string) {
	before := p.projects()
	at, had := slices.BinarySearch(before, project)
	if had {
		return
	}
	c.member(ctx, p, project, true)
	if len(before) == 0 {
		c.recount(ctx, p)
	}
	c.belong(b, p, slices.Insert(slices.Clone(before), at, project))
}

// recount asks the store for the state of a user who was in no project: the user's
// other nodes did not tell it. p.mu is held.
func (c *community) recount(ctx context.Context, p *person) {
	if !c.m.clustered {
		return
	}
	for cn := range p.conns.all() {
		p.fan.Lock()
		says := cn.presence
		p.fan.Unlock()
		if says == nil {
			continue
		}
		show, _ := c.m.show(says)
		change, err := c.set(ctx, p, cn, show, says)
		p.fan.Lock()
		defer p.fan.Unlock()
		c.count(p, change, err)
		return
	}
}

// memberRemoved is the end of that, for those who share no other project.
func (c *community) memberRemoved(ctx context.Context, b *server.Batch, p *person, project string) {
	before := p.projects()
	at, had := slices.BinarySearch(before, project)
	if !had {
		return
	}
	c.member(ctx, p, project, false)
	c.belong(b, p, slices.Delete(slices.Clone(before), at, at+1))
}

// belong makes ids, which are sorted, the projects of a person of this node: who sees
// each other by them and did not before is told, and who does so no longer; p.mu is
// held.
func (c *community) belong(b *server.Batch, p *person, ids []string) {
	before := p.projects()
	began, ended, alone := c.moveAlone(p, ids)
	if !alone {
		began, ended = c.move(b, p, before, ids)
	}
	c.askAll(b, began)
	c.endRooms(b, ended)
}

// moveAlone does it for a person of whom nothing is seen, and who reads nothing.
func (c *community) moveAlone(p *person, ids []string) (began []string, ended []*room, ok bool) {
	p.fan.Lock()
	defer p.fan.Unlock()
	before := p.projects()
	if !p.conns.empty() || len(p.remotes) > 0 {
		return nil, nil, false
	}
	began = c.moveTo(p, ids)
	return began, c.partAll(p, minus(before, ids)), true
}

func (c *community) move(b *server.Batch, p *person, before, ids []string) (began []string, ended []*room) {
	c.ties.Lock()
	defer c.ties.Unlock()
	for _, o := range c.others(p, minus(before, ids)) {
		if firstShared(o.seenIn(), ids) == "" {
			c.conceal(b, o, p)
		}
	}
	p.fan.Lock()
	seen := p.seenIn()
	began = c.moveTo(p, ids)
	c.reveal(b, p, seen, p.seenIn())
	if p.shownHere() {
		c.post(b, p, c.peersIn(union(before, ids), nil), &news{})
	}
	// After that: whoever asks about a project and is not told of p has heard it.
	ended = c.partAll(p, minus(before, ids))
	p.fan.Unlock()
	x := c.m.extension()
	defer c.m.free(x)
	for _, o := range c.others(p, minus(ids, before)) {
		if firstShared(o.seenIn(), before) != "" {
			continue
		}
		for r := range p.conns.readers() {
			c.describe(b, x, o, ids, r.session)
		}
	}
	return began, ended
}

// moveTo makes ids the projects and enters their rooms. It returns those that nobody of
// this node was in; mu and fan are held.
func (c *community) moveTo(p *person, ids []string) (began []string) {
	before := p.projects()
	p.member.Store(c.intern(ids))
	p.respread()
	for _, id := range minus(ids, before) {
		if c.join(id, p) && c.m.clustered {
			began = append(began, id)
		}
	}
	return began
}

// partAll leaves rooms, and returns those that nobody of this node is left in.
func (c *community) partAll(p *person, projects []string) (ended []*room) {
	for _, id := range projects {
		if r := c.part(id, p); r != nil {
			ended = append(ended, r)
		}
	}
	return ended
}
