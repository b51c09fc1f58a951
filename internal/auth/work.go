package auth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"
)

// storeTimeout is how long a login waits for the store. With what comes after, a client
// gets temporary-auth-failure within two seconds.
const storeTimeout = 1800 * time.Millisecond

// queueTimeout is how long a login waits until there is a processor for its password. A
// client that has waited that long is better told to come back than served when it has
// gone.
const queueTimeout = 5 * time.Second

// hashMemory is what all passwords being hashed may take together, in bytes; the
// garbage collector may need as much again.
const hashMemory = 2 * maxMemory

var errBusy = errors.New("too many logins at once")

// work bounds how many passwords are hashed at the same time, first come, first served:
// one on each processor, and as many as fit in memory.
type work struct {
	slots, memory *semaphore.Weighted
}

func newWork() *work {
	return &work{semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))), semaphore.NewWeighted(hashMemory)}
}

// do calls f, which takes that much memory, when its turn has come. The error is f's, or
// why it was not called.
func (w *work) do(ctx context.Context, memory int64, f func() error) error {
	if memory == 0 && w.slots.TryAcquire(1) {
		defer w.slots.Release(1)
		return f()
	}
	waiting, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	if memory > 0 { // who wants none must not queue for it
		// Before the processor, which is then kept from nobody else.
		if err := w.memory.Acquire(waiting, memory); err != nil {
			return fmt.Errorf("%w: %w", errBusy, err)
		}
		defer w.memory.Release(memory)
	}
	if err := w.slots.Acquire(waiting, 1); err != nil {
		return fmt.Errorf("%w: %w", errBusy, err)
	}
	defer w.slots.Release(1)
	return f()
}

// matches is h.matches with the candidates for what was hashed, until one fits.
func (w *work) matches(ctx context.Context, h *hashed, password string) (ok bool, err error) {
	err = w.do(ctx, h.memory, func() (err error) {
		for _, c := range candidates(password) {
			if ok, err = h.matches(c); ok || err != nil {
				break
			}
		}
		return err
	})
	return ok && err == nil, err
}
