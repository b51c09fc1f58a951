package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"rollcall/storage"
)

const (
	// strikes is how many operations in a row have to fail until others are not tried.
	strikes = 3
	// probeEvery and probeTime are how often, and for how long, a server that does not
	// answer is tried.
	probeEvery = 250 * time.Millisecond
	probeTime  = time.Second
)

var errDown = fmt.Errorf("mongo: %w: it did not answer lately", storage.ErrUnavailable)

// health knows whether MongoDB answers. While it does not, operations fail at once
// and one goroutine tries, so that waiting callers do not pile up.
type health struct {
	ping func(context.Context) error
	run  func(func(context.Context)) // runs a goroutine until the store is closed
	log  *slog.Logger
	down string // what is logged when it does not

	mu       sync.Mutex
	failures int
	since    time.Time // zero while it answers
}

// up is nil while MongoDB answers.
func (h *health) up() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.since.IsZero() {
		return errDown
	}
	return nil
}

// note learns from the result of an operation.
func (h *health) note(err error) {
	if err != nil && !unreachable(err) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.failures = 0
		return
	}
	if h.failures++; h.failures < strikes || !h.since.IsZero() {
		return
	}
	h.since = time.Now()
	h.log.Warn(h.down, "error", err)
	h.run(h.probe)
}

// probe tries until MongoDB answers.
func (h *health) probe(ctx context.Context) {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		try, cancel := context.WithTimeout(ctx, probeTime)
		err := h.ping(try)
		cancel()
		if err == nil {
			break
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log.Info("MongoDB answers again", "after", time.Since(h.since).String())
	h.failures, h.since = 0, time.Time{}
}

// unreachable reports whether an error says nothing about what was asked: anything but
// a server's refusal.
func unreachable(err error) bool {
	var refused driver.CommandError
	return !errors.As(err, &refused) || driver.IsTimeout(err) || driver.IsNetworkError(err)
}
