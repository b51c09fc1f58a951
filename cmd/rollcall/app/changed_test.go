//go:build unix

package app

import (
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"rollcall/conf"
	"rollcall/internal/mongotest"
	"rollcall/internal/redistest"
)

// product is a database as a product has it: alice, bob and carol, and a project with
// the first two.
func product(t *testing.T) (uri string, db *driver.Database) {
	t.Helper()
	server := mongotest.Start(t)
	client, err := driver.Connect(options.Client().ApplyURI(server.URI))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Disconnect(t.Context()); err != nil {
			t.Log(err) // the test's context may be over
		}
	})
	db = client.Database("product")
	for _, id := range []string{"alice", "bob", "carol"} {
		if _, err := db.Collection("users").InsertOne(t.Context(), bson.M{"_id": id, "name": strings.ToUpper(id), "password": "secret"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Collection("projects").InsertOne(t.Context(), bson.M{"_id": "p1", "name": "Apollo", "members": bson.A{"alice", "bob"}}); err != nil {
		t.Fatal(err)
	}
	return server.URI, db
}

// setMembers changes the project in the product's own way.
func setMembers(t *testing.T, db *driver.Database, members ...string) {
	t.Helper()
	if _, err := db.Collection("projects").UpdateByID(t.Context(), "p1", bson.M{"$set": bson.M{"members": members}}); err != nil {
		t.Fatal(err)
	}
}

// onMongo keeps users at a MongoDB that nobody looks at but when told to.
func onMongo(uri string) func(*conf.Config) {
	return func(c *conf.Config) {
		c.Storage.Users = conf.UsersMongo
		m := &c.Storage.Mongo
		m.URI, m.Database, m.Watch.Mode = uri, "product", "none"
		m.Users.Scheme, m.Users.AllowPlain = conf.SchemePlain, true
		m.Timeout = 10 * time.Second // the stand-in is slow on a busy machine
	}
}

func noVariables(string) string { return "" }

// tell is `rollcall project changed`.
func tell(t *testing.T, o Options, want string, projects ...string) {
	t.Helper()
	if got, err := ProjectsChanged(t.Context(), o.Config, noVariables, projects); got != want || err != nil {
		t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

// refused is tell for what does not work.
func refused(t *testing.T, o Options, want string, projects ...string) {
	t.Helper()
	if got, err := ProjectsChanged(t.Context(), o.Config, noVariables, projects); err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("%q, %v; want %s", got, err, want)
	}
}

// enter connects somebody who wants to know what happens to the roster.
func enter(t *testing.T, a *App, address string, contacts ...string) *client {
	t.Helper()
	c := login(t, a, address, "secret")
	c.say("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
	c.hear(append([]string{"id='roster'", "type='result'"}, contacts...)...)
	c.say("<presence/>")
	c.hear("<presence", "from='"+address+"'")
	return c
}

// One server without Redis is told by its socket.
func TestProjectChangedAtTheDoor(t *testing.T) {
	t.Parallel()
	uri, db := product(t)
	o := node(t, "", "", nil, onMongo(uri))
	refused(t, o, "no server runs here", "p1")
	a := begin(t, o)
	if a.Store() != nil {
		t.Error("there is an embedded store")
	}
	info, err := os.Stat(doorPath(o.Config))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	alice := enter(t, a, "alice@localhost/web", "bob@localhost", "BOB", "Apollo")
	setMembers(t, db, "alice", "bob", "carol")
	tell(t, o, "told the server", "p1")
	alice.hear("<iq", "type='set'", "carol@localhost", "CAROL")
	setMembers(t, db, "alice", "carol")
	tell(t, o, "told the server", "p1")
	alice.hear("<iq", "type='set'", "bob@localhost", "subscription='remove'")
	setMembers(t, db, "alice", "bob", "carol")
	tell(t, o, "told the server", "")
	alice.hear("<iq", "type='set'", "bob@localhost", "BOB")
	refused(t, o, "p2", "p1", "p2")
	// The same folder is not for two.
	if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("a second server: %v", err)
	}
	tell(t, o, "told the server", "p1")
	end(t, a)
	refused(t, o, "no server runs here", "p1")
	// What a killed server leaves behind is in nobody's way.
	if err := os.WriteFile(doorPath(o.Config), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	begin(t, o)
	tell(t, o, "told the server", "p1")
}

// Servers on one Redis are all told by a message there, which the product may send.
func TestProjectChangedThroughRedis(t *testing.T) {
	t.Parallel()
	uri, db := product(t)
	server := redistest.Start(t)
	first := node(t, "one", "", server, onMongo(uri))
	refused(t, first, "no server listens", "p1")
	one, two := begin(t, first), begin(t, node(t, "two", "", server, onMongo(uri)))
	listens := func() bool {
		n, err := server.Client(t).PubSubNumSub(t.Context(), "wt_changed").Result()
		return err == nil && n["wt_changed"] == 2
	}
	redistest.Until(t, "both listen", listens)
	alice := enter(t, one, "alice@localhost/web", "bob@localhost")
	bob := enter(t, two, "bob@localhost/web", "alice@localhost")
	setMembers(t, db, "alice", "bob", "carol")
	tell(t, first, "told 2 servers", "p1")
	alice.hear("<iq", "type='set'", "carol@localhost")
	bob.hear("<iq", "type='set'", "carol@localhost")
	setMembers(t, db, "alice", "bob")
	if n, err := server.Client(t).Publish(t.Context(), "wt_changed", "p1").Result(); n != 2 || err != nil {
		t.Errorf("%d heard it, %v", n, err)
	}
	alice.hear("<iq", "type='set'", "carol@localhost", "subscription='remove'")
	bob.hear("<iq", "type='set'", "carol@localhost", "subscription='remove'")
	// What is missed while Redis is away is read when it is back.
	server.Kill()
	setMembers(t, db, "alice", "bob", "carol")
	server.Restart()
	redistest.Until(t, "both listen again", listens)
	alice.hear("<iq", "type='set'", "carol@localhost")
	bob.hear("<iq", "type='set'", "carol@localhost")
	server.Kill()
	refused(t, first, "redis at "+server.Addr(), "p1")
}

func TestProjectChangedInTheEmbeddedStore(t *testing.T) {
	tell(t, node(t, "", "", nil), "servers notice what changes in the embedded store by themselves", "p1")
}
