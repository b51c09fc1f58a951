package auth

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"rollcall/internal/jid"
	"rollcall/storage"
)

// TestWork fills the processors: the others wait, and not for ever.
func TestWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &work{semaphore.NewWeighted(2), semaphore.NewWeighted(hashMemory)}
		var now, most, done, busy atomic.Int32
		var all sync.WaitGroup
		begin := time.Now()
		for range 10 {
			all.Go(func() {
				err := w.do(t.Context(), 0, func() error {
					most.Store(max(most.Load(), now.Add(1)))
					time.Sleep(2 * time.Second)
					now.Add(-1)
					return nil
				})
				switch {
				case err == nil:
					done.Add(1)
				case errors.Is(err, errBusy):
					busy.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		// Two every two seconds, begun at 0, 2 and 4.
		if most.Load() != 2 || done.Load() != 6 || busy.Load() != 4 || time.Since(begin) != 6*time.Second {
			t.Errorf("%d at once, %d done, %d refused in %v", most.Load(), done.Load(), busy.Load(), time.Since(begin))
		}
	})
}

// TestWorkMemory sees that who waits for memory keeps nobody else from working.
func TestWorkMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &work{semaphore.NewWeighted(4), semaphore.NewWeighted(hashMemory)}
		var order []string
		var mu sync.Mutex
		var all sync.WaitGroup
		run := func(name string, memory int64, takes time.Duration) {
			all.Go(func() {
				if err := w.do(t.Context(), memory, func() error { time.Sleep(takes); return nil }); err != nil {
					t.Error(name, err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			})
			synctest.Wait()
		}
		run("big", maxMemory, 2*time.Second)
		run("second", maxMemory, 3*time.Second)
		run("third", maxMemory, time.Second/2)
		run("small", 0, time.Second)
		all.Wait()
		if got, want := order, []string{"small", "big", "third", "second"}; len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			t.Errorf("%v", order)
		}
	})
}

// TestBusy sees what a client is told when its turn does not come, and that a login ends
// with its context.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthenticator(t, hashUsers())
		a.work = &work{semaphore.NewWeighted(1), semaphore.NewWeighted(hashMemory)}
		release := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			if err := a.work.do(t.Context(), 0, func() error { <-release; return nil }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		for _, user := range []string{"pbkdf2", "nobody"} {
			begin := time.Now()
			if f := plain(t, a, user, "pencil"); conditionOf(f) != TemporaryAuthFailure || !errors.Is(f, errBusy) || time.Since(begin) != queueTimeout {
				t.Errorf("%s: %v after %v", user, f, time.Since(begin))
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, f := start(t, a, plainName).Step(ctx, encode("\x00pbkdf2\x00pencil"))
		if conditionOf(f) != TemporaryAuthFailure || !errors.Is(f, context.DeadlineExceeded) {
			t.Errorf("with a context that ends: %v", f)
		}
		close(release)
		all.Wait()
		if f := plain(t, a, "pbkdf2", "pencil"); f != nil {
			t.Errorf("afterwards: %v", f)
		}
	})
}

// stuckUsers is a store that never answers.
type stuckUsers struct{ fakeUsers }

func (u *stuckUsers) User(ctx context.Context, _ string) (storage.User, error) {
	<-ctx.Done()
	return storage.User{}, ctx.Err()
}

func (u *stuckUsers) Credentials(ctx context.Context, _ string) (storage.Credentials, error) {
	<-ctx.Done()
	return storage.Credentials{}, ctx.Err()
}

// TestStoreTimeout sees that a client is answered within two seconds when the store does
// not answer at all.
func TestStoreTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthenticator(t, &stuckUsers{fakeUsers{mechanisms: []string{scramSHA1}}})
		alice, err := jid.Parse("alice@" + testHost)
		if err != nil {
			t.Fatal(err)
		}
		for name, try := range map[string]func() *Failure{
			"PLAIN": func() *Failure { return plain(t, a, "alice", "pencil") },
			"SCRAM": func() *Failure {
				_, _, f := start(t, a, scramSHA1).Step(t.Context(), encode("n,,n=alice,r=abc"))
				return f
			},
			"Known": func() *Failure { return a.Known(t.Context(), testHost, alice) },
		} {
			begin := time.Now()
			if f := try(); conditionOf(f) != TemporaryAuthFailure || time.Since(begin) > 2*time.Second || f.Cause == nil {
				t.Errorf("%s: %v after %v", name, f, time.Since(begin))
			}
		}
	})
}
