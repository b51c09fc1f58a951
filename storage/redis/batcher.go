package redis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"rollcall/storage"
)

// One pipeline is on its way at a time, so that calls keep their order and those that
// come meanwhile share the next. It has at most so many scripts, and so many arguments:
// Redis serves nobody else while a script runs, and has to answer within the time-out.
const (
	batchScripts = 500
	batchArgs    = 10_000
)

// call is a script on its way.
type call struct {
	evaluation
	change   *change   // of a user, or
	interest []string  // of these projects
	nodes    bool      // are asked for
	begun    time.Time // when somebody began to wait who may wait for a second try
	again    bool      // this is the second try

	done    chan struct{} // closed when there is an answer
	answer  storage.PresenceChange
	repairs repairs
	err     error
}

// repairs are what a script found wrong. Which of them were to be expected is for the
// caller to say.
type repairs struct {
	rows, members, states, nodes int
}

// enqueue hands a call to the batcher; mu is held.
func (p *presence) enqueue(c *call) *call {
	if c.done == nil {
		c.done = make(chan struct{})
	}
	p.queue = append(p.queue, c)
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return c
}

// run sends what is queued.
func (p *presence) run() {
	for {
		select {
		case <-p.life.Done():
			return
		case <-p.wake:
		}
		for calls := p.take(); len(calls) > 0; calls = p.take() {
			p.send(calls)
		}
	}
}

// take removes the next pipeline from the queue.
func (p *presence) take() []*call {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, args := 0, 0
	for n < len(p.queue) && n < batchScripts {
		args += len(p.queue[n].args)
		if n > 0 && args > batchArgs {
			break
		}
		n++
	}
	calls := p.queue[:n:n]
	p.queue = p.queue[n:]
	if len(p.queue) == 0 {
		p.queue = nil
	}
	return calls
}

func (p *presence) send(calls []*call) {
	list := make([]evaluation, len(calls))
	for i, c := range calls {
		list[i] = c.evaluation
	}
	ctx, cancel := context.WithTimeout(p.life, p.timeout)
	begun := time.Now()
	cmds := pipeline(ctx, p.client, list)
	cancel()
	p.metrics.pipelines.Observe(time.Since(begun).Seconds())
	p.metrics.scripts.Add(float64(len(calls)))

	failure := p.answered(calls, cmds)
	if failure != nil && p.life.Err() == nil {
		p.failing(failure)
	}
}

// answered takes the answers to calls, and returns why the keeper has to look.
func (p *presence) answered(calls []*call, cmds []*redis.Cmd) (failure error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var kept []*call
	for i, c := range calls {
		c.read(cmds[i])
		if c.err == nil {
			p.sawRevision(c.answer.Rev)
			close(c.done)
			continue
		}
		p.missed(c)
		if errors.Is(c.err, storage.ErrUnavailable) {
			// An older fence was refused: Redis is open again since. While it is not,
			// somebody has asked already.
			if p.open && c.args[0] == p.fence {
				failure = c.err
				p.suspect(failure)
			}
			if p.worthwhile(c) {
				kept = append(kept, c)
				continue
			}
		}
		close(c.done)
	}
	p.keep(kept)
	return failure
}

// missed notes that Redis may not have heard a call; mu is held.
func (p *presence) missed(c *call) {
	if c.change != nil {
		p.mirror.failed(c.change)
	}
	for _, id := range c.interest {
		p.mirror.behindProjects[id] = struct{}{}
	}
}

// shut ends the writing of Redis, and all calls that wait for it; mu is held.
func (p *presence) shut(cause error) {
	calls := slices.Concat(p.waiting, p.queue)
	p.waiting, p.queue = nil, nil
	p.turn(false, false, false)
	for _, c := range calls {
		c.err = unavailable(cause)
		p.missed(c)
		close(c.done)
	}
}

// read takes the answer to a call.
func (c *call) read(cmd *redis.Cmd) {
	want := 7
	if c.change == nil {
		want = 2
	}
	n, rest, err := numbers(cmd, want)
	switch {
	case err == nil && len(n) > 0 && n[0] == -1:
		c.err = unavailable(errFenced)
		return
	case err == nil && len(n) < want:
		c.err = errShape
		return
	case outage(err) || refusedInside(err) || errors.Is(err, context.Canceled):
		c.err = unavailable(err)
		return
	case err != nil:
		c.err = err
		return
	}
	if c.change == nil {
		c.repairs.nodes = int(n[1])
		return
	}
	c.answer = storage.PresenceChange{Old: storage.Show(n[1]), New: storage.Show(n[2]), Rev: uint64(n[3])}
	c.repairs = repairs{rows: int(n[4]), members: int(n[5]), states: int(n[6])}
	for _, v := range rest {
		if node, ok := v.(string); ok {
			c.answer.Nodes = append(c.answer.Nodes, node)
		}
	}
}

// refusedInside reports whether a script failed because the server takes no writes.
// Before Redis 7 the reason stands within the error of the script.
func refusedInside(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	for _, p := range []string{" -READONLY ", " -MISCONF ", " -OOM ", " -NOREPLICAS "} {
		if strings.Contains(reply.Error(), p) {
			return true
		}
	}
	return false
}
