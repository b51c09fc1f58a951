package projects_test

import (
	"fmt"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/storage/memory"
)

// crowd has projects of 50 people, of whom alice is in each.
func crowd(projects int) *servertest.Directory {
	dir := servertest.NewDirectory().AddUser("alice", "Alice")
	for p := range projects {
		id := fmt.Sprintf("p%02d", p)
		dir.AddProject(id, id, "alice")
		for u := range 49 {
			// Neighbouring projects have half their people in common.
			dir.Join(id, fmt.Sprintf("user%04d", p*25+u))
		}
	}
	return dir
}

func people(b *testing.B, s *servertest.Server, projects int) {
	for u := range (projects-1)*25 + 49 {
		c := s.Online(fmt.Sprintf("user%04d/x", u))
		c.Discard()
		c.Drain()
	}
	b.ReportAllocs()
	b.ResetTimer()
}

// BenchmarkChange is one change of presence in a project of 50.
func BenchmarkChange(b *testing.B) {
	s := serve(b, crowd(1), memory.NewPresence(), 0)
	alice := s.Online("alice/web")
	alice.Discard()
	people(b, s, 1)
	shows := []string{"<presence><show>dnd</show></presence>", "<presence><show>away</show></presence>"}
	for i := 0; b.Loop(); i++ {
		alice.Send(shows[i%2])
	}
}

// BenchmarkLogin is the first presence of a user of 20 projects of 50 and, as it
// cannot be told apart, the last one: about 525 people are told twice, and the
// user is told of each of them.
func BenchmarkLogin(b *testing.B) {
	s := serve(b, crowd(20), memory.NewPresence(), 0)
	alice := s.Login("alice/web")
	alice.Discard()
	people(b, s, 20)
	for b.Loop() {
		alice.Send("<presence/><presence type='unavailable'/>")
	}
}
