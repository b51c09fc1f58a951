package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"rollcall/storage"
)

// together runs writes that are all in line when the committer gets to them, so
// that they share one transaction, and returns their errors. It has to run in a
// bubble of synctest, with a store opened there.
func together(t *testing.T, s *Store, writes []func(*statements) error) []error {
	errs := make([]error, len(writes))
	first, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.write(t.Context(), func(*statements) error {
			close(first)
			<-release
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-first
	for i, w := range writes {
		wg.Go(func() { errs[i] = s.write(t.Context(), w) })
	}
	synctest.Wait()
	close(release)
	wg.Wait()
	return errs
}

// inBubble runs f with a store in a bubble of synctest.
func inBubble(t *testing.T, f func(t *testing.T, s *Store)) {
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t)
		defer func() { ok(t, s.Close()) }()
		f(t, s)
	})
}

// TestGroupCommit runs writes that wait together: they share a transaction, and
// one that fails half-way undoes what it did and nothing else.
func TestGroupCommit(t *testing.T) { inBubble(t, groupCommit) }

func groupCommit(t *testing.T, s *Store) {
	refused := errors.New("refused")
	var writes []func(*statements) error
	for i := range 100 {
		writes = append(writes, func(st *statements) error {
			// Nothing of the others is committed yet.
			if n := count(t, s, "projects"); n != 0 {
				return fmt.Errorf("%d projects are there already", n)
			}
			if err := st.insertProject(storage.Project{ID: fmt.Sprintf("p%03d", i)}); err != nil {
				return err
			}
			if i%2 == 1 {
				return refused
			}
			return nil
		})
	}
	for i, err := range together(t, s, writes) {
		if i%2 == 0 && err != nil || i%2 == 1 && !errors.Is(err, refused) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if n := count(t, s, "projects"); n != 50 {
		t.Errorf("%d projects, want 50", n)
	}
}

// TestLostTransaction ends the transaction under the writes' feet, as SQLite
// does when the disk is full: none of them holds, none was told otherwise, and
// the next ones work.
func TestLostTransaction(t *testing.T) { inBubble(t, lostTransaction) }

func lostTransaction(t *testing.T, s *Store) {
	var writes []func(*statements) error
	for i := range 20 {
		writes = append(writes, func(st *statements) error {
			if i == 10 {
				return errors.Join(s.commits.exec("ROLLBACK"), storage.ErrInvalid)
			}
			return st.insertProject(storage.Project{ID: fmt.Sprintf("p%03d", i)})
		})
	}
	for i, err := range together(t, s, writes) {
		want := storage.ErrUnavailable
		if i == 10 {
			want = storage.ErrInvalid
		}
		if !errors.Is(err, want) {
			t.Errorf("write %d: %v, want %v", i, err, want)
		}
	}
	if n := count(t, s, "projects"); n != 0 {
		t.Errorf("%d projects, want none", n)
	}
	ok(t, together(t, s, []func(*statements) error{
		func(st *statements) error { return st.insertProject(storage.Project{ID: "p"}) },
	})[0])
}

// TestWriteReturnsLate ends a context while its write runs: what the write
// refers to belongs to the caller only after that.
func TestWriteReturnsLate(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		ctx, cancel := context.WithCancel(t.Context())
		running, release, returned := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			returned <- s.write(ctx, func(*statements) error {
				close(running)
				<-release
				return ctx.Err()
			})
		}()
		<-running
		cancel()
		synctest.Wait()
		if len(returned) > 0 {
			t.Error("returned while the write was running")
		}
		close(release)
		if err := <-returned; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the context's", err)
		}
	})
}
