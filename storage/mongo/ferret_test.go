package mongo_test

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"rollcall/internal/mongotest"
	"rollcall/storage"
	"rollcall/storage/mongo"
)

// patience is how long something may take that has to come.
const patience = 20 * time.Second

// buffer is a log that a test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	late := time.After(patience)
	for !so() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

// listen collects what is told from now on.
func listen(t *testing.T, s *mongo.Store) <-chan storage.Change {
	t.Helper()
	told := make(chan storage.Change, 10_000)
	before := s.Watching()
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- s.Watch(ctx, func(c storage.Change) { told <- c }) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	eventually(t, "watching", func() bool { return s.Watching() > before })
	return told
}

// expectTold waits for these changes, in this order and nothing between.
func expectTold(t *testing.T, told <-chan storage.Change, want ...storage.Change) {
	t.Helper()
	for i, w := range want {
		select {
		case c := <-told:
			if c != w {
				t.Fatalf("told %v at place %d, want %v", c, i, w)
			}
		case <-time.After(patience):
			t.Fatalf("not told: %v", w)
		}
	}
}

func added(user, project string) storage.Change {
	return storage.Change{Kind: storage.MemberAdded, User: user, Project: project}
}

func removed(user, project string) storage.Change {
	return storage.Change{Kind: storage.MemberRemoved, User: user, Project: project}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a small product with ObjectIDs, and members that are documents.
type world struct {
	db            *driver.Database
	ann, bob, cat bson.ObjectID
	project, old  bson.ObjectID
}

func newWorld(t *testing.T, server *mongotest.Server) (*world, mongo.Config) {
	t.Helper()
	name := newName()
	w := &world{
		db:  connect(t, server.URI).Database(name),
		ann: bson.NewObjectID(), bob: bson.NewObjectID(), cat: bson.NewObjectID(), project: bson.NewObjectID(), old: bson.NewObjectID(),
	}
	w.insert(t, "accounts",
		bson.M{"_id": w.ann, "profile": bson.M{"name": "Ann"}, "password": "$2b$04$......................DECxxKC6yJhJEVhuMuWhvvdZbsMWgLe", "disabled": false},
		bson.M{"_id": w.bob, "profile": bson.M{"name": "Bob"}, "password": "x", "deleted": false},
		bson.M{"_id": w.cat, "profile": bson.M{"name": "Cat"}, "disabled": true},
		bson.M{"_id": "Not A Local Part", "profile": bson.M{"name": "Dan"}},
	)
	w.insert(t, "boards",
		bson.M{"_id": w.project, "title": "One", "team": w.team(w.ann, w.bob, w.cat, bson.NewObjectID()), "archived": false},
		bson.M{"_id": w.old, "title": "Old", "team": w.team(w.ann), "archived": true},
	)
	return w, mongo.Config{
		URI: server.URI, Database: name,
		Users: mongo.Users{Collection: "accounts", Name: "profile.name", Blocked: "disabled"},
		Projects: mongo.Projects{
			Collection: "boards", Name: "title", Members: "team", Member: "uid",
			Filter: bson.D{{Key: "archived", Value: bson.D{{Key: "$ne", Value: true}}}},
		},
		Watch: mongo.Watch{Interval: 50 * time.Millisecond},
	}
}

func (w *world) team(ids ...bson.ObjectID) bson.A {
	team := bson.A{}
	for _, id := range ids {
		team = append(team, bson.M{"uid": id, "role": "writer"})
	}
	return team
}

func (w *world) insert(t *testing.T, collection string, docs ...any) {
	t.Helper()
	_, err := w.db.Collection(collection).InsertMany(t.Context(), docs)
	ok(t, err)
}

func (w *world) set(t *testing.T, collection string, id any, fields bson.M) {
	t.Helper()
	_, err := w.db.Collection(collection).UpdateOne(t.Context(), bson.M{"_id": id}, bson.M{"$set": fields})
	ok(t, err)
}

// dump is everything there is.
func (w *world) dump(t *testing.T) string {
	t.Helper()
	var all []string
	for _, c := range []string{"accounts", "boards"} {
		cursor, err := w.db.Collection(c).Find(t.Context(), bson.M{})
		ok(t, err)
		for cursor.Next(t.Context()) {
			all = append(all, c+" "+cursor.Current.String())
		}
		ok(t, cursor.Err())
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func TestProductWithObjectIDs(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t, mongotest.Start(t))
	log := &buffer{}
	c.Log, c.CreateIndexes = log.logger(), true
	before := w.dump(t)
	s := open(t, c)

	u, err := s.User(t.Context(), w.ann.Hex())
	if err != nil || u != (storage.User{ID: w.ann.Hex(), Name: "Ann"}) {
		t.Errorf("ann: %v, %v", u, err)
	}
	for what, id := range map[string]string{"blocked": w.cat.Hex(), "capitals": strings.ToUpper(w.ann.Hex()), "unknown": bson.NewObjectID().Hex(), "none": ""} {
		if _, err := s.User(t.Context(), id); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	members, err := s.Members(t.Context(), w.project.Hex())
	ok(t, err)
	want := []storage.User{{ID: w.ann.Hex(), Name: "Ann"}, {ID: w.bob.Hex(), Name: "Bob"}}
	if !slices.Equal(members, want) {
		t.Errorf("members are %v, want %v", members, want)
	}
	of, err := s.ProjectsOf(t.Context(), w.ann.Hex())
	if err != nil || !slices.Equal(of, []storage.Project{{ID: w.project.Hex(), Name: "One"}}) {
		t.Errorf("ann is in %v, %v", of, err)
	}
	of, err = s.ProjectsOf(t.Context(), w.cat.Hex())
	if err != nil || len(of) > 0 {
		t.Errorf("a blocked user is in %v, %v", of, err)
	}
	if _, err := s.Project(t.Context(), w.old.Hex()); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an archived project: %v", err)
	}
	cred, err := s.Credentials(t.Context(), w.ann.Hex())
	if err != nil || !strings.HasPrefix(cred.Hash, "$2b$") {
		t.Errorf("ann's credentials: %v, %v", cred, err)
	}
	if _, err := s.Credentials(t.Context(), w.bob.Hex()); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a password of no known kind: %v", err)
	}
	if got := s.Mechanisms(); len(got) > 0 {
		t.Errorf("mechanisms %v are offered that nobody vouches for", got)
	}
	eventually(t, "an index on team.uid", func() bool {
		return strings.Contains(log.String(), "an index was created") && strings.Contains(log.String(), "team.uid")
	})
	if n := strings.Count(log.String(), `Not A Local Part`); n != 1 {
		t.Errorf("the id that has no local part is logged %d times:\n%s", n, log)
	}
	if after := w.dump(t); after != before {
		t.Errorf("something was written: now\n%s\nwas\n%s", after, before)
	}
}

func TestMissingIndexIsReported(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t, mongotest.Start(t))
	log := &buffer{}
	c.Log = log.logger()
	s := open(t, c)
	eventually(t, "a warning", func() bool { return strings.Contains(log.String(), "an index is missing") })
	cursor, err := w.db.Collection("boards").Indexes().List(t.Context())
	ok(t, err)
	var all []bson.M
	ok(t, cursor.All(t.Context(), &all))
	if len(all) != 1 {
		t.Errorf("indexes: %v", all)
	}
	ok(t, s.Close(t.Context()))
	if _, err := s.User(t.Context(), w.ann.Hex()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := s.Members(t.Context(), w.project.Hex()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
	if err := s.Watch(t.Context(), func(storage.Change) {}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Watch after Close: %v", err)
	}
}

// TestBlocked blocks and frees a user while others watch.
func TestBlocked(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t, mongotest.Start(t))
	s := open(t, c)
	told := listen(t, s)
	ann, p := w.ann.Hex(), w.project.Hex()
	w.set(t, "accounts", w.ann, bson.M{"disabled": true})
	expectTold(t, told, removed(ann, p), storage.Change{Kind: storage.UserRemoved, User: ann})
	cred, err := s.Credentials(t.Context(), ann)
	if !errors.Is(err, storage.ErrBlocked) || cred.Hash == "" {
		t.Errorf("credentials of a blocked user: %v, %v", cred, err)
	}
	members, err := s.Members(t.Context(), p)
	if err != nil || len(members) != 1 {
		t.Errorf("members are %v, %v", members, err)
	}
	w.set(t, "accounts", w.ann, bson.M{"disabled": nil})
	expectTold(t, told, added(ann, p))
	_, err = s.Credentials(t.Context(), ann)
	ok(t, err)
}

// TestPolling changes the product's documents in all ways and waits until each change is
// told, by comparing everything or by the dates of changes.
func TestPolling(t *testing.T) {
	t.Parallel()
	server := mongotest.Start(t)
	for _, updated := range []string{"", "updated.at"} {
		t.Run("by "+updated, func(t *testing.T) {
			w, c := newWorld(t, server)
			c.Users.UpdatedAt, c.Projects.UpdatedAt = updated, updated
			c.Watch.Sweep = time.Second // for removals, which have no date
			s := open(t, c)
			told := listen(t, s)
			ann, bob, p := w.ann.Hex(), w.bob.Hex(), w.project.Hex()
			touch := func(m bson.M) bson.M { m["updated"] = bson.M{"at": time.Now()}; return m }

			before, err := s.Members(t.Context(), p)
			ok(t, err)
			w.set(t, "boards", w.project, touch(bson.M{"team": w.team(w.ann)}))
			expectTold(t, told, removed(bob, p))
			after, err := s.Members(t.Context(), p)
			if err != nil || len(before) != 2 || len(after) != 1 {
				t.Errorf("members were %v and are %v, %v", before, after, err)
			}
			w.set(t, "boards", w.project, touch(bson.M{"team": w.team(w.ann, w.bob), "title": "Uno"}))
			expectTold(t, told, added(bob, p), storage.Change{Kind: storage.ProjectChanged, Project: p})
			w.set(t, "accounts", w.bob, touch(bson.M{"profile.name": "Bobby"}))
			expectTold(t, told, storage.Change{Kind: storage.UserChanged, User: bob})
			w.set(t, "accounts", w.bob, touch(bson.M{"hobby": "chess"})) // nobody's business
			w.set(t, "boards", w.old, touch(bson.M{"archived": false}))
			expectTold(t, told, added(ann, w.old.Hex()))
			w.set(t, "boards", w.old, touch(bson.M{"archived": true}))
			expectTold(t, told, removed(ann, w.old.Hex()), storage.Change{Kind: storage.ProjectRemoved, Project: w.old.Hex()})
			_, err = w.db.Collection("accounts").DeleteOne(t.Context(), bson.M{"_id": w.bob})
			ok(t, err)
			expectTold(t, told, removed(bob, p), storage.Change{Kind: storage.UserRemoved, User: bob})
			eve := bson.NewObjectID()
			w.insert(t, "accounts", touch(bson.M{"_id": eve}))
			w.set(t, "boards", w.project, touch(bson.M{"team": w.team(w.ann, eve)}))
			expectTold(t, told, added(eve.Hex(), p))
			_, err = w.db.Collection("boards").DeleteOne(t.Context(), bson.M{"_id": w.project})
			ok(t, err)
			got := []storage.Change{<-told, <-told}
			slices.SortFunc(got, func(a, b storage.Change) int { return strings.Compare(a.User, b.User) })
			want := []storage.Change{removed(ann, p), removed(eve.Hex(), p)}
			slices.SortFunc(want, func(a, b storage.Change) int { return strings.Compare(a.User, b.User) })
			if !slices.Equal(got, want) {
				t.Errorf("told %v, want %v", got, want)
			}
			expectTold(t, told, storage.Change{Kind: storage.ProjectRemoved, Project: p})
		})
	}
}

// TestChanged lets the product say what it changed, while nothing else looks.
func TestChanged(t *testing.T) {
	t.Parallel()
	w, c := newWorld(t, mongotest.Start(t))
	c.Watch.Mode = mongo.WatchNone
	s := open(t, c)
	told := listen(t, s)
	p := w.project.Hex()
	_, err := s.Members(t.Context(), p) // so that it is cached
	ok(t, err)
	eve := bson.NewObjectID()
	w.insert(t, "accounts", bson.M{"_id": eve})
	w.set(t, "boards", w.project, bson.M{"team": w.team(w.ann, eve)})
	ok(t, s.Changed(t.Context(), p))
	ok(t, s.Changed(t.Context(), p)) // again: nothing is told twice
	ok(t, s.Refresh(t.Context()))
	want := []storage.Change{removed(w.bob.Hex(), p), added(eve.Hex(), p)}
	expectTold(t, told, want...)
	if n := len(told); n > 0 {
		t.Errorf("%d changes too many, the first is %v", n, <-told)
	}
	members, err := s.Members(t.Context(), p)
	if err != nil || len(members) != 2 || members[1].ID != eve.Hex() && members[0].ID != eve.Hex() {
		t.Errorf("members are %v, %v", members, err)
	}
	for _, unknown := range []string{bson.NewObjectID().Hex(), "", "Not A Local Part"} {
		if err := s.Changed(t.Context(), unknown); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%q: %v", unknown, err)
		}
	}
}

