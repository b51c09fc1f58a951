package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"rollcall/storage"
	"rollcall/storage/sqlite"
)

// raw opens a file as other programs would.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	ok(t, err)
	t.Cleanup(func() { ok(t, db.Close()) })
	return db
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := map[string]struct {
		prepare func(t *testing.T, path string)
		want    string
	}{
		"no database": {func(t *testing.T, path string) {
			ok(t, os.WriteFile(path, bytes.Repeat([]byte("users: []\n"), 100), 0o600))
		}, "no SQLite database"},
		"short text": {func(t *testing.T, path string) {
			ok(t, os.WriteFile(path, []byte("users\n"), 0o600))
		}, "no SQLite database"},
		"folder": {func(t *testing.T, path string) {
			ok(t, os.Mkdir(path, 0o700))
		}, "not a regular file"},
		"another program's": {func(t *testing.T, path string) {
			_, err := raw(t, path).Exec("CREATE TABLE songs (title TEXT)")
			ok(t, err)
		}, "another program's"},
		"newer": {func(t *testing.T, path string) {
			s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
			ok(t, err)
			ok(t, s.Close())
			_, err = raw(t, path).Exec("PRAGMA user_version = 999")
			ok(t, err)
		}, "schema version 999"},
		"no folder possible": {func(t *testing.T, path string) {
			ok(t, os.WriteFile(filepath.Dir(path)+".file", nil, 0o600))
			ok(t, os.Remove(filepath.Dir(path)))
			ok(t, os.Rename(filepath.Dir(path)+".file", filepath.Dir(path)))
		}, "not a directory"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "folder", "rollcall.db")
			ok(t, os.Mkdir(filepath.Dir(path), 0o700))
			tt.prepare(t, path)
			before, readErr := os.ReadFile(path)
			s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
			if err == nil {
				ok(t, s.Close())
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q says nothing of %q and %s", err, tt.want, path)
			}
			after, err := os.ReadFile(path)
			if readErr == nil && (err != nil || !bytes.Equal(before, after)) {
				t.Error("the file was changed")
			}
		})
	}
	if _, err := sqlite.Open(t.Context(), sqlite.Options{}); err == nil {
		t.Error("opened no path")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sqlite.Open(ctx, sqlite.Options{Path: newFile(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with an ended context: %v", err)
	}
}

// TestModes opens files with all sorts of names; what is made is the owner's.
func TestModes(t *testing.T) {
	for _, name := range []string{"rollcall.db", "a b?c#d%20.db", "dot.d/é&_pragma=x;y/rollcall.db"} {
		dir := filepath.Join(t.TempDir(), "new")
		path := filepath.Join(dir, filepath.FromSlash(name))
		s := open(t, sqlite.Options{Path: path})
		addUser(t, s, "ann")
		seen := 0
		ok(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			want := fs.FileMode(0o600)
			if d.IsDir() {
				want = 0o700
			} else if seen++; !strings.HasPrefix(p, path) {
				t.Errorf("%s: unexpected beside %s", p, path)
			}
			if got := info.Mode().Perm(); got != want && runtime.GOOS != "windows" {
				t.Errorf("%s: mode %v, want %v", p, got, want)
			}
			return nil
		}))
		if seen != 3 {
			t.Errorf("%d files, want the database, its -wal and its -shm", seen)
		}
	}
}

// TestOpenAtOnce opens one new file many times at once.
func TestOpenAtOnce(t *testing.T) {
	path := newFile(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Join(t.Context(), "p", "u"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("Join: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestReopen finds what was written before, and drops the -wal file.
func TestReopen(t *testing.T) {
	path := newFile(t)
	for i := range 3 {
		s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
		ok(t, err)
		if i == 0 {
			addUser(t, s, "ann")
		}
		u, err := s.User(t.Context(), "ann")
		if err != nil || u.ID != "ann" {
			t.Errorf("User: %v, %v", u, err)
		}
		ok(t, s.Close())
		ok(t, s.Close()) // and once more
		if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Close: -wal: %v", err)
		}
	}
}

func TestClosed(t *testing.T) {
	s := open(t, sqlite.Options{Path: newFile(t)})
	addUser(t, s, "ann")
	watching, told := make(chan error, 1), make(chan struct{}, 1000)
	go func() {
		watching <- s.Watch(t.Context(), func(storage.Change) { told <- struct{}{} })
	}()
	for i := byte(0); len(told) == 0; i++ {
		ok(t, s.SetCredentials(t.Context(), "ann", *keys(i)))
	}
	ok(t, s.Close())
	_, read := s.User(t.Context(), "ann")
	_, list := s.Users(t.Context())
	for what, err := range map[string]error{
		"read": read, "list": list, "write": s.RemoveUser(t.Context(), "ann"), "watching": <-watching,
		"Watch": s.Watch(t.Context(), func(storage.Change) {}),
	} {
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", what, err)
		}
	}
}

// TestCloseDuringWrites closes while many goroutines write: what was
// acknowledged is there, and nobody hangs.
func TestCloseDuringWrites(t *testing.T) {
	path := newFile(t)
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	ok(t, err)
	added := make(chan string, 10_000)
	var wg sync.WaitGroup
	for _, prefix := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			for id := prefix; ; id += prefix {
				err := s.AddProject(t.Context(), storage.Project{ID: id})
				if err != nil {
					if !errors.Is(err, storage.ErrUnavailable) {
						t.Errorf("AddProject: %v", err)
					}
					return
				}
				added <- id
			}
		})
	}
	<-added
	ok(t, s.Close())
	wg.Wait()
	close(added)
	s = open(t, sqlite.Options{Path: path})
	for id := range added {
		if _, err := s.Project(t.Context(), id); err != nil {
			t.Errorf("project %s: %v", id, err)
		}
	}
}

