package roster_test

import (
	"fmt"
	"log/slog"
	"strconv"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/modules/roster"
	"rollcall/server"
	"rollcall/storage"
)

// large has a project of n members with names, and a second one with half of
// them.
func large(n int) *servertest.Directory {
	dir := servertest.NewDirectory().AddUser("alice", "Alice").Join("half", "alice").Join("all", "alice")
	for i := range n {
		id := fmt.Sprintf("user%05d", i)
		dir.AddUser(id, "Some Body "+id).Join("all", id)
		if i%2 == 0 {
			dir.Join("half", id)
		}
	}
	return dir
}

// BenchmarkGet is a whole roster get, from the request's bytes to the answer's, with
// the projects in memory.
func BenchmarkGet(b *testing.B) {
	for _, items := range []int{50, 1000} {
		b.Run(strconv.Itoa(items), func(b *testing.B) {
			dir := large(items)
			s := servertest.New(b, servertest.Options{
				Directory: dir, Log: slog.New(slog.DiscardHandler),
				Modules: []server.Module{roster.New(roster.Options{Projects: dir, Users: dir})},
			})
			alice := s.Login("alice/web")
			alice.Ask("get", "", get)
			alice.Discard()
			b.ReportAllocs()
			for b.Loop() {
				alice.Send("<iq type='get' id='1'>" + get + "</iq>")
			}
		})
	}
}

// BenchmarkMemberAdded is a change told to 100 interested members of a project
// of 1,000.
func BenchmarkMemberAdded(b *testing.B) {
	dir := large(1000)
	s := servertest.New(b, servertest.Options{
		Directory: dir, Log: slog.New(slog.DiscardHandler), Modules: []server.Module{roster.New(roster.Options{Projects: dir, Users: dir})},
	})
	for i := range 100 {
		c := s.Login(fmt.Sprintf("user%05d/x", i))
		c.Ask("get", "", get)
		c.Discard()
	}
	b.ReportAllocs()
	for b.Loop() {
		dir.Tell(
			storage.Change{Kind: storage.MemberAdded, User: "zoe", Project: "all"},
			storage.Change{Kind: storage.MemberRemoved, User: "zoe", Project: "all"})
	}
}
