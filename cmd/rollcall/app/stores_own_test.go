package app

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/conf"
	"rollcall/internal/mongofake"
	"rollcall/storage"
)

// TestOwnStores keeps what a user owns where users are: in the file, or in collections that
// are named as the configuration says.
func TestOwnStores(t *testing.T) {
	f := mongofake.NewStandalone(t)
	f.AllowWrites("chat_")
	f.Collection("users").Insert(bson.D{{Key: "_id", Value: "ann"}})
	f.Collection("projects").Insert(bson.D{{Key: "_id", Value: "p1"}})
	for name, change := range map[string]func(*conf.Storage){
		"sqlite": func(s *conf.Storage) { s.SQLite.Path = filepath.Join(t.TempDir(), "rollcall.db") },
		"mongo": func(s *conf.Storage) {
			s.Users, s.Mongo.URI, s.Mongo.Database, s.Mongo.Own.Prefix = conf.UsersMongo, f.URI, "product", "chat_"
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := conf.Default()
			change(&c.Storage)
			var s stores
			if err := s.open(t.Context(), Options{Config: c, Log: quiet()}, prometheus.NewRegistry()); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.close(context.Background(), quiet()); err != nil {
					t.Error(err)
				}
			}()
			refused, err := s.spool.Keep(t.Context(), storage.KeepLimit{}, storage.Kept{User: "ann", ID: "1", Data: []byte("x")})
			if err != nil || len(refused) > 0 {
				t.Errorf("Keep: %v, %v", refused, err)
			}
			if n, _, err := s.spool.CountWaiting(t.Context(), "ann"); n != 1 || err != nil {
				t.Errorf("%d messages wait, %v", n, err)
			}
			if err := s.documents.PutDocument(t.Context(), "ann", "k", []byte("x"), storage.DocumentLimit{}); err != nil {
				t.Errorf("PutDocument: %v", err)
			}
			if items, err := s.rosters.Roster(t.Context(), "ann"); err != nil || len(items) != 0 {
				t.Errorf("roster %v, %v", items, err)
			}
			if there, err := s.owners.UserExists(t.Context(), "nobody"); there || err != nil {
				t.Errorf("nobody is there: %t, %v", there, err)
			}
		})
	}
	for _, collection := range []string{"chat_spool", "chat_messages", "chat_documents"} {
		if n := f.Collection(collection).Documents(); n != 1 {
			t.Errorf("%s has %d documents, want one", collection, n)
		}
	}
}
