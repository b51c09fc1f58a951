// Package redis keeps who is online in Redis, where the product's web application
// reads it, and joins the processes that serve the same users. docs/redis-keys.md is
// the contract; every process holds the truth about its own connections in memory and
// writes it again whenever Redis may have lost it.
package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"rollcall/storage"
)

// ErrName says that another process uses this node's name.
var ErrName = errors.New("redis: the node name is in use by another process")

// Store is one node's part of what the nodes share. It implements storage.Presence
// and storage.Bus.
type Store struct {
	*presence
	*bus
	client redis.UniversalClient
	keeper *keeper
}

var (
	_ storage.Presence = (*Store)(nil)
	_ storage.Bus      = (*Store)(nil)
)

// Open connects, takes the node's lease and removes what a crashed process of that
// name left behind. It tries until ctx ends and then returns storage.ErrUnavailable;
// ErrName, Redis Cluster and refused credentials end it at once. What runs in the
// background goes on until Close.
func Open(ctx context.Context, c Config) (*Store, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	client := newClient(c)
	s, err := newStore(client, c)
	if err == nil {
		err = s.begin(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return s, nil
}

func newStore(client redis.UniversalClient, c Config) (*Store, error) {
	k, err := newKeeper(client, c)
	if err != nil {
		return nil, err
	}
	s := &Store{client: client, keeper: k, bus: newBus(client, c, k)}
	s.presence = newPresence(client, c, k.failed)
	return s, nil
}

func (s *Store) begin(ctx context.Context) error {
	if err := s.keeper.take(ctx); err != nil {
		return err
	}
	s.keeper.start(s.presence)
	if err := s.clean(ctx); err != nil {
		s.keeper.stop()
		return fmt.Errorf("redis: cleaning up after the last process: %w", err)
	}
	return nil
}

// Close stops what runs in the background, removes this node's rows and gives the
// lease back last. It returns when ctx ends; what is left then is removed by the other
// nodes when the lease has run out.
func (s *Store) Close(ctx context.Context) error {
	err := s.presence.close(ctx)
	s.keeper.stop()
	return errors.Join(err, s.keeper.leave(ctx), s.client.Close())
}
