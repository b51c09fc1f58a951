package sqlite

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"rollcall/storage"
)

func openStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(context.Background(), Options{Path: filepath.Join(t.TempDir(), "rollcall.db")})
	ok(t, err)
	return s
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, s *Store, table string) int {
	t.Helper()
	n, err := s.number(t.Context(), "SELECT count(*) FROM "+table)
	ok(t, err)
	return int(n)
}

// TestConnections asks the connections how they are set up.
func TestConnections(t *testing.T) {
	s := openStore(t)
	defer func() { ok(t, s.Close()) }()
	if cache := writerCache + readerCount*readerCache; cache > 2048 {
		t.Errorf("page caches of %d KiB, want 2 MiB at most", cache)
	}
	check := func(name string, get func(pragma string) (any, error), cache, queryOnly int, busy time.Duration) {
		for pragma, want := range map[string]any{
			"journal_mode": "wal", "synchronous": int64(2), "foreign_keys": int64(1), "busy_timeout": busy.Milliseconds(),
			"cache_size": int64(-cache), "mmap_size": int64(0), "query_only": int64(queryOnly),
		} {
			got, err := get("PRAGMA " + pragma)
			ok(t, err)
			if got != want {
				t.Errorf("%s: %s is %v, want %v", name, pragma, got, want)
			}
		}
	}
	for range readerCount {
		check("reader", func(pragma string) (got any, err error) {
			err = s.read(t.Context(), pragma, func(row []sqldriver.Value) error {
				got = row[0]
				return nil
			})
			return got, err
		}, readerCache, 1, readerWait)
	}
	check("writer", func(pragma string) (got any, err error) {
		err = writerConn{s}.QueryRow(pragma).Scan(&got)
		return got, err
	}, writerCache, 0, busyTimeout)
}

type writerConn struct{ s *Store }

func (w writerConn) QueryRow(query string, args ...any) *sql.Row {
	return w.s.commits.conn.QueryRowContext(context.Background(), query, args...)
}

// TestFull runs out of room.
func TestFull(t *testing.T) {
	s := openStore(t)
	defer func() { ok(t, s.Close()) }()
	var pages int
	ok(t, writerConn{s}.QueryRow("PRAGMA page_count").Scan(&pages))
	ok(t, s.commits.exec(fmt.Sprint("PRAGMA max_page_count = ", pages+4)))
	var err error
	added := 0
	for ; err == nil && added < 10_000; added++ {
		err = s.AddProject(t.Context(), storage.Project{ID: fmt.Sprintf("project-%d", added), Name: "of some length, so that pages fill"})
	}
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Fatalf("after %d: %v, want ErrUnavailable", added, err)
	}
	if n := count(t, s, "projects"); n != added-1 {
		t.Errorf("%d projects, want the %d that were acknowledged", n, added-1)
	}
	ok(t, s.commits.exec("PRAGMA max_page_count = 100000"))
	ok(t, s.AddProject(t.Context(), storage.Project{ID: "last"}))
}

// TestBusy has another process hold the write lock: reads go on, a write ends
// with its context and does not happen later, or is refused in the end.
func TestBusy(t *testing.T) {
	s := openStore(t)
	defer func() { ok(t, s.Close()) }()
	other, err := sql.Open("sqlite", s.path)
	ok(t, err)
	defer func() { ok(t, other.Close()) }()
	other.SetMaxOpenConns(1)
	_, err = other.Exec("BEGIN IMMEDIATE")
	ok(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.AddProject(ctx, storage.Project{ID: "late"}) }()
	if _, err := s.Project(t.Context(), "p"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Project: %v, want ErrNotFound", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("AddProject: %v, want the context's error", err)
	}
	_, err = other.Exec("ROLLBACK")
	ok(t, err)
	ok(t, s.AddProject(t.Context(), storage.Project{ID: "next"}))
	if n := count(t, s, "projects"); n != 1 {
		t.Errorf("%d projects, want the one whose caller waited", n)
	}

	ok(t, s.commits.exec("PRAGMA busy_timeout = 20"))
	_, err = other.Exec("BEGIN IMMEDIATE")
	ok(t, err)
	if err := s.AddProject(t.Context(), storage.Project{ID: "busy"}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("AddProject: %v, want ErrUnavailable", err)
	}
	_, err = other.Exec("ROLLBACK")
	ok(t, err)
	ok(t, s.AddProject(t.Context(), storage.Project{ID: "busy"}))
}

