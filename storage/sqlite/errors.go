package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"rollcall/storage"
)

// errClosed is what everything returns once the store is closed.
var errClosed = fmt.Errorf("sqlite: %w: the store is closed", storage.ErrUnavailable)

// errLost ends a Watch that was slower than changes are kept.
var errLost = errors.New("sqlite: changes were dropped before they were told")

// failure turns what the driver says into the errors of package storage. ctx is
// that of the call: once it has ended, its error is the answer.
func (s *Store) failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	select {
	case <-s.closed:
		return errClosed
	default:
	}
	if kind := kindOf(err); kind != nil {
		return fmt.Errorf("sqlite: %w: %w", kind, err)
	}
	return err
}

func notFound(what, id string) error { return fmt.Errorf("%w: %s %q", storage.ErrNotFound, what, id) }
func exists(what, id string) error   { return fmt.Errorf("%w: %s %q", storage.ErrExists, what, id) }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", storage.ErrInvalid, fmt.Sprintf(format, args...))
}

// kindOf is the sentinel that a driver's error stands for; nil when it stands
// for none, as a damaged file does.
func kindOf(err error) error {
	switch code := codeOf(err); code {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return storage.ErrExists
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return storage.ErrNotFound
	default:
		switch code & 0xff {
		case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
			return storage.ErrInvalid
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
			sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_READONLY,
			sqlite3.SQLITE_PERM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_ABORT:
			return storage.ErrUnavailable
		}
	}
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) {
		return storage.ErrUnavailable
	}
	return nil
}

// codeOf is SQLite's extended result code; 0 when the error is not SQLite's.
func codeOf(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Code()
	}
	return 0
}

func isBusy(err error) bool         { return codeOf(err)&0xff == sqlite3.SQLITE_BUSY }
func isNotADatabase(err error) bool { return codeOf(err)&0xff == sqlite3.SQLITE_NOTADB }
