package projects

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"rollcall/server"
	"rollcall/storage"
)

// debt is a call that the presence store has still to take. While a person owes
// one, later calls wait behind it.
type debt struct {
	conn    string // either that or a project; a newer call about it comes instead
	project string
	call    string
	pay     func(ctx context.Context) (storage.PresenceChange, error)
}

// debtors are the people whom the store may know otherwise than they are.
type debtors struct {
	mu      sync.Mutex
	people  map[*person]struct{}
	timer   *time.Timer // running while somebody is in people
	stopped bool
}

// settleEvery is how often the store is tried again.
const settleEvery = 5 * time.Second

// set tells the store what a connection says of itself.
func (c *community) set(ctx context.Context, p *person, cn *conn, show storage.Show, pr *server.Presence) (storage.PresenceChange, error) {
	state := storage.ConnState{
		Conn: cn.id, User: p.key, Resource: cn.jid.Resource(),
		Show: show, Priority: pr.Priority, At: pr.At,
	}
	return c.store(ctx, p, debt{conn: cn.id, call: "set", pay: func(ctx context.Context) (storage.PresenceChange, error) {
		return c.m.o.Presence.Set(ctx, state, c.keys(p.view.Load().projects))
	}})
}

// remove makes the store forget a connection.
func (c *community) remove(ctx context.Context, p *person, cn *conn) (storage.PresenceChange, error) {
	return c.store(ctx, p, debt{conn: cn.id, call: "remove", pay: func(ctx context.Context) (storage.PresenceChange, error) {
		return c.m.o.Presence.Remove(ctx, p.key, cn.id)
	}})
}

// member tells the store of a membership that began or ended.
func (c *community) member(ctx context.Context, p *person, project string, begins bool) {
	d := debt{project: project, call: "join"}
	f := c.m.o.Presence.Join
	if !begins {
		d.call, f = "leave", c.m.o.Presence.Leave
	}
	d.pay = func(ctx context.Context) (storage.PresenceChange, error) {
		return storage.PresenceChange{}, f(ctx, p.key, c.key(project))
	}
	// What went wrong is counted, logged and owed.
	_, _ = c.store(ctx, p, d)
}

// store makes a call, after those that the person owes; p.mu is held.
func (c *community) store(ctx context.Context, p *person, d debt) (storage.PresenceChange, error) {
	p.owed = slices.DeleteFunc(p.owed, func(o debt) bool { return o.conn == d.conn && o.project == d.project })
	p.owed = append(p.owed, d)
	return c.pay(ctx, p)
}

// pay makes the calls that the person owes until one fails, and returns what the
// last one said. What a store says that missed a call before is not the truth.
func (c *community) pay(ctx context.Context, p *person) (last storage.PresenceChange, err error) {
	if p.behind {
		// What the store says changes without a word to others.
		defer c.forgetLists(p, p.owed)
		defer c.sure(p, &err)
	}
	for len(p.owed) > 0 {
		d := p.owed[0]
		var change storage.PresenceChange
		if change, err = d.pay(ctx); d.conn != "" {
			last = change
		}
		if err != nil {
			c.m.failed(d.call, err, "user", p.bare.String())
		}
		if errors.Is(err, storage.ErrUnavailable) {
			p.behind = true
			c.debtors.add(p, c.settle)
			return last, err
		}
		p.owed = p.owed[1:]
	}
	p.owed, p.behind = nil, false
	return last, err
}

// sure notes that the store has all that it missed, and says so to other nodes.
func (c *community) sure(p *person, err *error) {
	if *err != nil {
		return
	}
	b := c.m.host.NewBatch()
	defer b.Flush()
	p.fan.Lock()
	defer p.fan.Unlock()
	if p.unsure {
		p.unsure = false
		c.post(b, p, c.peersIn(p.view.Load().projects, nil), new(news))
	}
}

// forgetLists ends the deltas of all projects that a person's debts are about.
func (c *community) forgetLists(p *person, owed []debt) {
	ids := slices.Clone(p.view.Load().projects)
	for _, d := range owed {
		if d.project != "" {
			ids = append(ids, d.project)
		}
	}
	for _, id := range ids {
		if r := c.room(id); r != nil {
			r.log.forget(c.rev.Load())
		}
	}
}

func (d *debtors) add(p *person, settle func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return
	}
	if d.people == nil {
		d.people = make(map[*person]struct{})
	}
	d.people[p] = struct{}{}
	if d.timer == nil {
		d.timer = time.AfterFunc(settleEvery, settle)
	}
}

// take empties the set; those who still owe are added again.
func (d *debtors) take() map[*person]struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	people := d.people
	d.people, d.timer = nil, nil
	return people
}

func (d *debtors) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	if d.timer != nil {
		d.timer.Stop()
	}
}

// settle tries the store again. Others were told what it is going to say.
func (c *community) settle() {
	ctx := c.m.host.Context()
	b := c.m.host.NewBatch()
	defer b.Flush()
	reachable := true
	for p := range c.debtors.take() {
		if !reachable {
			c.debtors.add(p, c.settle)
			continue
		}
		p.mu.Lock()
		if change, err := c.pay(ctx, p); err != nil {
			reachable = false
		} else if change.Rev > 0 {
			c.settled(b, p, change)
		}
		c.leaveIfGone(b, p)
		p.mu.Unlock()
	}
}

// settled takes what the store says after it got all that it missed.
func (c *community) settled(b *server.Batch, p *person, change storage.PresenceChange) {
	c.ties.RLock()
	defer c.ties.RUnlock()
	p.fan.Lock()
	defer p.fan.Unlock()
	old := p.status
	c.count(p, change, nil)
	if p.status != old {
		c.announceStatus(b, p, p.seenIn())
	}
	c.post(b, p, c.peersIn(p.view.Load().projects, change.Nodes), new(news))
}

// guess is the aggregate as this node sees it, by the rule of
// storage.PresenceChange; fan is held.
func (p *person) guess(m *Module) storage.Show {
	var best *server.Presence
	for _, cn := range p.shown {
		pr := cn.presence
		if best == nil || pr.Priority > best.Priority || pr.Priority == best.Priority && !pr.At.Before(best.At) {
			best = pr
		}
	}
	if best == nil {
		return storage.Offline
	}
	show, _ := m.show(best)
	return show
}
