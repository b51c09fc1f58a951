package mongo_test

import (
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/internal/mongofake"
	"rollcall/storage/mongo"
)

// BenchmarkRefresh compares a directory of 20,000 users and 2,000 projects of 50 in which
// nothing has changed: what a poll without dates costs. The server's part of it, in the
// same process, is about half.
func BenchmarkRefresh(b *testing.B) {
	f := mongofake.NewStandalone(b)
	ids := make(bson.A, 20_000)
	for i := range ids {
		id := bson.NewObjectID()
		ids[i] = id
		f.Collection("users").Insert(bson.D{{Key: "_id", Value: id}, {Key: "name", Value: fmt.Sprint("Some Body ", i)}, {Key: "password", Value: "$2b$04$......................DECxxKC6yJhJEVhuMuWhvvdZbsMWgLe"}})
	}
	for i := range 2000 {
		team := make(bson.A, 50)
		for k := range team {
			team[k] = ids[(i*50+k*7)%len(ids)]
		}
		f.Collection("projects").Insert(bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: "name", Value: fmt.Sprint("P", i)}, {Key: "members", Value: team}})
	}
	s := open(b, mongo.Config{URI: f.URI, Database: "product", Users: mongo.Users{Name: "name"}, Projects: mongo.Projects{Name: "name"}, Watch: mongo.Watch{Interval: time.Hour}, Timeout: time.Minute})
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Refresh(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
