package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"time"

	"rollcall/storage"
)

const (
	// pollEvery is how soon the changes of other processes are seen.
	pollEvery = 100 * time.Millisecond
	// changesAtOnce is how many changes are held in memory.
	changesAtOnce = 500
)

// numbered is a change with its place in the order of commits.
type numbered struct {
	seq int64
	storage.Change
}

// Watch implements storage.Watcher. Changes of this process are told as soon as
// they are committed, those of others within pollEvery. It returns an error
// when the store is closed and when f is so slow that changes were forgotten
// before they were told (see keepRows).
func (s *Store) Watch(ctx context.Context, f func(storage.Change)) error {
	if ctx.Err() != nil {
		return nil
	}
	told, err := s.number(ctx, queryLastChange)
	if err != nil {
		return watchEnd(ctx, err)
	}
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	failing := false
	for {
		// Asked for before reading: what is committed after that wakes us.
		committed := s.commits.nextCommit()
		var err error
		told, err = s.tell(ctx, told, f)
		if err = watchEnd(ctx, err); err != nil && (err == errClosed || !errors.Is(err, storage.ErrUnavailable)) {
			return err
		}
		// What is unavailable now may be back at the next poll.
		if failing != (err != nil) {
			failing = err != nil
			s.log.WarnContext(ctx, "changes cannot be read, or can be again", "failing", failing, "error", err)
		}
		select {
		case <-committed:
		case <-poll.C:
		case <-s.closed:
			return errClosed
		case <-ctx.Done():
			return nil
		}
	}
}

// watchEnd is what a failure means to Watch: nothing once ctx has ended.
func watchEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// tell calls f for the changes after told and returns the last one told.
func (s *Store) tell(ctx context.Context, told int64, f func(storage.Change)) (int64, error) {
	for {
		changes, err := s.changesAfter(ctx, told)
		if err != nil || len(changes) == 0 {
			return told, err
		}
		if changes[0].seq != told+1 {
			oldest, err := s.number(ctx, queryOldestChange)
			if err != nil {
				return told, err
			}
			if oldest > told+1 {
				return told, errLost
			}
		}
		for _, c := range changes {
			if err := ctx.Err(); err != nil {
				return told, err
			}
			f(c.Change)
			told = c.seq
		}
	}
}

func (s *Store) changesAfter(ctx context.Context, seq int64) (changes []numbered, err error) {
	err = s.read(ctx, queryChanges, func(row []sqldriver.Value) error {
		c := numbered{number(row[0]), storage.Change{Kind: changeKind(text(row[1])), User: text(row[2]), Project: text(row[3])}}
		if c.Kind == 0 {
			return fmt.Errorf("sqlite: change %d is a %q, which this version does not know", c.seq, text(row[1]))
		}
		changes = append(changes, c)
		return nil
	}, seq, int64(changesAtOnce))
	return changes, err
}

// changeKind is what the triggers mean by a kind; 0 when it is unknown.
func changeKind(kind string) storage.ChangeKind {
	switch kind {
	case "member-added":
		return storage.MemberAdded
	case "member-removed":
		return storage.MemberRemoved
	case "user-removed":
		return storage.UserRemoved
	case "user-changed":
		return storage.UserChanged
	case "project-removed":
		return storage.ProjectRemoved
	case "project-changed":
		return storage.ProjectChanged
	}
	return 0
}
