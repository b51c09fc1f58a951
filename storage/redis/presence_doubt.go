package redis

import (
	"context"
	"slices"
	"time"
)

// A command that fails says little: one answer that is late may be this process's fault,
// which had no time to read it, and one connection may be cut. Only the keeper, which
// looks at once, knows whether Redis is away. Until it does, calls wait, each as long as
// it may, and those that failed are made again under a new fence: they tell a state, and
// what Redis has executed already changes nothing.

// turn changes what is known of Redis, and tells those that wait for it; mu is held.
func (p *presence) turn(open, settled, doubt bool) {
	p.open, p.settled, p.doubt = open, settled, doubt
	close(p.news)
	p.news = make(chan struct{})
}

// suspect stops the writing of Redis until the keeper has looked, which the caller sees
// to; mu is held. Calls that nobody waits for end.
func (p *presence) suspect(cause error) {
	p.turn(false, false, true)
	queue := p.queue
	p.queue = nil
	var kept []*call
	for _, c := range queue {
		c.err = unavailable(cause)
		p.missed(c)
		if p.worthwhile(c) {
			kept = append(kept, c)
		} else {
			close(c.done)
		}
	}
	p.waiting = append(p.waiting, kept...)
}

// worthwhile reports whether a call that Redis may not have heard can be made again
// before its caller gives up; mu is held.
func (p *presence) worthwhile(c *call) bool {
	return !c.begun.IsZero() && !c.again && (p.open || p.doubt) && time.Since(c.begun) < p.patience
}

// keep makes calls again that failed: now, or before those that wait; mu is held.
func (p *presence) keep(calls []*call) {
	for _, c := range calls {
		c.again, c.err = true, nil
	}
	p.waiting = slices.Concat(calls, p.waiting)
	if p.open {
		p.resume()
	}
}

// resume makes the calls that wait; mu is held, and Redis is open.
func (p *presence) resume() {
	calls := p.waiting
	p.waiting = nil
	for _, c := range calls {
		c.err = nil
		p.assert(c)
	}
}

// wait waits for the answer to a call. While others get theirs, it takes its time;
// otherwise the caller hears soon that Redis may be away.
func (p *presence) wait(ctx context.Context, c *call) error {
	own, late := time.NewTimer(p.patience), time.NewTimer(max(p.patience, 4*p.timeout))
	defer own.Stop()
	defer late.Stop()
	for {
		var err error
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
			err = ctx.Err()
		case <-own.C:
			if p.inDoubt() {
				err = unavailable(errSlow)
			}
		case <-late.C:
			err = unavailable(errSlow)
		}
		select {
		case <-c.done: // a process that had no time to run finds both
			return nil
		default:
			if err != nil {
				return err
			}
		}
	}
}

func (p *presence) inDoubt() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.doubt && !p.open
}