func TestPlainPasswords(t *testing.T) {
	path := newFile(t)
	plain := storage.Credentials{Plain: "päss ' word"}
	bad := storage.Credentials{Plain: "\xff"}
	ann := storage.UserRecord{User: storage.User{ID: "ann"}, Credentials: &plain}

	s := open(t, sqlite.Options{Path: path})
	want := []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"}
	if got := s.Mechanisms(); !slices.Equal(got, want) {
		t.Errorf("Mechanisms: %v, want %v", got, want)
	}
	addUser(t, s, "bob")
	both := *keys(1)
	both.Plain = "secret"
	for what, err := range map[string]error{
		"AddUser":             s.AddUser(t.Context(), ann),
		"SetCredentials":      s.SetCredentials(t.Context(), "bob", plain),
		"SetCredentials both": s.SetCredentials(t.Context(), "bob", both),
		"Import":              s.Import(t.Context(), []storage.Record{{User: &ann}}),
	} {
		if !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s with a plain password: %v, want ErrInvalid", what, err)
		}
	}

	p := open(t, sqlite.Options{Path: path, PlainPasswords: true})
	if got := p.Mechanisms(); len(got) > 0 {
		t.Errorf("Mechanisms with plain passwords: %v, want none", got)
	}
	ok(t, p.AddUser(t.Context(), ann))
	got, err := p.Credentials(t.Context(), "ann")
	if err != nil || got.Plain != plain.Plain || len(got.SCRAM) > 0 {
		t.Errorf("Credentials: %v, %v, want %v", got, err, plain)
	}
	if err := p.SetCredentials(t.Context(), "ann", bad); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("SetCredentials of no UTF-8: %v", err)
	}

	// Somebody turned plain passwords off while a user has nothing else.
	var log bytes.Buffer
	again := open(t, sqlite.Options{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if got := again.Mechanisms(); len(got) > 0 || !strings.Contains(log.String(), "lack keys") {
		t.Errorf("Mechanisms: %v, want none; log %q", got, &log)
	}
	ok(t, again.SetCredentials(t.Context(), "ann", *keys(3)))
	if got, err := again.Credentials(t.Context(), "ann"); err != nil || got.Plain != "" || len(got.SCRAM) != 3 {
		t.Errorf("Credentials: %v, %v, want keys alone", got, err)
	}
	if got := open(t, sqlite.Options{Path: path}).Mechanisms(); !slices.Equal(got, want) {
		t.Errorf("Mechanisms: %v, want %v", got, want)
	}
}

func TestInvalid(t *testing.T) {
	s := open(t, sqlite.Options{Path: newFile(t)})
	for _, name := range []string{"\xff", "a\x00b", "\x1b[31m", "\ufffe"} {
		if err := s.AddProject(t.Context(), storage.Project{ID: "p", Name: name}); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("project of the name %q: %v, want ErrInvalid", name, err)
		}
		u := storage.UserRecord{User: storage.User{ID: "ann", Name: name}, Credentials: keys(1)}
		if err := s.AddUser(t.Context(), u); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("user of the name %q: %v, want ErrInvalid", name, err)
		}
	}
	for what, spoil := range map[string]func(c *storage.Credentials){
		"unknown mechanism": func(c *storage.Credentials) { c.SCRAM[0].Mechanism = "SCRAM-MD5" },
		"mechanism twice":   func(c *storage.Credentials) { c.SCRAM = append(c.SCRAM, c.SCRAM[0]) },
		"no salt":           func(c *storage.Credentials) { c.SCRAM[1].Salt = nil },
		"no iterations":     func(c *storage.Credentials) { c.SCRAM[2].Iterations = 0 },
		"short stored key":  func(c *storage.Credentials) { c.SCRAM[0].StoredKey = []byte("short") },
		"no server key":     func(c *storage.Credentials) { c.SCRAM[0].ServerKey = nil },
	} {
		c := keys(1)
		spoil(c)
		err := s.AddUser(t.Context(), storage.UserRecord{User: storage.User{ID: "ann"}, Credentials: c})
		if !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
}

// keys are credentials of the right sizes.
func keys(seed byte) *storage.Credentials {
	var c storage.Credentials
	for _, m := range []struct {
		name string
		size int
	}{{"SCRAM-SHA-1", 20}, {"SCRAM-SHA-256", 32}, {"SCRAM-SHA-512", 64}} {
		key := bytes.Repeat([]byte{seed}, m.size)
		c.SCRAM = append(c.SCRAM, storage.SCRAMKeys{Mechanism: m.name, Salt: []byte("0123456789abcdef"), Iterations: 4096, StoredKey: key, ServerKey: key})
	}
	return &c
}

func addUser(t testing.TB, s *sqlite.Store, id string) {
	t.Helper()
	ok(t, s.AddUser(t.Context(), storage.UserRecord{User: storage.User{ID: id}, Credentials: keys(1)}))
}
