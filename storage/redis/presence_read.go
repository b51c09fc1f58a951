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
		values = nil
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
// have that fence. One answer that does not come is no outage: f may be called twice.
func (p *presence) ask(ctx context.Context, f func(ctx context.Context, fence string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	own, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	for try := 0; ; try++ {
		fence, err := p.readable(own)
		if err == nil {
			within, cancel := context.WithTimeout(own, p.timeout)
			err = f(within, fence)
			cancel()
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, storage.ErrUnavailable):
			return err
		case errors.Is(err, errFenced) && p.refenced(fence):
			try-- // the answer came from behind a new fence
		case errors.Is(err, errFenced) || outage(err):
			p.failing(err)
			if try > 0 || errors.Is(err, errFenced) || own.Err() != nil {
				return unavailable(err)
			}
		default:
			return err
		}
	}
}

// refenced reports whether there is another fence by now.
func (p *presence) refenced(fence string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.doubt || p.fence != fence
}

// readable waits, while it is in doubt, until Redis knows everything, and returns the
// fence.
func (p *presence) readable(ctx context.Context) (fence string, err error) {
	for {
		p.mu.Lock()
		fence, open, settled, doubt, news := p.fence, p.open, p.settled, p.doubt, p.news
		p.mu.Unlock()
		switch {
		case open && settled:
			return fence, nil
		case open && !doubt:
			return "", unavailable(errUnsettled)
		case !doubt:
			return "", unavailable(errAway)
		}
		select {
		case <-news:
		case <-ctx.Done():
			return "", unavailable(errSlow)
		}
	}
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
