package sqlite_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"rollcall/storage"
	"rollcall/storage/sqlite"
)

// people are n users and projects of 50 members each.
func people(n, projects int) []storage.Record {
	var records []storage.Record
	for i := range n {
		u := storage.User{ID: fmt.Sprintf("user%05d", i), Name: fmt.Sprintf("User %d", i)}
		records = append(records, storage.Record{User: &storage.UserRecord{User: u, Credentials: keys(byte(i))}})
	}
	for i := range projects {
		p := storage.ProjectRecord{Project: storage.Project{ID: fmt.Sprintf("project%04d", i), Name: "Project"}}
		for j := range 50 {
			p.Members = append(p.Members, fmt.Sprintf("user%05d", (i*53+j)%n))
		}
		records = append(records, storage.Record{Project: &p})
	}
	return records
}

func BenchmarkImport(b *testing.B) {
	records := people(5000, 100)
	for b.Loop() {
		s := open(b, sqlite.Options{Path: newFile(b)})
		ok(b, s.Import(b.Context(), records))
	}
}

func BenchmarkImportAgain(b *testing.B) {
	records := people(5000, 100)
	s := open(b, sqlite.Options{Path: newFile(b)})
	for b.Loop() {
		ok(b, s.Import(b.Context(), records))
	}
}

// BenchmarkLogin reads what a login needs, with a context that can end.
func BenchmarkLogin(b *testing.B) {
	s := open(b, sqlite.Options{Path: newFile(b)})
	ok(b, s.Import(b.Context(), people(5000, 100)))
	login := func(ctx context.Context, i int) {
		id := fmt.Sprintf("user%05d", i*7919%5000)
		if _, err := s.User(ctx, id); err != nil {
			b.Error(err)
		}
		if c, err := s.Credentials(ctx, id); err != nil || len(c.SCRAM) != 3 {
			b.Error(err)
		}
	}
	b.Run("one", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			login(b.Context(), i)
		}
	})
	b.Run("many", func(b *testing.B) {
		var i atomic.Int64
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				login(b.Context(), int(i.Add(1)))
			}
		})
	})
	b.Run("roster", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			projects, err := s.ProjectsOf(b.Context(), fmt.Sprintf("user%05d", i*7919%5000))
			ok(b, err)
			for _, p := range projects {
				_, err := s.Members(b.Context(), p.ID)
				ok(b, err)
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	s := open(b, sqlite.Options{Path: newFile(b)})
	ok(b, s.Import(b.Context(), people(100, 2)))
	toggle := func(id string) {
		ok(b, s.Join(b.Context(), "project0000", id))
		ok(b, s.Leave(b.Context(), "project0000", id))
	}
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			toggle("user00099")
		}
	})
	b.Run("many", func(b *testing.B) {
		var i atomic.Int64
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			id := fmt.Sprintf("user%05d", 50+i.Add(1))
			for pb.Next() {
				toggle(id)
			}
		})
	})
}
