package mongofake

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func connect(t testing.TB, f *Fake) *mongo.Database {
	t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(f.URI).
		SetServerSelectionTimeout(2 * time.Second).SetTimeout(5 * time.Second).SetHeartbeatInterval(500 * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.Disconnect(ctx); err != nil {
			t.Error(err)
		}
	})
	return c.Database("product")
}

// product has three projects and three users.
func product(f *Fake) {
	f.Collection("users").Insert(
		bson.D{{Key: "_id", Value: "alice"}, {Key: "name", Value: "Alice"}, {Key: "age", Value: 30}, {Key: "tags", Value: bson.A{"a", "b"}}},
		bson.D{{Key: "_id", Value: "bob"}, {Key: "name", Value: "Bob"}, {Key: "age", Value: int64(40)}, {Key: "blocked", Value: true}},
		bson.D{{Key: "_id", Value: "carol"}, {Key: "age", Value: 35.5}, {Key: "profile", Value: bson.D{{Key: "nick", Value: "C"}, {Key: "city", Value: "Rome"}}}},
	)
	member := func(uid, role string) bson.D {
		return bson.D{{Key: "uid", Value: uid}, {Key: "role", Value: role}}
	}
	f.Collection("projects").Insert(
		bson.D{{Key: "_id", Value: 1}, {Key: "members", Value: bson.A{member("alice", "owner"), member("bob", "guest")}}},
		bson.D{{Key: "_id", Value: 2}, {Key: "members", Value: bson.A{member("bob", "owner")}}, {Key: "archived", Value: true}},
		bson.D{{Key: "_id", Value: 3}, {Key: "members", Value: bson.A{}}},
	)
}

func TestFind(t *testing.T) {
	f := New(t)
	product(f)
	db := connect(t, f)
	d := func(args ...any) bson.D {
		out := bson.D{}
		for i := 0; i < len(args); i += 2 {
			out = append(out, bson.E{Key: args[i].(string), Value: args[i+1]})
		}
		return out
	}
	for _, tt := range []struct {
		collection string
		filter     bson.D
		want       string // ids
	}{
		{"users", d(), "alice bob carol"},
		{"users", d("_id", "bob"), "bob"},
		{"users", d("_id", "nobody"), ""},
		{"users", d("name", "Alice", "age", 30.0), "alice"},
		{"users", d("name", "Alice", "age", 31), ""},
		{"users", d("tags", "b"), "alice"},
		{"users", d("tags", bson.A{"a", "b"}), "alice"},
		{"users", d("name", nil), "carol"},
		{"users", d("profile.nick", "C"), "carol"},
		{"users", d("_id", d("$in", bson.A{"carol", "alice", "alice", "x"})), "alice carol"},
		{"users", d("_id", d("$nin", bson.A{"carol"})), "alice bob"},
		{"users", d("age", d("$gt", 30, "$lt", 40)), "carol"},
		{"users", d("age", d("$gte", 30, "$lte", int64(40))), "alice bob carol"},
		{"users", d("_id", d("$gt", "alice")), "bob carol"},
		{"users", d("name", d("$gt", 3)), ""},
		{"users", d("blocked", d("$ne", true)), "alice carol"},
		{"users", d("blocked", d("$exists", false)), "alice carol"},
		{"users", d("age", d("$not", d("$gt", 35))), "alice"},
		{"users", d("$or", bson.A{d("_id", "bob"), d("age", 30)}), "alice bob"},
		{"users", d("$and", bson.A{d("_id", "bob"), d("age", 30)}), ""},
		{"users", d("$nor", bson.A{d("_id", "bob"), d("age", 30)}), "carol"},
		{"projects", d("members.uid", "bob"), "1 2"},
		{"projects", d("members.uid", "bob", "archived", d("$ne", true)), "1"},
		{"projects", d("members.uid", d("$in", bson.A{"bob", "alice"})), "1 2"},
		{"projects", d("members", d("$elemMatch", d("uid", "bob", "role", "guest"))), "1"},
		{"elsewhere", d(), ""},
	} {
		c, err := db.Collection(tt.collection).Find(t.Context(), tt.filter, options.Find().SetSort(d("_id", 1)))
		if err != nil {
			t.Errorf("%v: %v", tt.filter, err)
			continue
		}
		var got []bson.Raw
		if err := c.All(t.Context(), &got); err != nil {
			t.Errorf("%v: %v", tt.filter, err)
		}
		if ids := ids(got); ids != tt.want {
			t.Errorf("%s %v: %q, want %q", tt.collection, tt.filter, ids, tt.want)
		}
	}
	for _, filter := range []bson.D{d("$where", "1"), d("age", d("$mod", 2)), d("$or", 1), d("_id", d("$in", "x"))} {
		if err := db.Collection("users").FindOne(t.Context(), filter).Err(); code(err) != 2 {
			t.Errorf("%v: %v", filter, err)
		}
	}
}

