// Package redis keeps who is online in Redis, where the product's web application
// reads it, and joins the processes that serve the same users. docs/redis-keys.md is
// the contract; every process holds the truth about its own connections in memory and
// writes it again whenever Redis may have lost it.
package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	// own is the keeper's: others that wait for an answer must not keep it from
	// renewing the lease.
	own   redis.UniversalClient
	conns *conns // of client
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
	cs := newConns()
	s := &Store{client: newPool(c, 0, cs), own: newPool(c, keeperPool, newConns()), conns: cs}
	registered := &registered{Registerer: c.Metrics}
	if c.Metrics != nil {
		c.Metrics = registered
	}
	if err := s.begin(ctx, c); err != nil {
		registered.undo()
		return nil, errors.Join(err, s.closeClients())
	}
	return s, nil
}

func (s *Store) begin(ctx context.Context, c Config) error {
	k, err := newKeeper(s.own, c)
	if err != nil {
		return fmt.Errorf("redis: metrics: %w", err)
	}
	metrics, err := newPresenceMetrics(c.Metrics)
	if err != nil {
		return fmt.Errorf("redis: metrics: %w", err)
	}
	k.moved = s.conns.cut
	if err := k.take(ctx); err != nil {
		return err
	}
	s.keeper, s.bus = k, newBus(s.client, s.own, c, k)
	s.presence = newPresence(s.client, c, metrics, k.failed)
	s.keeper.start(s.presence)
	if err := s.cleanUntil(ctx); err != nil {
		err = errors.Join(err, s.presence.close(ctx))
		s.keeper.stop()
		err = errors.Join(err, s.keeper.leave(context.WithoutCancel(ctx)))
		return fmt.Errorf("redis: cleaning up after the last process: %w", err)
	}
	return nil
}

// cleanUntil cleans up as soon as Redis can be written, at the end of ctx at the latest.
func (s *Store) cleanUntil(ctx context.Context) error {
	for {
		err := s.clean(ctx)
		if err == nil || !errors.Is(err, storage.ErrUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(probeAfter(s.keeper.every)):
		}
	}
}

// Close stops what runs in the background, removes this node's rows and gives the
// lease back last. It returns when ctx ends; what is left then is removed by the other
// nodes when the lease has run out.
func (s *Store) Close(ctx context.Context) error {
	err := s.presence.close(ctx)
	s.keeper.stop()
	return errors.Join(err, s.keeper.leave(ctx), s.closeClients())
}

func (s *Store) closeClients() error { return errors.Join(s.client.Close(), s.own.Close()) }
