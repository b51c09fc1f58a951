package projects

import (
	"context"
	"fmt"
	"slices"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server"
	"rollcall/storage"
)

// probe answers a co-member (RFC 6121 section 4.3.2).
func (c *community) probe(ctx context.Context, e *server.Probe) {
	from := e.From.JID()
	if from.Domain() != c.host {
		return
	}
	projects, common, err := c.acquainted(ctx, from, e.To)
	if err != nil {
		c.m.failed("projects_of", err, "user", from.String())
		return
	}
	if len(common) == 0 {
		return
	}
	e.Answered = true
	if c.tellShown(e, projects) || c.probeElsewhere(ctx, e, projects, common) {
		return
	}
	e.Batch.Send(e.From, server.AppendPresenceType(nil, e.To, from, "unavailable"))
}

// authorize says that people who share a project may see each other. The directory is
// asked about those who are not connected to this node.
func (c *community) authorize(ctx context.Context, e *server.Authorize) {
	if e.Allowed {
		return
	}
	viewer, user := c.memberships(e.Viewer), c.memberships(e.User)
	if viewer != nil && user != nil {
		e.Allowed = firstShared(*viewer, *user) != ""
		return
	}
	_, common, err := c.acquainted(ctx, e.Viewer, e.User)
	if err != nil {
		c.m.failed("projects_of", err, "user", e.Viewer.String())
		return
	}
	e.Allowed = len(common) > 0
}

// memberships lists the ids of a user's projects, sorted, or is nil when they are not at
// hand.
func (c *community) memberships(bare jid.JID) *[]string {
	if p := c.personOf(bare, false); p != nil {
		return p.member.Load()
	}
	return nil
}

// tellShown answers with what is shown of the user, if anything is.
func (c *community) tellShown(e *server.Probe, projects []string) bool {
	c.mu.RLock()
	o := c.people[e.To.Local()]
	c.mu.RUnlock()
	if o == nil {
		return false
	}
	c.ties.RLock()
	defer c.ties.RUnlock()
	x := c.m.extension()
	defer c.m.free(x)
	o.fan.Lock()
	defer o.fan.Unlock()
	return firstShared(o.seenIn(), projects) != "" && o.present(e.Batch, x, projects, e.From, e.Wants) > 0
}

// probeElsewhere asks the other nodes, when nobody of this one is in a project that the
// two share, so that nothing is known here. The node that has the user answers.
func (c *community) probeElsewhere(ctx context.Context, e *server.Probe, projects, common []string) bool {
	peers := c.everyPeer()
	if len(peers) == 0 || len(c.withRoom(common)) > 0 {
		return false
	}
	shows, err := c.m.o.Presence.Status(ctx, []string{c.key(e.To.Local())})
	switch {
	case err != nil:
		c.m.failed("status", err, "user", e.To.String())
	case shows[0] == storage.Offline:
		return false
	}
	data := packed.AppendString(c.header(kindProbe), e.From.JID().String())
	data = packed.AppendString(appendList(data, projects), e.To.Local())
	data = packed.AppendString(data, e.Only.Resource())
	for _, pe := range peers {
		c.m.host.Tell(e.Batch, pe.node, data)
	}
	return true
}

// probed answers another node's probe.
func (c *community) probed(b *server.Batch, pe *peer, r *packed.Reader) error {
	from, projects, user, only := r.String(), readList(r), r.String(), r.String()
	if err := r.Err(); err != nil {
		return err
	}
	to, err := jid.New(user, c.host, "")
	if err != nil {
		return err
	}
	p := c.personOf(to, false)
	if p == nil {
		return nil
	}
	p.fan.Lock()
	defer p.fan.Unlock()
	if !p.shownHere() {
		return nil
	}
	data := appendList(packed.AppendString(c.header(kindProbed), from), projects)
	n := p.state(new(news))
	n.conns = slices.DeleteFunc(n.conns, func(h heard) bool { return only != "" && h.presence.JID.Resource() != only })
	c.m.host.Tell(b, pe.node, n.append(data))
	return nil
}

// answerProbe hands a node's answer to the session that asked.
func (c *community) answerProbe(b *server.Batch, r *packed.Reader) error {
	full, projects := r.String(), readList(r)
	_, n, err := readNews(r, c.host)
	if err != nil {
		return err
	}
	from, err := jid.Parse(full)
	if err != nil {
		return err
	}
	if !slices.IsSorted(projects) {
		return fmt.Errorf("%w: projects out of order", errUnread)
	}
	x := extension{status: n.status, rev: n.rev}
	if firstShared(n.projects, projects) == "" {
		return nil
	}
	for _, s := range c.m.host.Sessions(from.Bare()) {
		if s.JID() != from {
			continue
		}
		for _, h := range n.conns {
			b.SendPresence(s, h.presence, x.encode(n.projects, projects, true))
		}
	}
	return nil
}

// acquainted lists the first user's projects, and those that two users share.
func (c *community) acquainted(ctx context.Context, a, b jid.JID) (of, common []string, err error) {
	ids := func(j jid.JID) ([]string, error) {
		list, err := c.m.o.Directory.ProjectsOf(ctx, j.Local())
		ids := make([]string, len(list))
		for i, pr := range list {
			ids[i] = pr.ID
		}
		slices.Sort(ids)
		return ids, err
	}
	if of, err = ids(a); err != nil {
		return nil, nil, err
	}
	other, err := ids(b)
	return of, shared(nil, of, other), err
}
