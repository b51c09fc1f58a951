package projects_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"rollcall/storage"
)

// fragile is a presence store that can be made to fail.
type fragile struct {
	storage.Presence
	broken atomic.Bool
}

func (f *fragile) err() error {
	if f.broken.Load() {
		return fmt.Errorf("%w: on purpose", storage.ErrUnavailable)
	}
	return nil
}

func (f *fragile) Set(ctx context.Context, c storage.ConnState, projects []string) (storage.PresenceChange, error) {
	if err := f.err(); err != nil {
		return storage.PresenceChange{}, err
	}
	return f.Presence.Set(ctx, c, projects)
}

func (f *fragile) Remove(ctx context.Context, user, conn string) (storage.PresenceChange, error) {
	if err := f.err(); err != nil {
		return storage.PresenceChange{}, err
	}
	return f.Presence.Remove(ctx, user, conn)
}

func (f *fragile) Join(ctx context.Context, user, project string) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Presence.Join(ctx, user, project)
}

func (f *fragile) Leave(ctx context.Context, user, project string) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Presence.Leave(ctx, user, project)
}

func (f *fragile) Status(ctx context.Context, users []string) ([]storage.Show, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.Presence.Status(ctx, users)
}

func (f *fragile) OnlineIn(ctx context.Context, project string) ([]storage.OnlineUser, uint64, error) {
	if err := f.err(); err != nil {
		return nil, 0, err
	}
	return f.Presence.OnlineIn(ctx, project)
}