func ids(docs []bson.Raw) string {
	var out []string
	for _, d := range docs {
		out = append(out, strings.Trim(d.Lookup("_id").String(), `"`))
	}
	for i, s := range out { // {"$numberInt":"1"}
		if _, n, ok := strings.Cut(s, `":"`); ok {
			out[i] = strings.TrimRight(n, `"}`)
		}
	}
	return strings.Join(out, " ")
}

func code(err error) int32 {
	var e mongo.CommandError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestShape(t *testing.T) {
	f := New(t)
	product(f)
	users := connect(t, f).Collection("users")
	for _, tt := range []struct {
		id         string
		projection bson.M
		want       string
	}{
		{"alice", bson.M{"name": 1}, `{"_id": "alice","name": "Alice"}`},
		{"alice", bson.M{"name": 1, "_id": 0}, `{"name": "Alice"}`},
		{"alice", bson.M{"_id": 1}, `{"_id": "alice"}`},
		{"alice", bson.M{"age": 0, "tags": 0}, `{"_id": "alice","name": "Alice"}`},
		{"bob", bson.M{"_id": 0, "age": 0}, `{"name": "Bob","blocked": true}`},
		{"carol", bson.M{"profile.nick": 1}, `{"_id": "carol","profile": {"nick": "C"}}`},
		{"carol", bson.M{"profile.nick": 0, "age": 0}, `{"_id": "carol","profile": {"city": "Rome"}}`},
	} {
		raw, err := users.FindOne(t.Context(), bson.M{"_id": tt.id}, options.FindOne().SetProjection(tt.projection)).Raw()
		if err != nil || raw.String() != tt.want {
			t.Errorf("%v: %s, %v", tt.projection, raw, err)
		}
	}
	c, err := users.Find(t.Context(), bson.M{}, options.Find().SetSort(bson.M{"age": -1}).SetSkip(1).SetLimit(1))
	if err != nil {
		t.Fatal(err)
	}
	var got []bson.Raw
	if err := c.All(t.Context(), &got); err != nil || ids(got) != "carol" {
		t.Errorf("%s, %v", ids(got), err)
	}
}

// TestCursor reads more documents than fit in the first answer.
func TestCursor(t *testing.T) {
	f := New(t)
	var many []any
	for i := range 1000 {
		many = append(many, bson.M{"_id": i})
	}
	f.Collection("many").Insert(many...)
	db := connect(t, f)
	var got []bson.Raw
	c, err := db.Collection("many").Find(t.Context(), bson.M{}, options.Find().SetBatchSize(300))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.All(t.Context(), &got); err != nil || len(got) != 1000 || f.Count("getMore") != 3 {
		t.Errorf("%d documents by %d getMores, %v", len(got), f.Count("getMore"), err)
	}
	if c, err = db.Collection("many").Find(t.Context(), bson.M{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil || f.Count("killCursors") != 1 || len(f.cursors) != 0 {
		t.Errorf("closing a cursor: %v, %d left", err, len(f.cursors))
	}
	if n, err := db.Collection("many").CountDocuments(t.Context(), bson.M{"_id": bson.M{"$lt": 10}}); n != 10 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := db.Collection("many").EstimatedDocumentCount(t.Context()); n != 1000 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if c, err = db.Collection("many").Find(t.Context(), bson.M{}); err != nil {
		t.Fatal(err)
	}
	f.KillCursors()
	if err := c.All(t.Context(), &got); code(err) != 43 {
		t.Errorf("with a killed cursor: %v", err)
	}
}

func TestAggregate(t *testing.T) {
	f := New(t)
	product(f)
	projects := connect(t, f).Collection("projects")
	c, err := projects.Aggregate(t.Context(), bson.A{
		bson.M{"$match": bson.M{"archived": bson.M{"$ne": true}}}, bson.M{"$unwind": "$members"},
		bson.M{"$sort": bson.M{"members.uid": -1}}, bson.M{"$limit": 1}, bson.M{"$project": bson.M{"members.uid": 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []bson.Raw
	if err := c.All(t.Context(), &got); err != nil || len(got) != 1 || got[0].String() != `{"_id": {"$numberInt":"1"},"members": {"uid": "bob"}}` {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := projects.Aggregate(t.Context(), bson.A{bson.M{"$lookup": bson.M{}}}); code(err) != 40324 {
		t.Errorf("%v", err)
	}
}

// TestWritesNothing sees that whatever writes is refused, and that indexes are kept.
func TestWritesNothing(t *testing.T) {
	f := New(t)
	product(f)
	users := connect(t, f).Collection("users")
	if _, err := users.InsertOne(t.Context(), bson.M{"_id": "dave"}); code(err) != 13 {
		t.Errorf("insert: %v", err)
	}
	if _, err := users.UpdateByID(t.Context(), "alice", bson.M{"$set": bson.M{"name": "x"}}); code(err) != 13 || f.Count("update") == 0 {
		t.Errorf("update: %v", err)
	}
	if name, err := users.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.M{"members": 1}}); name != "members_1" || err != nil {
		t.Errorf("index: %q, %v", name, err)
	}
	list, err := users.Indexes().ListSpecifications(t.Context())
	if err != nil || len(list) != 2 || list[1].Name != "members_1" {
		t.Errorf("indexes: %v, %v", list, err)
	}
	f.Handle("collStats", func(bson.Raw) any { return bson.M{"ok": 1, "size": 7} })
	f.Handle("insert", func(bson.Raw) any { return Refusal(13, "Unauthorized", "no") })
	if raw, err := users.Database().RunCommand(t.Context(), bson.M{"collStats": "users"}).Raw(); err != nil || raw.Lookup("size").Int32() != 7 {
		t.Errorf("handled: %v, %v", raw, err)
	}
	if _, err := users.InsertOne(t.Context(), bson.M{"_id": "dave"}); code(err) != 13 {
		t.Errorf("insert, handled: %v", err)
	}
}

func TestConcurrent(t *testing.T) {
	f := NewStandalone(t)
	product(f)
	users := connect(t, f).Collection("users")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				var got struct{ Name string }
				if err := users.FindOne(t.Context(), bson.M{"_id": "bob"}).Decode(&got); err != nil || got.Name != "Bob" {
					t.Errorf("%+v, %v", got, err)
				}
			}
		})
	}
	for i := range 50 {
		f.Collection("users").Set("alice", bson.D{{Key: "age", Value: i}})
		f.Collection("users").Delete("carol")
		f.Collection("users").Insert(bson.D{{Key: "_id", Value: "carol"}})
	}
	all.Wait()
	if n := f.Count("find"); n != 400 {
		t.Errorf("%d finds", n)
	}
	if !slices.Contains([]string{"bob"}, text(f.Last("find").Lookup("filter").Document(), "_id")) {
		t.Errorf("%v", f.Last("find"))
	}
}

// FuzzMessage reads anything, and answers what is a command.
func FuzzMessage(f *testing.F) {
	body := document(bson.D{{Key: "find", Value: "users"}, {Key: "filter", Value: bson.M{"a.b": bson.M{"$in": bson.A{1}}}}, {Key: "$db", Value: "product"}})
	frame := func(op byte, rest []byte) []byte {
		b := make([]byte, headerSize)
		b[0], b[1], b[12], b[13] = byte(headerSize+len(rest)), byte((headerSize+len(rest))>>8), op, 7
		return append(b, rest...)
	}
	f.Add(frame(0xdd, append([]byte{0, 0, 0, 0, 0}, body...)))
	f.Add(frame(0xd4, append([]byte("\x00\x00\x00\x00a.$cmd\x00\x00\x00\x00\x00\x01\x00\x00\x00"), body...)))
	f.Add(frame(0xdd, []byte{0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}))
	server, err := Listen("127.0.0.1:0", true)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(server.Close)
	product(server)
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer ours.Close()
			if _, err := ours.Write(b); err != nil {
				return
			}
		}()
		m, err := readMessage(theirs)
		theirs.Close()
		<-done
		if err != nil || m.name() == "getMore" {
			return
		}
		if _, err := bson.Marshal(bson.D{{Key: "a", Value: server.answer(m.name(), m, 1)}}); err != nil {
			if _, is := server.answer(m.name(), m, 1).(*refusal); !is {
				t.Error(err)
			}
		}
	})
}