// makeChanges tells so many changes and makes them as old as age.
func makeChanges(t *testing.T, s *Store, n int, age time.Duration) {
	t.Helper()
	ok(t, s.write(t.Context(), func(*statements) error {
		return s.commits.exec(fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO changes (at, kind, user) SELECT unixepoch() - %d, 'user-changed', 'u' || i FROM n`, n, age/time.Second))
	}))
}

func TestPrune(t *testing.T) {
	s := openStore(t)
	defer func() { ok(t, s.Close()) }()
	prune := func(rows int) {
		ok(t, s.write(t.Context(), func(st *statements) error { return st.prune(rows, time.Minute) }))
	}
	makeChanges(t, s, 100, 2*time.Minute)
	makeChanges(t, s, 50, 0)
	for _, step := range []struct{ rows, left int }{{200, 150}, {150, 150}, {120, 120}, {50, 50}, {10, 50}} {
		prune(step.rows)
		if n := count(t, s, "changes"); n != step.left {
			t.Errorf("keeping %d rows and a minute: %d left, want %d", step.rows, n, step.left)
		}
	}
}

// TestPruneByItself makes more changes than are kept, and waits for transactions.
func TestPruneByItself(t *testing.T) {
	s := openStore(t)
	defer func() { ok(t, s.Close()) }()
	const keep = 100
	ok(t, s.write(t.Context(), func(*statements) error {
		s.commits.keep = keep
		return nil
	}))
	makeChanges(t, s, keep+500, 2*keepFor)
	for range pruneEvery {
		ok(t, s.write(t.Context(), func(*statements) error { return nil }))
	}
	if n := count(t, s, "changes"); n != keep {
		t.Errorf("%d changes are kept, want %d", n, keep)
	}
}

// TestWatchTooSlow forgets changes that a slow watcher was not told yet: it ends
// with an error instead of leaving them out. One that keeps up is not bothered.
func TestWatchTooSlow(t *testing.T) {
	s := openStore(t)
	defer func() { ok(t, s.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began, release := make(chan struct{}, 10_000), make(chan struct{})
	slow, fast := make(chan error, 1), make(chan error, 1)
	kept := make(chan string, 10_000)
	go func() {
		slow <- s.Watch(ctx, func(storage.Change) {
			began <- struct{}{}
			<-release
		})
	}()
	go func() { fast <- s.Watch(ctx, func(c storage.Change) { kept <- c.User }) }()
	for len(began) == 0 || len(kept) == 0 {
		makeChanges(t, s, 1, 2*time.Minute)
	}
	makeChanges(t, s, 3*changesAtOnce, 2*time.Minute)
	for u := range kept {
		if u == fmt.Sprint("u", 3*changesAtOnce) {
			break
		}
	}
	ok(t, s.write(t.Context(), func(st *statements) error { return st.prune(10, time.Minute) }))
	makeChanges(t, s, 2, 0)
	for u := range kept {
		if u == "u2" {
			break
		}
	}
	close(release)
	if err := <-slow; !errors.Is(err, errLost) {
		t.Errorf("the slow watcher ended with %v, want %v", err, errLost)
	}
	cancel()
	ok(t, <-fast)
}

// TestTriggers changes the file as other programs may, without foreign keys.
func TestTriggers(t *testing.T) {
	s := openStore(t)
	defer func() { ok(t, s.Close()) }()
	other, err := sql.Open("sqlite", s.path)
	ok(t, err)
	_, err = other.Exec(`
		INSERT INTO users (id, name, plain) VALUES ('ann', 'Ann', 'x');
		INSERT INTO projects (id, name) VALUES ('p1', 'One'), ('p2', 'Two');
		INSERT INTO members (project, user) VALUES ('p1', 'ann'), ('p2', 'ann');
		UPDATE users SET name = 'Anna'; UPDATE users SET name = 'Anna';
		UPDATE projects SET name = 'First' WHERE id = 'p1';
		DELETE FROM projects WHERE id = 'p1';
		DELETE FROM users WHERE id = 'ann';`)
	ok(t, errors.Join(err, other.Close()))
	if n := count(t, s, "members"); n != 0 {
		t.Errorf("%d members are left", n)
	}
	changes, err := s.changesAfter(t.Context(), 0)
	ok(t, err)
	want := []storage.Change{
		{Kind: storage.MemberAdded, User: "ann", Project: "p1"},
		{Kind: storage.MemberAdded, User: "ann", Project: "p2"},
		{Kind: storage.UserChanged, User: "ann"},
		{Kind: storage.ProjectChanged, Project: "p1"},
		{Kind: storage.MemberRemoved, User: "ann", Project: "p1"},
		{Kind: storage.ProjectRemoved, Project: "p1"},
		{Kind: storage.MemberRemoved, User: "ann", Project: "p2"},
		{Kind: storage.UserRemoved, User: "ann"},
	}
	for i, c := range changes {
		if i >= len(want) || c.Change != want[i] {
			t.Fatalf("changes %v, want %v", changes, want)
		}
	}
	if len(changes) != len(want) {
		t.Errorf("%d changes, want %d", len(changes), len(want))
	}
}

// TestMigrate takes a file through steps that are yet to come.
func TestMigrate(t *testing.T) {
	s := openStore(t)
	ok(t, s.AddProject(t.Context(), storage.Project{ID: "p", Name: "One"}))
	ok(t, s.Close())
	db, err := sql.Open("sqlite", dataSource(s.path, writerCache, busyTimeout, "_txlock=immediate"))
	ok(t, err)
	defer func() { ok(t, db.Close()) }()
	bad := append(migrations(), "ALTER TABLE projects ADD COLUMN x TEXT", "no SQL")
	if err := migrate(t.Context(), db, bad); err == nil {
		t.Error("a step that fails: no error")
	}
	good := append(migrations(), "ALTER TABLE projects ADD COLUMN x TEXT DEFAULT 'new'")
	for range 2 {
		ok(t, migrate(t.Context(), db, good))
	}
	var name, x string
	ok(t, db.QueryRow("SELECT name, x FROM projects").Scan(&name, &x))
	if name != "One" || x != "new" {
		t.Errorf("project %q, %q after the migration", name, x)
	}
	if _, err := Open(t.Context(), Options{Path: s.path}); err == nil {
		t.Error("opened a file of a newer version")
	}
}

// TestReadersBusy asks while all readers are at work: the question waits for one, or
// until its context or the store ends.
func TestReadersBusy(t *testing.T) {
	s := openStore(t)
	ok(t, s.AddProject(t.Context(), storage.Project{ID: "p", Name: "One"}))
	var busy []*reader
	for range readerCount {
		busy = append(busy, <-s.readers.free)
	}
	ask := func(ctx context.Context) <-chan error {
		answer := make(chan error, 1)
		go func() {
			_, err := s.Project(ctx, "p")
			answer <- err
		}()
		return answer
	}
	ctx, cancel := context.WithCancel(t.Context())
	answer := ask(ctx)
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
	answer = ask(t.Context())
	s.readers.free <- busy[0]
	ok(t, <-answer)
	<-s.readers.free
	answer = ask(t.Context())
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	if err := <-answer; !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("after the store was closed: %v", err)
	}
	for _, r := range busy {
		s.readers.free <- r
	}
	ok(t, <-closed)
}
