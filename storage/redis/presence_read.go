package redis

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"rollcall/storage"
)

// errUnsettled says that Redis does not know everything yet.
var errUnsettled = errors.New("it is still being told who is online")

// statusAtOnce is how many users one MGET asks for.
const statusAtOnce = 1000

// Status implements storage.Presence.
func (p *presence) Status(ctx context.Context, users []string) ([]storage.Show, error) {
	var values []any
	err := p.ask(ctx, func(ctx context.Context, fence string) error {
		cmds, err := p.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.Get(ctx, p.names.fence+p.node)
			for some := range slices.Chunk(users, statusAtOnce) {
				keys := make([]string, len(some))
				for i, u := range some {
					keys[i] = p.names.state + u
				}
				pipe.MGet(ctx, keys...)
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		for _, cmd := range cmds {
			switch cmd := cmd.(type) {
			case *redis.StringCmd:
				if cmd.Val() != fence {
					return errFenced
				}
			case *redis.SliceCmd:
				values = append(values, cmd.Val()...)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	shows := make([]storage.Show, len(users))
	for i, v := range values {
		shows[i] = show(v)
	}
	return shows, nil
}

// OnlineIn implements storage.Presence.
func (p *presence) OnlineIn(ctx context.Context, project string) ([]storage.OnlineUser, uint64, error) {
	known := p.rev.Load()
	var list []any
	err := p.ask(ctx, func(ctx context.Context, fence string) error {
		keys := []string{p.names.fence + p.node, p.names.online + project, p.names.rev}
		cmd := pipeline(ctx, p.client, []evaluation{{p.scripts.online, keys, []any{fence, p.names.state}}})[0]
		n, rest, err := numbers(cmd, 2)
		switch {
		case err != nil:
			return err
		case len(n) == 1 && n[0] == -1:
			return errFenced
		case len(n) < 2:
			return errShape
		}
		known, list = max(known, uint64(n[1])), rest
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	p.sawRevision(known)
	var users []storage.OnlineUser
	for pair := range slices.Chunk(list, 2) {
		id, ok := pair[0].(string)
		if s := show(pair[len(pair)-1]); ok && s != storage.Offline {
			users = append(users, storage.OnlineUser{ID: id, Show: s})
		}
	}
	slices.SortFunc(users, func(a, b storage.OnlineUser) int { return cmp.Compare(a.ID, b.ID) })
	return users, known, nil
}

// ask makes a query, if Redis knows everything. f returns errFenced when Redis does not
// have that fence.
func (p *presence) ask(ctx context.Context, f func(ctx context.Context, fence string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	fence, open, settled := p.fence, p.open, p.settled
	p.mu.Unlock()
	if !open {
		return unavailable(errAway)
	}
	if !settled {
		return unavailable(errUnsettled)
	}
	within, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	err := f(within, fence)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case outage(err) || errors.Is(err, errFenced):
		err = unavailable(err)
		p.failing(err)
	}
	return err
}

// show reads a state as Redis keeps it; nothing is Offline.
func show(v any) storage.Show {
	s, ok := v.(string)
	if !ok {
		return storage.Offline
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < int(storage.Offline) || n > int(storage.Leave) {
		return storage.Offline
	}
	return storage.Show(n)
}
