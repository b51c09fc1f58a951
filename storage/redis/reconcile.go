package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A reconciliation looks at so many users and projects of this node, and at so many
// keys and members of online sets of everybody's. Each repair is one script that looks
// again, so that it does not undo what happens meanwhile.
const (
	reconcileOwn     = 1000
	reconcileKeys    = 50_000
	reconcileMembers = 50_000
	reconcileAtOnce  = 100
)

// scanner is how far earlier reconciliations came.
type scanner struct {
	keys, users, projects uint64
}

// reconcileAtTimes reconciles after each interval, some tenths more or less, so that
// nodes started at once spread.
func (p *presence) reconcileAtTimes() {
	for {
		t := time.NewTimer(p.every*9/10 + rand.N(p.every/5+1))
		select {
		case <-p.life.Done():
			t.Stop()
			return
		case <-t.C:
		}
		found, err := p.reconcile(p.life)
		if found != (repairs{}) {
			p.log.Warn("redis was repaired", "rows", found.rows, "members", found.members,
				"states", found.states, "nodes", found.nodes)
		}
		if err != nil && p.life.Err() == nil {
			p.log.Warn("redis was not reconciled", "error", err)
		}
	}
}

// reconcile repairs what it finds wrong in a part of Redis, and counts it.
func (p *presence) reconcile(ctx context.Context) (repairs, error) {
	var found repairs
	defer func() {
		for kind, n := range map[string]int{
			"row": found.rows, "member": found.members, "state": found.states, "node": found.nodes,
		} {
			p.metrics.repaired.WithLabelValues(kind).Add(float64(n))
		}
	}()
	p.mu.Lock()
	settled := p.settled
	p.mu.Unlock()
	if !settled {
		return found, unavailable(errUnsettled)
	}
	// What Redis refused for a reason of its own may be taken by now.
	p.gate.Lock()
	p.assertBehind(ctx, p.pauses.next)
	p.gate.Unlock()
	if err := p.reconcileOwn(ctx, &found); err != nil {
		return found, err
	}
	return found, p.reconcileAll(ctx, &found)
}

func (r *repairs) add(o repairs) {
	r.rows += o.rows
	r.members += o.members
	r.states += o.states
	r.nodes += o.nodes
}

// reconcileOwn compares what this node knows with Redis: a sample of its users and
// projects, and a part of those that Redis believes it has.
func (p *presence) reconcileOwn(ctx context.Context, found *repairs) error {
	users, cursor, err := p.scanSet(ctx, p.names.nodeUsers+p.node, p.scan.users)
	if err != nil {
		return err
	}
	p.scan.users = cursor
	projects, cursor, err := p.scanSet(ctx, p.names.nodeProjs+p.node, p.scan.projects)
	if err != nil {
		return err
	}
	p.scan.projects = cursor
	p.mu.Lock()
	for u := range p.mirror.users {
		if len(users) >= 2*reconcileOwn {
			break
		}
		users = append(users, u)
	}
	for id := range p.mirror.projects {
		if len(projects) >= 2*reconcileOwn {
			break
		}
		projects = append(projects, id)
	}
	p.mu.Unlock()
	for list := range slices.Chunk(users, reconcileAtOnce) {
		if err := p.assertAgain(ctx, found, list, nil); err != nil {
			return err
		}
	}
	for list := range slices.Chunk(projects, reconcileAtOnce) {
		if err := p.assertAgain(ctx, found, nil, list); err != nil {
			return err
		}
	}
	return nil
}

// assertAgain asserts what Redis should know already.
func (p *presence) assertAgain(ctx context.Context, found *repairs, users, projects []string) error {
	p.mu.Lock()
	if !p.open {
		p.mu.Unlock()
		return unavailable(errAway)
	}
	var calls, expected []*call
	for _, u := range users {
		_, behind := p.mirror.behind[u]
		c := p.assert(&call{change: &change{user: u, fresh: true}})
		if behind {
			expected = append(expected, c)
		} else {
			calls = append(calls, c)
		}
	}
	if len(projects) > 0 {
		var on, off []string
		for _, id := range projects {
			if p.mirror.projects[id] > 0 {
				on = append(on, id)
			} else {
				off = append(off, id)
			}
			delete(p.mirror.behindProjects, id)
		}
		calls = append(calls, p.interest(on, off))
	}
	p.mu.Unlock()
	var failure error
	for _, c := range append(expected, calls...) {
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		failure = errors.Join(failure, c.err)
	}
	for _, c := range calls {
		found.add(c.repairs)
	}
	return failure
}

