// Package sqlite keeps users, projects and memberships in one SQLite file. It
// is the embedded back end: the server and the command line may have the same
// file open at the same time, and each sees what the other changes.
//
// Writes of all callers go through one goroutine that commits those waiting
// together, so that many of them cost one fsync. A call that returned nil
// survives a crash of the process and of the machine (WAL with synchronous
// FULL).
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"rollcall/storage"
)

const (
	// readers is how many reads run at once.
	readers = 4
	// Page caches in KiB: 1024 + 4*512 + 128 in all. Tables of many thousand
	// users are smaller than that, and the system caches the file anyway.
	writerCache = 1024
	readerCache = 512
	watchCache  = 128
	// busyTimeout is how long a write waits for another process that writes.
	busyTimeout = 5 * time.Second
	// walLimit is the size in bytes to which the -wal file is cut back after it
	// grew in a large import.
	walLimit = 16 << 20
)

// Options say which file to open and what may be in it.
type Options struct {
	// Path is the database file. It is created with mode 0600, its folder with
	// mode 0700, when missing.
	Path string
	// PlainPasswords allows credentials that hold the password itself. No SCRAM
	// mechanism is offered then, because the keys may be missing.
	PlainPasswords bool
	// Log receives what went wrong without failing a call; nil for none of it.
	Log *slog.Logger
}

// Store is an open file. It is safe for concurrent use.
type Store struct {
	path           string
	log            *slog.Logger
	plainPasswords bool
	mechanisms     []string

	writer, reader, watcher *sql.DB
	reads                   reads
	commits                 *committer

	closed   chan struct{}
	closing  sync.Once
	closeErr error
}

var (
	_ storage.Users    = (*Store)(nil)
	_ storage.Projects = (*Store)(nil)
	_ storage.Admin    = (*Store)(nil)
	_ storage.Watcher  = (*Store)(nil)
)

// Open opens the file, creates it when it is missing and brings its tables up
// to date. A file that is no database, belongs to another program or was
// written by a newer version is an error. ctx ends the opening, not the store.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{log: o.Log, plainPasswords: o.PlainPasswords, closed: make(chan struct{})}
	if err := s.open(ctx, o.Path); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: opening %s: %w", o.Path, err), s.closePools())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path string) (err error) {
	if s.path, err = prepareFile(path); err != nil {
		return err
	}
	if s.writer, err = pool(s.path, 1, writerCache, "_txlock=immediate"); err != nil {
		return err
	}
	if err := migrate(ctx, s.writer, migrations()); err != nil {
		return s.opening(ctx, err)
	}
	if s.reader, err = pool(s.path, readers, readerCache, "_pragma=query_only(1)"); err != nil {
		return err
	}
	if s.watcher, err = pool(s.path, 1, watchCache, "_pragma=query_only(1)"); err != nil {
		return err
	}
	if err := s.reads.prepare(ctx, s.reader, s.watcher); err != nil {
		return s.opening(ctx, err)
	}
	if err := s.findMechanisms(ctx); err != nil {
		return s.opening(ctx, err)
	}
	s.commits, err = startCommitter(ctx, s.writer, s.log)
	return s.opening(ctx, err)
}

// opening names the mistakes that people make with files.
func (s *Store) opening(ctx context.Context, err error) error {
	if isNotADatabase(err) {
		return fmt.Errorf("the file is no SQLite database: %w", err)
	}
	return s.failure(ctx, err)
}

// prepareFile creates the file, readable by its owner alone, and returns its
// absolute path. SQLite gives the -wal and -shm files the same mode.
func prepareFile(path string) (string, error) {
	if path == "" {
		return "", errors.New("no path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	// Only a file that nobody has open may be opened and closed here: closing
	// any descriptor of a file drops the locks that the process has on it.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		return path, f.Close()
	}
	if !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	return path, nil
}

// pool opens up to n connections that live as long as the store.
func pool(path string, n, cache int, extra string) (*sql.DB, error) {
	pragmas := []string{
		"busy_timeout(" + strconv.FormatInt(busyTimeout.Milliseconds(), 10) + ")",
		"foreign_keys(1)",
		"synchronous(FULL)",
		"cache_size(-" + strconv.Itoa(cache) + ")",
		"mmap_size(0)",
		"journal_size_limit(" + strconv.Itoa(walLimit) + ")",
		"trusted_schema(0)",
	}
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // C:/... of Windows
	}
	name := url.URL{Scheme: "file", Path: slashed, RawQuery: "_pragma=" + strings.Join(pragmas, "&_pragma=") + "&" + extra}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// findMechanisms finds what the credentials there are can serve. Without plain
// passwords nothing is stored later that serves less.
func (s *Store) findMechanisms(ctx context.Context) error {
	if s.plainPasswords {
		return nil
	}
	lacking := make(map[string]int)
	for _, m := range knownMechanisms() {
		var n int
		err := s.reader.QueryRowContext(ctx, `SELECT count(*) FROM users
			WHERE NOT EXISTS (SELECT 1 FROM scram_keys WHERE user = users.id AND mechanism = ?)`, m).Scan(&n)
		if err != nil {
			return err
		}
		lacking[m] = n
		if n == 0 {
			s.mechanisms = append(s.mechanisms, m)
		}
	}
	if len(s.mechanisms) < len(lacking) {
		s.log.WarnContext(ctx, "users lack keys of SCRAM mechanisms, which are not offered: set the passwords anew, then restart",
			"file", s.path, "users", lacking)
	}
	return nil
}

// Mechanisms implements storage.Users.
func (s *Store) Mechanisms() []string { return slices.Clone(s.mechanisms) }

// Close waits for the writes that have begun and closes the file. Everything
// called later fails, and Watch ends, with an error that wraps
// storage.ErrUnavailable.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		s.closeErr = s.closePools()
	})
	return s.closeErr
}

func (s *Store) closePools() error {
	var errs []error
	if s.commits != nil {
		errs = append(errs, s.commits.close())
	}
	// The writer goes last: the last connection to a file cleans up its WAL.
	for _, db := range []*sql.DB{s.watcher, s.reader, s.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}
