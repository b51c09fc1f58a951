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

// call is what the presence store is told of a user.
type call struct {
	name string // of it, in logs and metrics
	// conn or project is what it is about; a newer call about it makes this one
	// needless.
	conn    string
	project string
	state   storage.ConnState // of a set
}

// The names of calls.
const (
	callSet    = "set"
	callRemove = "remove"
	callJoin   = "join"
	callLeave  = "leave"
)

// debts are the calls that the presence store has still to take, in order. While a
// person owes one, later calls wait behind it.
type debts struct{ calls []call }

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
	return c.store(ctx, p, call{name: callSet, conn: cn.id(), state: storage.ConnState{
		Conn: cn.id(), User: c.key(p.bare.Local()), Resource: cn.jid().Resource(),
		Show: show, Priority: pr.Priority, At: pr.At,
	}})
}

// remove makes the store forget a connection.
func (c *community) remove(ctx context.Context, p *person, cn *conn) (storage.PresenceChange, error) {
	return c.store(ctx, p, call{name: callRemove, conn: cn.id()})
}

// member tells the store of a membership that began or ended.
func (c *community) member(ctx context.Context, p *person, project string, begins bool) {
	name := callJoin
	if !begins {
		name = callLeave
	}
	// What went wrong is counted, logged and owed.
	_, _ = c.store(ctx, p, call{name: name, project: project})
}

// store makes a call, after those that the person owes; p.mu is held.
func (c *community) store(ctx context.Context, p *person, now call) (storage.PresenceChange, error) {
	if p.owed != nil {
		p.owed.calls = slices.DeleteFunc(p.owed.calls, func(o call) bool { return o.conn == now.conn && o.project == now.project })
		p.owed.calls = append(p.owed.calls, now)
		return c.pay(ctx, p)
	}
	change, err := c.make(ctx, p, &now)
	if errors.Is(err, storage.ErrUnavailable) {
		p.owed = &debts{calls: []call{now}}
		c.debtors.add(p, c.settle)
	}
	return change, err
}

// make makes one call. What goes wrong is counted and logged.
func (c *community) make(ctx context.Context, p *person, now *call) (change storage.PresenceChange, err error) {
	store := c.m.o.Presence
	user := c.key(p.bare.Local())
	switch now.name {
	case callSet:
		change, err = store.Set(ctx, now.state, c.keys(p.projects()))
	case callRemove:
		change, err = store.Remove(ctx, user, now.conn)
	case callJoin:
		err = store.Join(ctx, user, c.key(now.project))
	case callLeave:
		err = store.Leave(ctx, user, c.key(now.project))
	}
	if err != nil {
		c.m.failed(now.name, err, "user", p.bare.String())
	}
	return change, err
}

// pay makes the calls that the person owes until one fails, and returns what the
// last one said. What a store says that missed a call before is not the truth.
func (c *community) pay(ctx context.Context, p *person) (last storage.PresenceChange, err error) {
	if p.owed == nil {
		return last, nil
	}
	// What the store says changes without a word to others.
	defer c.forgetLists(p, p.owed.calls)
	defer c.sure(p, &err)
	for len(p.owed.calls) > 0 {
		now := p.owed.calls[0]
		var change storage.PresenceChange
		if change, err = c.make(ctx, p, &now); now.conn != "" {
			last = change
		}
		if errors.Is(err, storage.ErrUnavailable) {
			c.debtors.add(p, c.settle)
			return last, err
		}
		p.owed.calls = p.owed.calls[1:]
	}
	p.owed = nil
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
		c.post(b, p, c.peersIn(p.projects(), nil), new(news))
	}
}

// forgetLists ends the deltas of all projects that a person's debts are about.
func (c *community) forgetLists(p *person, owed []call) {
	ids := slices.Clone(p.projects())
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
	c.post(b, p, c.peersIn(p.projects(), change.Nodes), new(news))
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
