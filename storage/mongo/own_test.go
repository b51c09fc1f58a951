package mongo_test

import (
	"testing"
	"time"

	"rollcall/internal/mongofake"
	"rollcall/internal/mongotest"
	"rollcall/storage"
	"rollcall/storage/mongo"
	"rollcall/storage/storagetest"
)

// ownStores opens two stores on the same collections, as two servers would.
type ownStores func(t *testing.T) (s, other *mongo.Store)

// onFake has a server of its own for each test.
func onFake(t *testing.T) (s, other *mongo.Store) {
	f := mongofake.New(t)
	f.AllowWrites("rollcall_")
	c := mongo.Config{URI: f.URI, Database: "product", Watch: mongo.Watch{Mode: mongo.WatchNone}, Timeout: 10 * time.Second}
	return open(t, c), open(t, c)
}

// onFerret shares a server, on which each test has a database.
func onFerret(t *testing.T) ownStores {
	server := mongotest.Start(t)
	return func(t *testing.T) (s, other *mongo.Store) {
		c := mongo.Config{
			URI: server.URI, Database: newName(), Watch: mongo.Watch{Mode: mongo.WatchNone},
			Own: mongo.Own{Prefix: "own."}, Timeout: 10 * time.Second,
		}
		s, other = open(t, c), open(t, c)
		s.ShareLocks(other)
		return s, other
	}
}

func testOwn(t *testing.T, open ownStores) {
	t.Run("spool", func(t *testing.T) {
		storagetest.Spool(t, func(t *testing.T) (s, other storage.Spool) { return open(t) })
	})
	t.Run("rosters", func(t *testing.T) {
		storagetest.Rosters(t, func(t *testing.T) (s, other storage.Rosters) { return open(t) })
	})
	t.Run("documents", func(t *testing.T) {
		storagetest.Documents(t, func(t *testing.T) (s, other storage.Documents) { return open(t) })
	})
}

func TestOwn(t *testing.T)         { testOwn(t, onFake) }
func TestOwnOnFerret(t *testing.T) { testOwn(t, onFerret(t)) }
