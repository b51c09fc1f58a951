package sqlite_test

import (
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

// BenchmarkRead is what a login, a roster and a first presence ask, with a context that
// can end.
func BenchmarkRead(b *testing.B) {
	b.Run("call=Credentials/stored=plain", func(b *testing.B) {
		s := open(b, sqlite.Options{Path: newFile(b), PlainPasswords: true})
		records := people(5000, 0)
		for _, r := range records {
			r.User.Credentials = &storage.Credentials{Plain: "secret"}
		}
		ok(b, s.Import(b.Context(), records))
		read(b, func(id string) error {
			c, err := s.Credentials(b.Context(), id)
			if c.Plain == "" {
				b.Fatal("no password")
			}
			return err
		})
	})
	s := open(b, sqlite.Options{Path: newFile(b)})
	ok(b, s.Import(b.Context(), people(5000, 100)))
	credentials := func(id string) error {
		c, err := s.Credentials(b.Context(), id)
		if len(c.SCRAM) != 3 {
			return fmt.Errorf("%d keys, %w", len(c.SCRAM), err)
		}
		return err
	}
	b.Run("call=Credentials/stored=keys", func(b *testing.B) { read(b, credentials) })
	b.Run("call=Credentials/stored=keys/parallel", func(b *testing.B) {
		var i atomic.Int64
		b.SetParallelism(8)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := credentials(fmt.Sprintf("user%05d", i.Add(1)*7919%5000)); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("call=User", func(b *testing.B) {
		read(b, func(id string) error { _, err := s.User(b.Context(), id); return err })
	})
	b.Run("call=ProjectsOf", func(b *testing.B) {
		read(b, func(id string) error { _, err := s.ProjectsOf(b.Context(), id); return err })
	})
	b.Run("call=Members", func(b *testing.B) {
		read(b, func(id string) error { _, err := s.Members(b.Context(), "project00"+id[len(id)-2:]); return err })
	})
}

func read(b *testing.B, f func(id string) error) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		ok(b, f(fmt.Sprintf("user%05d", i*7919%5000)))
	}
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
