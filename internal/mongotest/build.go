//go:build unix

package mongotest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// Binary is the path of the server. It is built if it is not there: on a machine that
// never did so this takes minutes and downloads the modules of FerretDB. The result is
// kept in the user's cache folder under a name made of everything it was built from;
// processes that want it at the same time wait for the one that builds it. The
// environment variable FERRETDB, if set, is the path instead.
func Binary() (string, error) {
	if path := os.Getenv("FERRETDB"); path != "" {
		return path, nil
	}
	source, err := findSource()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder to keep FerretDB in: %w", err)
	}
	cache = filepath.Join(cache, "rollcall")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	name, err := version(source)
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "ferretdb-"+name)
	unlock, err := lock(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	return path, build(source, path)
}

// findSource looks for the nested module from the current folder upwards: tests run in
// the folder of their package.
func findSource() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		source := filepath.Join(dir, "test", "mongo")
		if _, err := os.Stat(filepath.Join(source, "go.mod")); err == nil {
			return source, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("test/mongo is in no folder above this one")
		}
		dir = parent
	}
}

// version is a name for what building would give.
func version(source string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, name := range []string{"main.go", "go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(content), content)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// lock waits until this process is the only one that holds the lock of that name.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return func() { f.Close() }, nil // nothing was written, and closing unlocks
}

func build(source, path string) error {
	partial := path + ".partial"
	c := exec.Command("go", "build", "-C", source, "-tags", "ferretdb_no_postgresql", "-ldflags", "-s -w", "-o", partial, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("building FerretDB: %w\n%s", err, out)
	}
	return os.Rename(partial, path)
}