// reconcileAll goes on through all keys where the last reconciliation stopped.
func (p *presence) reconcileAll(ctx context.Context, found *repairs) error {
	members := reconcileMembers
	for seen := 0; seen < reconcileKeys; {
		keys, cursor, err := p.scanKeys(ctx)
		if err != nil {
			return err
		}
		seen += 1000
		k := p.sort(keys)
		if err := p.repairUsers(ctx, found, k.users); err != nil {
			return err
		}
		for _, id := range k.online {
			if members <= 0 {
				break
			}
			n, err := p.repairMembers(ctx, found, id)
			if err != nil {
				return err
			}
			members -= n
		}
		if err := p.repairNodes(ctx, found, k.nodesOf); err != nil {
			return err
		}
		for node := range k.nodes {
			if err := p.buryUnknown(ctx, found, node); err != nil {
				return err
			}
		}
		if p.scan.keys = cursor; cursor == 0 {
			return nil
		}
	}
	return nil
}

func (p *presence) scanKeys(ctx context.Context) ([]string, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	keys, cursor, err := p.client.Scan(ctx, p.scan.keys, "", 1000).Result()
	return keys, cursor, reapError(err)
}

// sorted is what keys are about.
type sorted struct {
	users           map[string]struct{}
	online, nodesOf []string // projects
	nodes           map[string]struct{}
}

func (p *presence) sort(keys []string) sorted {
	k := sorted{users: make(map[string]struct{}), nodes: make(map[string]struct{})}
	n := &p.names
	for _, key := range keys {
		if id, ok := strings.CutPrefix(key, n.online); ok {
			k.online = append(k.online, id)
		} else if id, ok := strings.CutPrefix(key, n.nodesOf); ok {
			k.nodesOf = append(k.nodesOf, id)
		}
		for _, prefix := range []string{n.state, n.rows, n.projects} {
			if id, ok := strings.CutPrefix(key, prefix); ok {
				k.users[id] = struct{}{}
			}
		}
		for _, prefix := range []string{n.nodeUsers, n.nodeProjs, n.fence} {
			if id, ok := strings.CutPrefix(key, prefix); ok {
				k.nodes[id] = struct{}{}
			}
		}
	}
	return k
}

// repairUsers makes everything follow from rows, and removes those of unknown nodes.
func (p *presence) repairUsers(ctx context.Context, found *repairs, users map[string]struct{}) error {
	list := make([]evaluation, 0, len(users))
	n := &p.names
	for u := range users {
		keys := []string{n.rows + u, n.state + u, n.projects + u, n.rev, n.nodes}
		list = append(list, evaluation{p.scripts.user, keys, []any{u, n.online, n.lease}})
	}
	return p.repair(ctx, list, func(n []int64) {
		found.add(repairs{rows: int(n[0]), members: int(n[1]), states: int(n[2])})
	}, 3)
}

// repairMembers removes from an online set who is not online, and counts the members.
func (p *presence) repairMembers(ctx context.Context, found *repairs, project string) (seen int, err error) {
	n := &p.names
	_, err = p.walk(ctx, n.online+project, func(users []string) (bool, error) {
		seen += len(users)
		args := []any{project, n.rows, n.projects}
		for _, u := range users {
			args = append(args, u)
		}
		err := p.repair(ctx, []evaluation{{p.scripts.members, []string{n.online + project}, args}}, func(n []int64) {
			found.members += int(n[0])
		}, 1)
		return err == nil && seen < reconcileMembers, err
	})
	return seen, err
}

// repairNodes removes from projects' node sets who has no users of them.
func (p *presence) repairNodes(ctx context.Context, found *repairs, projects []string) error {
	list := make([]evaluation, len(projects))
	n := &p.names
	for i, id := range projects {
		list[i] = evaluation{p.scripts.nodes, []string{n.nodesOf + id, n.nodes}, []any{id, n.lease, n.nodeProjs}}
	}
	return p.repair(ctx, list, func(n []int64) { found.nodes += int(n[0]) }, 1)
}

// repair runs scripts a part at a time, and reads the numbers they answer.
func (p *presence) repair(ctx context.Context, list []evaluation, add func([]int64), want int) error {
	for some := range slices.Chunk(list, reconcileAtOnce) {
		within, cancel := context.WithTimeout(ctx, p.timeout)
		cmds := pipeline(within, p.client, some)
		cancel()
		for _, cmd := range cmds {
			n, _, err := numbers(cmd, want)
			if err == nil && len(n) < want {
				err = errShape
			}
			if err != nil {
				return reapError(err)
			}
			add(n)
		}
	}
	return nil
}

// buryUnknown removes what is left of a node that nobody knows any more.
func (p *presence) buryUnknown(ctx context.Context, found *repairs, node string) error {
	if node == p.node {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, p.timeout)
	known, err := p.client.SIsMember(within, p.names.nodes, node).Result()
	cancel()
	if err != nil || known {
		return reapError(err)
	}
	n, err := p.bury(ctx, node, "dead")
	found.rows += n
	return err
}
