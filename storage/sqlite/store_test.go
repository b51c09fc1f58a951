package sqlite_test

import (
	"path/filepath"
	"testing"

	"rollcall/storage/sqlite"
	"rollcall/storage/storagetest"
)

// directory is a store whose file can be opened a second time.
type directory struct {
	*sqlite.Store
	o sqlite.Options
}

func (d directory) Reopen(t *testing.T) storagetest.DirectoryStore { return openDirectory(t, d.o) }

func openDirectory(t *testing.T, o sqlite.Options) storagetest.DirectoryStore {
	return directory{open(t, o), o}
}

// open opens a store that the end of the test closes.
func open(t testing.TB, o sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newFile(t testing.TB) string { return filepath.Join(t.TempDir(), "rollcall.db") }

func TestConformance(t *testing.T) {
	for name, plain := range map[string]bool{"keys": false, "plain passwords": true} {
		t.Run(name, func(t *testing.T) {
			storagetest.Directory(t, func(t *testing.T) storagetest.DirectoryStore {
				return openDirectory(t, sqlite.Options{Path: newFile(t), PlainPasswords: plain})
			})
		})
	}
}
