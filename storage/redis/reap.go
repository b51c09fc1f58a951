package redis

import (
	"context"
	"fmt"
	"slices"
)

// reapAtOnce is how many users share a round trip.
const reapAtOnce = 100

// clean removes what an earlier process of this name left, and opens Redis.
func (p *presence) clean(ctx context.Context) error {
	p.gate.Lock()
	p.mu.Lock()
	p.shut(errAway)
	p.mu.Unlock()
	n, err := p.bury(ctx, p.node, "any")
	p.gate.Unlock()
	if err != nil {
		return err
	}
	if n > 0 {
		p.log.Info("removed what the last process of this name left", "rows", n)
	}
	p.reopen(ctx, true)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open {
		return unavailable(errAway)
	}
	return nil
}

// reap deletes the rows of a dead node, and says how many. Nothing is deleted once the
// node has a lease or a fence: it lives, and says itself what is true.
func (p *presence) reap(ctx context.Context, node string, _ uint64) (int, error) {
	n, err := p.bury(ctx, node, "dead")
	p.metrics.reaped.Add(float64(n))
	return n, err
}

// bury removes a node's fence, and then everything else of it while it has none. The
// fence is removed if the node is "dead", "any" way, or if it is of the process named.
func (p *presence) bury(ctx context.Context, node, how string) (rows int, err error) {
	if ok, err := p.buryStep(ctx, node, how); !ok {
		return 0, err
	}
	ok, err := p.walk(ctx, p.names.nodeUsers+node, func(users []string) (bool, error) {
		list := make([]evaluation, len(users))
		for i, u := range users {
			n := &p.names
			list[i] = evaluation{p.scripts.assert, p.assertKeys(node, u), []any{
				"", node, u, n.online, n.nodesOf, p.least(), "f", 0, 0, 0, 0, 0, 0, 0,
			}}
		}
		n, ok, err := p.unfenced(ctx, list, 4)
		rows += n
		return ok, err
	})
	if !ok {
		return rows, err
	}
	ok, err = p.walk(ctx, p.names.nodeProjs+node, func(projects []string) (bool, error) {
		_, ok, err := p.unfenced(ctx, []evaluation{p.interestOf("", node, nil, projects)}, 1)
		return ok, err
	})
	if !ok {
		return rows, err
	}
	_, err = p.buryStep(ctx, node, "drop")
	return rows, err
}

// buryStep runs bury.lua; it reports false when the node lives.
func (p *presence) buryStep(ctx context.Context, node, how string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	n := &p.names
	keys := []string{n.fence + node, n.lease + node, n.nodeUsers + node, n.nodeProjs + node}
	dead, err := pipeline(ctx, p.client, []evaluation{{p.scripts.bury, keys, []any{how}}})[0].Int()
	return dead == 1, reapError(err)
}

// unfenced runs scripts for a node without a fence, and adds up one element of the
// answers. It reports false when the node has a fence again.
func (p *presence) unfenced(ctx context.Context, list []evaluation, element int) (sum int, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	for _, cmd := range pipeline(ctx, p.client, list) {
		n, _, err := numbers(cmd, element+1)
		switch {
		case err != nil:
			return sum, false, reapError(err)
		case len(n) > element:
			sum += int(n[element])
		default:
			return sum, false, nil
		}
	}
	return sum, true, nil
}

// walk goes through a set a part at a time, until f reports false or fails. What is
// removed meanwhile does not make it miss anything that stays.
func (p *presence) walk(ctx context.Context, key string, f func(members []string) (bool, error)) (bool, error) {
	for cursor := uint64(0); ; {
		members, next, err := p.scanSet(ctx, key, cursor)
		if err != nil {
			return false, err
		}
		for some := range slices.Chunk(members, reapAtOnce) {
			if ok, err := f(some); !ok {
				return false, err
			}
		}
		if cursor = next; cursor == 0 {
			return true, nil
		}
	}
}

func (p *presence) scanSet(ctx context.Context, key string, cursor uint64) ([]string, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	members, next, err := p.client.SScan(ctx, key, cursor, "", 1000).Result()
	return members, next, reapError(err)
}

func reapError(err error) error {
	if outage(err) {
		return unavailable(err)
	}
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}
