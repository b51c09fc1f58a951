package sqlite

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"time"

	"rollcall/storage"
)

// Keep implements storage.Spool.
func (s *Store) Keep(ctx context.Context, limit storage.KeepLimit, list ...storage.Kept) ([]string, error) {
	for _, k := range list {
		if err := k.Check(); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return nil, ctx.Err()
	}
	var refused []string
	err := s.write(ctx, func(st *statements) error {
		for _, k := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			kept, err := st.own.keepOne(limit, k)
			if err != nil {
				return err
			}
			if !kept {
				refused = append(refused, k.ID)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return refused, nil
}

// keepOne stores a message, and says whether it is there now.
func (s *ownStatements) keepOne(limit storage.KeepLimit, k storage.Kept) (bool, error) {
	size := int64(len(k.Data))
	for first := true; ; first = false {
		messages, bytes, err := twoNumbers(s.keptTotals, k.User)
		if err != nil {
			return false, err
		}
		if limit.Fits(messages+1, bytes+size) {
			_, err := exec(s.keep, k.User, k.ID, k.At.UnixMilli(), k.Data)
			return true, err
		}
		if first {
			var one int
			if err := s.isKept.QueryRow(k.User, k.ID).Scan(&one); !errors.Is(err, sql.ErrNoRows) {
				return true, err
			}
		}
		if !limit.DropOldest || !limit.Fits(1, size) {
			return false, nil
		}
		if _, err := exec(s.dropOldest, k.User); err != nil {
			return false, err
		}
	}
}

// twoNumbers runs a query for a count and a sum; they are 0 where there is no row.
func twoNumbers(st *sql.Stmt, args ...any) (n int, sum int64, err error) {
	if err = st.QueryRow(args...).Scan(&n, &sum); errors.Is(err, sql.ErrNoRows) {
		return 0, 0, nil
	}
	return n, sum, err
}

// Waiting implements storage.Spool.
func (s *Store) Waiting(ctx context.Context, user, after string, n int) (list []storage.Kept, err error) {
	err = s.read(ctx, queryWaiting, func(row []sqldriver.Value) error {
		list = append(list, storage.Kept{User: user, ID: text(row[0]), At: time.UnixMilli(number(row[1])).UTC(), Data: blob(row[2])})
		return nil
	}, user, after, int64(max(n, 0)))
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Discard implements storage.Spool.
func (s *Store) Discard(ctx context.Context, user string, ids ...string) error {
	if len(ids) == 0 {
		return ctx.Err()
	}
	return s.writeLazily(ctx, func(st *statements) error {
		for _, id := range ids {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := exec(st.own.discard, user, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// DiscardAll implements storage.Spool.
func (s *Store) DiscardAll(ctx context.Context, user string) error {
	return s.write(ctx, func(st *statements) error {
		_, err := exec(st.own.discardAll, user)
		return err
	})
}

// CountWaiting implements storage.Spool.
func (s *Store) CountWaiting(ctx context.Context, user string) (messages int, bytes int64, err error) {
	err = s.read(ctx, queryKeptTotals, func(row []sqldriver.Value) error {
		messages, bytes = int(number(row[0])), number(row[1])
		return nil
	}, user)
	return messages, bytes, err
}
