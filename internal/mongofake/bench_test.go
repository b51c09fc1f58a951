package mongofake

import (
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// BenchmarkFind is a community of 20,000 users in 2,000 projects of 50, asked over the
// wire as a login asks.
func BenchmarkFind(b *testing.B) {
	f := New(b)
	var users, projects []any
	for i := range 20_000 {
		users = append(users, bson.M{"_id": fmt.Sprint("u", i), "name": fmt.Sprint("User ", i)})
	}
	for i := range 2000 {
		members := bson.A{}
		for j := range 50 {
			members = append(members, fmt.Sprint("u", (i*10+j*397)%20_000))
		}
		projects = append(projects, bson.M{"_id": fmt.Sprint("p", i), "name": fmt.Sprint("Project ", i), "members": members})
	}
	f.Collection("users").Insert(users...)
	f.Collection("projects").Insert(projects...)
	db := connect(b, f)
	b.Run("user", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if err := db.Collection("users").FindOne(b.Context(), bson.M{"_id": fmt.Sprint("u", i%20_000)}).Err(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("projects", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			c, err := db.Collection("projects").Find(b.Context(), bson.M{"members": fmt.Sprint("u", i%20_000)},
				options.Find().SetProjection(bson.M{"name": 1}).SetSort(bson.M{"_id": 1}))
			if err != nil {
				b.Fatal(err)
			}
			var got []bson.Raw
			if err := c.All(b.Context(), &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}
