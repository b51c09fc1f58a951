//go:build unix

package mongotest

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// TestBuild makes the binary, as scripts/setup has it made beforehand; whoever asks at
// the same time gets the same.
func TestBuild(t *testing.T) {
	var all sync.WaitGroup
	paths := make([]string, 4)
	for i := range paths {
		all.Go(func() {
			var err error
			if paths[i], err = Binary(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, p := range paths {
		if p != paths[0] {
			t.Errorf("%q and %q", p, paths[0])
		}
	}
	if info, err := os.Stat(paths[0]); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("%v, %v", info, err)
	}
}

func connect(t *testing.T, uri string) *mongo.Collection {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(uri).
		SetServerSelectionTimeout(2 * time.Second).SetTimeout(2 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Disconnect(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c.Database("product").Collection("users")
}

// TestLife starts two servers and takes one through everything that can befall it.
func TestLife(t *testing.T) {
	s, other := Start(t), Start(t)
	users := connect(t, s.URI)
	if _, err := users.InsertOne(t.Context(), bson.M{"_id": "alice", "name": "Alice"}); err != nil {
		t.Fatal(err)
	}
	find := func(ctx context.Context) error { return users.FindOne(ctx, bson.M{"_id": "alice"}).Err() }
	if err := find(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := connect(t, other.URI).FindOne(t.Context(), bson.M{"_id": "alice"}).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Errorf("the other server: %v", err)
	}

	s.Suspend()
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := find(short); !errors.Is(err, context.DeadlineExceeded) && !mongo.IsTimeout(err) {
		t.Errorf("suspended: %v", err)
	}
	s.Resume()
	if err := find(t.Context()); err != nil {
		t.Errorf("resumed: %v", err)
	}

	pid := s.PID()
	s.Kill()
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) || s.PID() != 0 {
		t.Errorf("killed: %v, PID %d", err, s.PID())
	}
	if err := find(t.Context()); err == nil {
		t.Error("a dead server answered")
	}
	uri := s.URI
	s.Restart()
	if s.URI != uri {
		t.Errorf("%s after the restart, %s before", s.URI, uri)
	}
	if err := find(t.Context()); err != nil {
		t.Errorf("restarted: %v", err)
	}
	s.Restart() // from alive
	if err := find(t.Context()); err != nil {
		t.Errorf("restarted again: %v", err)
	}
}

// TestLeash sees that a server ends by itself when whoever started it is no more: then
// nobody holds the other end of its standard input.
func TestLeash(t *testing.T) {
	s := Start(t)
	p := s.process
	s.process = nil // nothing left to kill
	if err := s.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// TestPath sees that the environment decides, and that outside the tree there is nothing
// to build.
func TestPath(t *testing.T) {
	t.Setenv("FERRETDB", "/does/not/exist")
	if path, err := Binary(); path != "/does/not/exist" || err != nil {
		t.Errorf("%q, %v", path, err)
	}
	t.Setenv("FERRETDB", "")
	t.Chdir(t.TempDir())
	if path, err := Binary(); err == nil {
		t.Errorf("%q outside the tree", path)
	}
}
