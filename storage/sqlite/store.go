// Package sqlite keeps users, projects and memberships in one SQLite file, with
// what users own: messages that wait, roster items, documents. It
// is the embedded back end: the server and the command line may have the same
// file open at the same time, and each sees what the other changes.
//
// Writes of all callers go through one goroutine that commits those waiting
// together, so that many of them cost one fsync. A call that returned nil
// survives a crash of the process and of the machine (WAL with synchronous
// FULL); only that messages were discarded may be undone by one of the machine.
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
	// readerCount is how many reads run at once.
	readerCount = 4
	// Page caches in KiB: the writer's for imports, a reader's for the upper pages of
	// the trees. More made no query faster that could be measured, as the system caches
	// the file anyway, and stays for ever in each connection.
	writerCache = 1024
	readerCache = 128
	// busyTimeout is how long a write waits for another process that writes.
	busyTimeout = 5 * time.Second
	// readerWait is how long a read waits for another process that repairs the file
	// after a crash, or moves its log away: nothing else keeps a read waiting.
	readerWait = time.Second
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

	writer  *sql.DB
	readers readers
	commits *committer

	closed   chan struct{}
	closing  sync.Once
	closeErr error
}

var (
	_ storage.Users     = (*Store)(nil)
	_ storage.Projects  = (*Store)(nil)
	_ storage.Admin     = (*Store)(nil)
	_ storage.Watcher   = (*Store)(nil)
	_ storage.Spool     = (*Store)(nil)
	_ storage.Rosters   = (*Store)(nil)
	_ storage.Documents = (*Store)(nil)
	_ storage.Owners    = (*Store)(nil)
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
	if s.writer, err = sql.Open("sqlite", dataSource(s.path, writerCache, busyTimeout, "_txlock=immediate")); err != nil {
		return err
	}
	s.writer.SetMaxOpenConns(1)
	if err := migrate(ctx, s.writer, migrations()); err != nil {
		return s.opening(ctx, err)
	}
	if s.readers, err = openReaders(ctx, s.path, readerCount); err != nil {
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

// dataSource names the file for the driver, with what a connection to it is like.
func dataSource(path string, cache int, busy time.Duration, extra string) string {
	pragmas := []string{
		"busy_timeout(" + strconv.FormatInt(busy.Milliseconds(), 10) + ")",
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
	return name.String()
}

// findMechanisms finds what the credentials there are can serve. Without plain
// passwords nothing is stored later that serves less.
func (s *Store) findMechanisms(ctx context.Context) error {
	if s.plainPasswords {
		return nil
	}
	lacking := make(map[string]int64)
	for _, m := range knownMechanisms() {
		n, err := s.number(ctx, queryLacking, m)
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
	errs = append(errs, s.readers.close())
	// The writer goes last: the last connection to a file cleans up its WAL.
	if s.writer != nil {
		errs = append(errs, s.writer.Close())
	}
	return errors.Join(errs...)
}
