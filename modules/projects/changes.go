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
			r.log.forget()
		}
	}()
	p := c.lock(bare, false)
	if p == nil {
		return
	}
	defer p.mu.Unlock()
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
	before := p.view.Load().projects
	at, had := slices.BinarySearch(before, project)
	if had {
		return
	}
	c.member(ctx, p, project, true)
	c.ties.Lock()
	defer c.ties.Unlock()
	p.publish(slices.Insert(slices.Clone(before), at, project))
	c.join(project, p)
	c.meet(b, p, before, []string{project})
}

// meet lets p and the members of projects that p is new to see each other, apart
// from those who did so before; c.ties is held.
func (c *community) meet(b *server.Batch, p *person, before, projects []string) {
	var x extension
	readers := p.view.Load().readers
	for _, o := range c.others(p, projects) {
		v := o.view.Load()
		if firstShared(before, v.projects) != "" {
			continue
		}
		for _, s := range v.readers {
			c.describe(b, &x, p, v.projects, s)
		}
		for _, s := range readers {
			c.describe(b, &x, o, p.view.Load().projects, s)
		}
	}
}

// memberRemoved is the end of that, for those who share no other project.
func (c *community) memberRemoved(ctx context.Context, b *server.Batch, p *person, project string) {
	before := p.view.Load().projects
	at, had := slices.BinarySearch(before, project)
	if !had {
		return
	}
	c.member(ctx, p, project, false)
	c.ties.Lock()
	defer c.ties.Unlock()
	affected := c.others(p, []string{project})
	after := slices.Delete(slices.Clone(before), at, at+1)
	p.publish(after)
	c.part(project, p)
	for _, o := range affected {
		if firstShared(after, o.view.Load().projects) == "" {
			c.conceal(b, p, o)
			c.conceal(b, o, p)
		}
	}
}
