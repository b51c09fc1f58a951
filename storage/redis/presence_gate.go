package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"rollcall/storage"
)

// assertAtOnce is how much is asserted between two pauses.
const assertAtOnce = 500

// up says that Redis can be written again and lost nothing: it is told what it missed.
func (p *presence) up(ctx context.Context) { p.reopen(ctx, false) }

// lost says that Redis may have lost this node's rows: it is told everything.
func (p *presence) lost(ctx context.Context) { p.reopen(ctx, true) }

// down says that Redis is not to be tried.
func (p *presence) down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut(errAway)
}

// reopen makes a new fence, opens Redis, and asserts what it may not know. It returns
// when that is done, failed, or ctx ended.
func (p *presence) reopen(ctx context.Context, lost bool) {
	p.gate.Lock()
	defer p.gate.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	p.mu.Lock()
	// What was lost and could not be made good is still lost.
	p.emptied = p.emptied || lost
	lost = p.emptied
	open, blip := p.open, p.open || p.doubt
	p.mu.Unlock()
	if lost || !open {
		var ok bool
		if lost, ok = p.refence(ctx, lost); !ok {
			return
		}
	}
	if lost {
		if err := p.findStale(ctx); err != nil {
			if ctx.Err() == nil {
				p.failing(err)
			}
			return
		}
		p.mu.Lock()
		p.emptied = false
		p.mu.Unlock()
	}
	longest := p.pauses.next
	switch {
	case lost:
		longest = p.pauses.first
	case blip:
		longest = 0 // there was no outage: no other node is at it, too
	}
	p.assertBehind(ctx, longest)
}

// findStale finds what Redis has of this node and should not: an old dump brought it
// back, or a removal was lost in a failover.
func (p *presence) findStale(ctx context.Context) error {
	_, err := p.walk(ctx, p.names.nodeUsers+p.node, func(users []string) (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, u := range users {
			p.mirror.behind[u] = struct{}{}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	_, err = p.walk(ctx, p.names.nodeProjs+p.node, func(projects []string) (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, id := range projects {
			p.mirror.behindProjects[id] = struct{}{}
		}
		return true, nil
	})
	return err
}

// refence makes a new fence and opens Redis. It reports whether everything has to be
// asserted: Redis did not know the last fence of this process, or the caller says so.
func (p *presence) refence(ctx context.Context, lost bool) (all, ok bool) {
	p.mu.Lock()
	if p.open {
		p.suspect(errAway)
	}
	p.fences++
	number := strconv.FormatUint(p.fences, 10)
	p.mu.Unlock()
	n, err := p.runFence(ctx, number)
	if err == nil && n[0] < 0 {
		err = errFenced
	}
	if err != nil {
		if ctx.Err() == nil {
			p.mu.Lock()
			p.shut(err)
			p.mu.Unlock()
			p.failing(unavailable(err))
		}
		return false, false
	}
	p.sawRevision(uint64(n[2]))
	lost = lost || n[1] == 0
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false, false
	}
	if lost {
		p.emptied = true
		p.mirror.allBehind()
	}
	p.fence = p.process + "." + number
	// To tell everything again takes a while, for which no query can wait.
	p.turn(true, false, p.doubt && !lost)
	p.resume()
	return lost, true
}

// runFence makes a fence. The first revision of all is the time in microseconds, so
// that one which a client remembers from before Redis was emptied is older.
func (p *presence) runFence(ctx context.Context, number string) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	cmd := pipeline(ctx, p.client, []evaluation{{
		p.scripts.fence, []string{p.names.fence + p.node, p.names.rev},
		[]any{p.process, number, p.least(), p.now().UnixMicro()},
	}})[0]
	n, _, err := numbers(cmd, 3)
	if err == nil && len(n) != 3 && (len(n) == 0 || n[0] >= 0) {
		err = errShape
	}
	return n, err
}

// assertBehind tells Redis what it may not know, a part at a time, and the first after
// a pause.
func (p *presence) assertBehind(ctx context.Context, longest time.Duration) {
	for asserted := 0; ; longest = p.pauses.next {
		p.mu.Lock()
		if !p.open || ctx.Err() != nil {
			p.mu.Unlock()
			return
		}
		if len(p.mirror.behind)+len(p.mirror.behindProjects) == 0 {
			p.turn(true, true, false)
			p.mu.Unlock()
			if asserted > 0 {
				p.log.Info("redis knows again who is online", "asserted", asserted)
			}
			return
		}
		p.mu.Unlock()
		if !pause(ctx, longest) {
			return
		}
		n, ok := p.assertSome(ctx)
		if asserted += n; !ok {
			return
		}
		if n == 0 {
			// What is left is refused for a reason of its own, which waiting
			// does not mend.
			p.mu.Lock()
			if p.open {
				p.turn(true, true, false)
			}
			p.mu.Unlock()
			return
		}
	}
}

// assertSome tells Redis a part, and waits for the answers. It counts what was taken,
// and reports false when Redis is away or ctx ended.
func (p *presence) assertSome(ctx context.Context) (taken int, ok bool) {
	p.mu.Lock()
	if !p.open {
		p.mu.Unlock()
		return 0, false
	}
	var calls []*call
	for user := range p.mirror.behind {
		if len(calls) == assertAtOnce {
			break
		}
		calls = append(calls, p.assert(&call{change: &change{user: user}}))
	}
	if on, off := p.behindProjects(assertAtOnce); len(on)+len(off) > 0 {
		calls = append(calls, p.interest(on, off))
	}
	p.mu.Unlock()
	for _, c := range calls {
		select {
		case <-c.done:
		case <-ctx.Done():
			return taken, false
		}
		if errors.Is(c.err, storage.ErrUnavailable) {
			continue
		}
		if c.err != nil {
			p.log.Warn("redis did not take a state", "error", c.err)
			continue
		}
		taken++
		if c.change != nil {
			p.metrics.asserted.Inc()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return taken, p.open
}

// behindProjects takes projects of whose users Redis may know something else.
func (p *presence) behindProjects(most int) (on, off []string) {
	for id := range p.mirror.behindProjects {
		if len(on)+len(off) == most {
			break
		}
		delete(p.mirror.behindProjects, id)
		if p.mirror.projects[id] > 0 {
			on = append(on, id)
		} else {
			off = append(off, id)
		}
	}
	return on, off
}

// interest queues what this node says of projects; mu is held, and Redis is open.
func (p *presence) interest(on, off []string) *call {
	e := p.interestOf(p.fence, p.node, on, off)
	return p.enqueue(&call{evaluation: e, interest: append(on, off...)})
}

func (p *presence) interestOf(fence, node string, on, off []string) evaluation {
	args := []any{fence, node, p.names.nodesOf, len(on)}
	for _, list := range [][]string{on, off} {
		for _, id := range list {
			args = append(args, id)
		}
	}
	return evaluation{p.scripts.interest, []string{p.names.fence + node, p.names.nodeProjs + node}, args}
}

// pause waits for a random time; it reports false when ctx ended.
func pause(ctx context.Context, longest time.Duration) bool {
	t := time.NewTimer(rand.N(longest + 1))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
