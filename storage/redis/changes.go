package redis

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"
)

// changesChannel is where the nodes, all of them, are told that a project changed: one
// id in each message, or nothing for any project. The product may publish there itself.
func changesChannel(prefix string) string { return prefix + "changed" }

// maxChanges is how many projects may wait; beyond it they become any project.
const maxChanges = 1000

// maxChange bounds the id of a project in bytes, that of a JID's local part.
const maxChange = 1023

// Announce tells all nodes which projects changed, "" standing for any, and returns how
// many nodes heard it. The configuration needs no node, and no lease is taken.
func Announce(ctx context.Context, c Config, projects ...string) (nodes int, err error) {
	fill(&c.Node, "announcer")
	if c, err = c.withDefaults(); err != nil {
		return 0, err
	}
	client := newClient(c)
	defer func() { err = errors.Join(err, client.Close()) }()
	pipe := client.Pipeline()
	heard := make([]*redis.IntCmd, len(projects))
	for i, p := range projects {
		heard[i] = pipe.Publish(ctx, changesChannel(c.Keys.Prefix), p)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, unavailable(err)
	}
	for _, h := range heard {
		nodes = max(nodes, int(h.Val()))
	}
	return nodes, nil
}

// Announcements calls f for every project that is announced, one at a time, until ctx
// ends; then it returns nil. Of several announcements of one project that wait, one is
// told. f is told "" when any project may have changed, also because announcements may
// have been missed.
func (s *Store) Announcements(ctx context.Context, f func(project string)) error {
	sub := s.client.Subscribe(ctx, changesChannel(s.keeper.prefix))
	var w waiting
	w.more = make(chan struct{}, 1)
	var worker sync.WaitGroup
	worker.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.more:
			}
			for p, ok := w.take(); ok && ctx.Err() == nil; p, ok = w.take() {
				f(p)
			}
		}
	})
	defer worker.Wait()
	first := true
	in := sub.ChannelWithSubscriptions()
	for {
		select {
		case <-ctx.Done():
			return sub.Close()
		case m := <-in:
			switch m := m.(type) {
			case *redis.Subscription:
				// Those after the first follow a broken connection.
				if !first {
					w.add("")
				}
				first = false
			case *redis.Message:
				if len(m.Payload) <= maxChange {
					w.add(m.Payload)
				}
			}
		}
	}
}

// waiting holds the projects that wait to be told.
type waiting struct {
	mu       sync.Mutex
	projects map[string]struct{}
	more     chan struct{}
}

func (w *waiting) add(project string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.projects) == maxChanges {
		project = ""
	}
	if w.projects == nil || project == "" {
		w.projects = make(map[string]struct{})
	}
	w.projects[project] = struct{}{}
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *waiting) take() (project string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.projects {
		delete(w.projects, p)
		return p, true
	}
	return "", false
}
