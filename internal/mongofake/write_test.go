package mongofake

import (
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

func entry(key string, value any) bson.D { return bson.D{{Key: key, Value: value}} }

// TestWrites writes where it is allowed, and nowhere else.
func TestWrites(t *testing.T) {
	f := New(t)
	product(f)
	f.AllowWrites("own_")
	db := connect(t, f)
	ctx := t.Context()
	var refused mongo.CommandError
	if _, err := db.Collection("users").InsertOne(ctx, entry("_id", "x")); !errors.As(err, &refused) || refused.Code != 13 {
		t.Errorf("insert into the product's: %v", err)
	}
	if _, err := db.Collection("users").DeleteMany(ctx, bson.D{}); !errors.As(err, &refused) {
		t.Errorf("delete from the product's: %v", err)
	}
	c := db.Collection("own_things")
	if _, err := c.InsertMany(ctx, []any{entry("_id", 1), entry("_id", 2), entry("_id", 3)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.InsertMany(ctx, []any{entry("_id", 4), entry("_id", 2), entry("_id", 5)}); !mongo.IsDuplicateKeyError(err) {
		t.Errorf("the same _id again: %v", err)
	}
	replaced := bson.D{{Key: "_id", Value: 2}, {Key: "v", Value: "two"}}
	if r, err := c.ReplaceOne(ctx, entry("_id", 2), replaced); err != nil || r.MatchedCount != 1 {
		t.Errorf("replace: %v, %v", r, err)
	}
	if r, err := c.ReplaceOne(ctx, bson.D{{Key: "_id", Value: 2}, {Key: "v", Value: "three"}}, replaced); err != nil || r.MatchedCount != 0 {
		t.Errorf("replace what is not there: %v, %v", r, err)
	}
	if _, err := c.UpdateOne(ctx, entry("_id", 2), entry("$set", entry("v", 1))); err == nil {
		t.Error("an update by operators was taken")
	}
	if r, err := c.DeleteOne(ctx, entry("_id", entry("$gte", 3))); err != nil || r.DeletedCount != 1 {
		t.Errorf("delete one: %v, %v", r, err)
	}
	if n := f.Collection("own_things").Documents(); n != 3 {
		t.Errorf("%d documents, want 3", n)
	}
	var found bson.D
	if err := c.FindOne(ctx, entry("v", "two")).Decode(&found); err != nil || len(found) != 2 {
		t.Errorf("found %v, %v", found, err)
	}
	if r, err := c.DeleteMany(ctx, bson.D{}); err != nil || r.DeletedCount != 3 {
		t.Errorf("delete all: %v, %v", r, err)
	}
}

// TestWritesOnce loses the answers to writes, which the driver repeats.
func TestWritesOnce(t *testing.T) {
	f := New(t)
	f.AllowWrites("")
	c := connect(t, f).Collection("things")
	f.Inject(Fault{Commands: []string{"insert"}, Cut: true, Times: 1})
	if _, err := c.InsertOne(t.Context(), entry("_id", 1)); err != nil {
		t.Error(err)
	}
	f.Inject(Fault{Commands: []string{"delete"}, Cut: true, Times: 1})
	if r, err := c.DeleteOne(t.Context(), entry("_id", 1)); err != nil || r.DeletedCount != 1 {
		t.Errorf("%v, %v", r, err)
	}
	if n := f.Count("insert"); n != 2 {
		t.Errorf("%d inserts came, want two of the same", n)
	}
}