// TestServerGone kills the server and starts it again.
func TestServerGone(t *testing.T) {
	t.Parallel()
	server := mongotest.Start(t)
	w, c := newWorld(t, server)
	c.Cache.Age = time.Millisecond // all entries are old
	s := open(t, c)
	told := listen(t, s)
	ann, p := w.ann.Hex(), w.project.Hex()
	_, err := s.Members(t.Context(), p)
	ok(t, err)
	server.Kill()
	eventually(t, "logins fail at once", func() bool {
		start := time.Now()
		_, err := s.Credentials(t.Context(), ann)
		if took := time.Since(start); !errors.Is(err, storage.ErrUnavailable) || took > 2*time.Second {
			t.Fatalf("a login: %v after %v", err, took)
		}
		return time.Since(start) < 50*time.Millisecond
	})
	members, err := s.Members(t.Context(), p)
	if err != nil || len(members) != 2 {
		t.Errorf("members are %v, %v", members, err)
	}
	if _, err := s.Members(t.Context(), w.old.Hex()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("members never read: %v", err)
	}
	server.Restart()
	eventually(t, "logins work again", func() bool {
		_, err := s.Credentials(t.Context(), ann)
		return err == nil
	})
	w.db = connect(t, server.URI).Database(w.db.Name())
	w.set(t, "boards", w.project, bson.M{"team": w.team(w.ann)})
	expectTold(t, told, removed(w.bob.Hex(), p))
}
