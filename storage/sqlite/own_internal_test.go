package sqlite

import (
	"database/sql"
	sqldriver "database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"rollcall/storage"
)

func one(user string, n int) storage.Kept {
	return storage.Kept{User: user, ID: fmt.Sprintf("%06d", n), Data: []byte("x")}
}

// syncLevel is how commits of the writing connection wait for the disk.
func syncLevel(t *testing.T, s *Store) (level int) {
	t.Helper()
	ok(t, writerConn{s}.QueryRow("PRAGMA synchronous").Scan(&level))
	return level
}

// TestLazyWrites: what is discarded waits for no disk, unless something shares the
// transaction that does; what is kept always waits.
func TestLazyWrites(t *testing.T) {
	const normal, full = 1, 2
	inBubble(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		keep := func(n int) {
			if _, err := s.Keep(ctx, storage.KeepLimit{}, one("ann", n)); err != nil {
				t.Error(err)
			}
		}
		discard := func(n int) {
			if err := s.Discard(ctx, "ann", one("ann", n).ID); err != nil {
				t.Error(err)
			}
		}
		keep(1)
		if l := syncLevel(t, s); l != full {
			t.Errorf("kept at level %d", l)
		}
		discard(1)
		if l := syncLevel(t, s); l != normal {
			t.Errorf("discarded at level %d", l)
		}
		ok(t, s.AddProject(ctx, storage.Project{ID: "p"}))
		if l := syncLevel(t, s); l != full {
			t.Errorf("a project was added at level %d", l)
		}
		discard(2)
		// All of these share a transaction.
		held, release := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			ok(t, s.writeLazily(ctx, func(*statements) error {
				close(held)
				<-release
				return nil
			}))
		})
		<-held
		for n := range 4 {
			wg.Go(func() { discard(n) })
		}
		wg.Go(func() { keep(10) })
		synctest.Wait()
		close(release)
		wg.Wait()
		if l := syncLevel(t, s); l != full {
			t.Errorf("kept among others at level %d", l)
		}
	})
}

// TestLostKeep loses the transaction in which messages are kept: nobody is told that they
// are, and the totals say so.
func TestLostKeep(t *testing.T) {
	inBubble(t, func(t *testing.T, s *Store) {
		_, err := s.Keep(t.Context(), storage.KeepLimit{}, one("ann", 1))
		ok(t, err)
		together(t, s, []func(*statements) error{
			func(st *statements) error {
				_, err := st.own.keepOne(storage.KeepLimit{}, one("ann", 2))
				return err
			},
			func(*statements) error { return s.commits.exec("ROLLBACK") },
		})
		n, bytes, err := s.CountWaiting(t.Context(), "ann")
		if n != 1 || bytes != 1 || err != nil || count(t, s, "kept") != 1 {
			t.Errorf("%d messages of %d bytes are counted (%v), and %d are there", n, bytes, err, count(t, s, "kept"))
		}
	})
}

// TestPlans asks SQLite how it finds things: never by looking at what is not wanted.
func TestPlans(t *testing.T) {
	s := openStore(t)
	defer func() { ok(t, s.Close()) }()
	for query, args := range map[string]int{
		queryKeptTotals: 1, queryWaiting: 3, queryRoster: 1, queryRosterItem: 2,
		queryDocument: 2, queryDocumentsOf: 1, queryDocumentSize: 2, queryDocumentsSize: 2,
		`SELECT seq FROM kept WHERE user = ? ORDER BY id LIMIT 1`: 1,
	} {
		values := make([]sqldriver.Value, args)
		for i := range values {
			values[i] = int64(1)
		}
		plans := 0
		ok(t, s.read(t.Context(), "EXPLAIN QUERY PLAN "+query, func(row []sqldriver.Value) error {
			plans++
			if plan := text(row[3]); !strings.HasPrefix(plan, "SEARCH ") {
				t.Errorf("%s: %s", query, plan)
			}
			return nil
		}, values...))
		if plans == 0 {
			t.Errorf("%s: no plan", query)
		}
	}
}

// TestFromVersion1 opens a file as it was before users owned anything.
func TestFromVersion1(t *testing.T) {
	path := t.TempDir() + "/rollcall.db"
	db, err := sql.Open("sqlite", dataSource(path, writerCache, busyTimeout, "_txlock=immediate"))
	ok(t, err)
	ok(t, migrate(t.Context(), db, migrations()[:1]))
	_, err = db.Exec("INSERT INTO users (id, name, plain) VALUES ('ann', 'Ann', 'x')")
	ok(t, err)
	ok(t, db.Close())
	s, err := Open(t.Context(), Options{Path: path, PlainPasswords: true})
	ok(t, err)
	defer func() { ok(t, s.Close()) }()
	if u, err := s.User(t.Context(), "ann"); err != nil || u.Name != "Ann" {
		t.Errorf("user %v, %v", u, err)
	}
	_, err = s.Keep(t.Context(), storage.KeepLimit{}, one("ann", 1))
	ok(t, err)
	ok(t, s.RemoveUser(t.Context(), "ann"))
	if n := count(t, s, "kept"); n != 0 {
		t.Errorf("%d messages are left of somebody who is removed", n)
	}
}
