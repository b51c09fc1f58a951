package mongofake

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// eventually waits until ok, for at most ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-end:
			t.Fatalf("%s: never", what)
		case <-tick.C:
		}
	}
}

func TestStall(t *testing.T) {
	f := New(t)
	product(f)
	users := connect(t, f).Collection("users")
	ask := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return users.FindOne(ctx, bson.M{"_id": "alice"}).Err()
	}
	if err := ask(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	f.Inject(Fault{Stall: true})
	begin := time.Now()
	if err := ask(100 * time.Millisecond); !mongo.IsTimeout(err) || time.Since(begin) > 2*time.Second {
		t.Errorf("stalled: %v after %v", err, time.Since(begin))
	}
	f.Inject(Fault{})
	eventually(t, "an answer", func() bool { return ask(time.Second) == nil })

	f.Inject(Fault{Commands: []string{"find"}, Stall: true})
	before := f.Count("find")
	late := make(chan error)
	go func() { late <- ask(5 * time.Second) }()
	eventually(t, "a question", func() bool { return f.Count("find") > before })
	f.Inject(Fault{})
	if err := <-late; err != nil {
		t.Errorf("after the stall: %v", err)
	}
}

func TestDelay(t *testing.T) {
	f := New(t)
	product(f)
	users := connect(t, f).Collection("users")
	f.Inject(Fault{Commands: []string{"find"}, Delay: 150 * time.Millisecond})
	begin := time.Now()
	if err := users.FindOne(t.Context(), bson.M{"_id": "alice"}).Err(); err != nil || time.Since(begin) < 150*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// TestCut sees a driver try again by itself, once.
func TestCut(t *testing.T) {
	f := New(t)
	product(f)
	users := connect(t, f).Collection("users")
	f.Inject(Fault{Commands: []string{"find"}, Cut: true, Times: 1})
	if err := users.FindOne(t.Context(), bson.M{"_id": "alice"}).Err(); err != nil || f.Count("find") != 2 {
		t.Errorf("cut once: %v, %d finds", err, f.Count("find"))
	}
	f.Inject(Fault{Commands: []string{"find"}, Cut: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := users.FindOne(ctx, bson.M{"_id": "alice"}).Err(); !mongo.IsNetworkError(err) && !mongo.IsTimeout(err) {
		t.Errorf("cut for ever: %v", err)
	}
	if err := users.Database().RunCommand(t.Context(), bson.M{"ping": 1}).Err(); err != nil {
		t.Errorf("ping: %v", err)
	}
}

func TestErrorCode(t *testing.T) {
	f := New(t)
	product(f)
	users := connect(t, f).Collection("users")
	f.Inject(Fault{Commands: []string{"find"}, Code: 13, Name: "Unauthorized", Times: 2})
	for range 2 {
		if err := users.FindOne(t.Context(), bson.M{"_id": "alice"}).Err(); code(err) != 13 {
			t.Errorf("%v", err)
		}
	}
	if err := users.FindOne(t.Context(), bson.M{"_id": "alice"}).Err(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestNotPrimary(t *testing.T) {
	f := New(t)
	product(f)
	users := connect(t, f).Collection("users")
	if err := users.FindOne(t.Context(), bson.M{"_id": "alice"}).Err(); err != nil {
		t.Fatal(err)
	}
	f.Inject(Fault{Commands: []string{"find"}, Code: 10107, Name: "NotWritablePrimary", Times: 1})
	if err := users.FindOne(t.Context(), bson.M{"_id": "alice"}).Err(); err != nil || f.Count("find") != 3 {
		t.Errorf("a driver tries again: %v, %d finds", err, f.Count("find"))
	}
	f.SetPrimary(false)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := users.FindOne(ctx, bson.M{"_id": "alice"}).Err(); err == nil {
		t.Error("answered without a primary")
	}
	f.SetPrimary(true)
	eventually(t, "a primary", func() bool { return users.FindOne(t.Context(), bson.M{"_id": "alice"}).Err() == nil })
}

func TestDownAndUp(t *testing.T) {
	f := New(t)
	product(f)
	users := connect(t, f).Collection("users")
	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return users.FindOne(ctx, bson.M{"_id": "alice"}).Err()
	}
	eventually(t, "an answer", func() bool { return ask() == nil })
	f.Disconnect()
	eventually(t, "an answer on other connections", func() bool { return ask() == nil })
	f.Down()
	if now, ever := f.Connections(); now != 0 || ever < 2 {
		t.Errorf("%d connections of %d", now, ever)
	}
	if err := ask(); err == nil {
		t.Error("answered while down")
	}
	if err := f.Up(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an answer after the outage", func() bool { return ask() == nil })
}

func watch(t *testing.T, c *mongo.Collection, o ...options.Lister[options.ChangeStreamOptions]) *mongo.ChangeStream {
	t.Helper()
	s, err := c.Watch(t.Context(), mongo.Pipeline{}, o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil && !errors.Is(err, mongo.ErrClientDisconnected) {
			t.Log(err)
		}
	})
	return s
}

// next is the operation and the id of the next event.
func next(t *testing.T, s *mongo.ChangeStream) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if !s.Next(ctx) {
		t.Fatalf("no event: %v", s.Err())
	}
	id := ""
	if v, err := s.Current.LookupErr("documentKey"); err == nil {
		id = ids([]bson.Raw{v.Document()})
	}
	return s.Current.Lookup("operationType").StringValue() + " " + id
}

func expect(t *testing.T, s *mongo.ChangeStream, events ...string) {
	t.Helper()
	for _, want := range events {
		if got := next(t, s); got != want {
			t.Fatalf("%q, want %q: %s", got, want, s.Current)
		}
	}
}

func TestChangeStream(t *testing.T) {
	f := New(t)
	product(f)
	projects := connect(t, f).Collection("projects")
	s := watch(t, projects)
	looking := watch(t, projects, options.ChangeStream().SetFullDocument(options.UpdateLookup))
	c := f.Collection("projects")
	c.Set(1, bson.D{{Key: "members", Value: bson.A{"carol"}}})
	f.Collection("users").Set("alice", bson.D{{Key: "name", Value: "A."}})
	c.Insert(bson.M{"_id": 4}, bson.M{"_id": 4, "name": "x"})
	c.Delete(2)
	expect(t, s, "update 1")
	if members := s.Current.Lookup("updateDescription", "updatedFields", "members"); members.String() != `["carol"]` {
		t.Errorf("%s", s.Current)
	}
	if _, err := s.Current.LookupErr("fullDocument"); err == nil {
		t.Errorf("%s", s.Current)
	}
	expect(t, s, "insert 4", "replace 4", "delete 2")
	expect(t, looking, "update 1")
	if id := s.Current.Lookup("ns", "coll").StringValue(); id != "projects" {
		t.Errorf("%s", s.Current)
	}
	if looking.Current.Lookup("fullDocument", "members").String() != `["carol"]` {
		t.Errorf("%s", looking.Current)
	}

	// A driver resumes by itself.
	f.KillCursors()
	c.Set(3, bson.D{{Key: "name", Value: "y"}})
	expect(t, s, "update 3")
	f.Inject(Fault{Commands: []string{"getMore"}, Cut: true, Times: 1})
	c.Delete(3)
	expect(t, s, "delete 3")
	f.Inject(Fault{Commands: []string{"getMore"}, Code: 10107, Name: "NotWritablePrimary", Labels: NotPrimary().Labels, Times: 1})
	c.Insert(bson.M{"_id": 5})
	expect(t, s, "insert 5")

	// Another process resumes from a token, or cannot.
	c.Emit("rename", bson.D{{Key: "to", Value: bson.M{"db": "product", "coll": "old"}}})
	token := s.ResumeToken()
	expect(t, watch(t, projects, options.ChangeStream().SetResumeAfter(token)), "rename ")
	f.ForgetHistory()
	if _, err := projects.Watch(t.Context(), mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(token)); code(err) != 286 {
		t.Errorf("history lost: %v", err)
	}
	if _, err := projects.Watch(t.Context(), mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(bson.M{"_data": "82"})); code(err) != 260 {
		t.Errorf("foreign token: %v", err)
	}
}

func TestInvalidate(t *testing.T) {
	f := New(t)
	product(f)
	db := connect(t, f)
	s := watch(t, db.Collection("projects"))
	whole, err := db.Watch(t.Context(), mongo.Pipeline{bson.D{{Key: "$match", Value: bson.M{"ns.coll": bson.M{"$in": bson.A{"users", "projects"}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close(context.Background()) // the client's end closes it too
	f.Collection("else").Insert(bson.M{"_id": 1})
	f.Collection("projects").Drop()
	f.Collection("users").Delete("bob")
	expect(t, s, "drop ", "invalidate ")
	if s.Next(t.Context()) || s.Err() != nil {
		t.Errorf("after the end: %v, %v", s.Current, s.Err())
	}
	expect(t, whole, "drop ", "delete bob")
	token := s.ResumeToken()
	if _, err := db.Collection("users").Watch(t.Context(), mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(token)); code(err) != 260 {
		t.Errorf("resumeAfter an invalidate: %v", err)
	}
	expect(t, watch(t, db.Collection("users"), options.ChangeStream().SetStartAfter(token)), "delete bob")
	f.Invalidate()
	alone := NewStandalone(t)
	if _, err := connect(t, alone).Collection("users").Watch(t.Context(), mongo.Pipeline{}); code(err) != 40573 {
		t.Errorf("standalone: %v", err)
	}
}
