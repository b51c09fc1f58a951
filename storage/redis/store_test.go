package redis_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"rollcall/internal/redistest"
	"rollcall/storage"
	"rollcall/storage/redis"
	"rollcall/storage/storagetest"
)

func TestBus(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	storagetest.Bus(t, func(t *testing.T, name string) storage.Bus { return open(t, config(t, s, name)) })
}

// config is a node's with a short lease, yet long enough for a busy machine.
func config(t testing.TB, s *redistest.Server, node string) redis.Config {
	return redis.Config{
		Addresses: []string{s.Addr()}, Node: node, Lease: 3 * time.Second,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// open opens a store that the end of the test closes.
func open(t testing.TB, c redis.Config) *redis.Store {
	t.Helper()
	s, err := redis.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *redis.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}
