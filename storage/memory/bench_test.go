package memory_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"rollcall/storage"
	"rollcall/storage/memory"
)

// BenchmarkFootprint reports what a user with one connection in one project of
// 50 takes, the strings included; budget 250 bytes.
func BenchmarkFootprint(b *testing.B) {
	const n = 200_000
	for b.Loop() {
		before := heap()
		p := memory.NewPresence()
		fill(b, p, n)
		perUser := float64(heap()-before) / n
		runtime.KeepAlive(p)
		b.ReportMetric(perUser, "bytes/user")
		if perUser > 250 {
			b.Errorf("%.0f bytes for each user, budget 250", perUser)
		}
	}
}

func BenchmarkSetChange(b *testing.B) {
	p := memory.NewPresence()
	fill(b, p, 100_000)
	states := thousandStates()
	projects := []string{projectID(0)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c := states[i%len(states)]
		c.Show = storage.Show(1 + i/len(states)%3)
		if _, err := p.Set(b.Context(), c, projects); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSetChangeParallel(b *testing.B) {
	p := memory.NewPresence()
	fill(b, p, 100_000)
	states := thousandStates()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			c := states[i%len(states)]
			c.Show = storage.Show(1 + i%3)
			if _, err := p.Set(b.Context(), c, nil); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkFirstOnline10 brings a user online in ten projects of 50 and, outside
// the measure, off again.
func BenchmarkFirstOnline10(b *testing.B) {
	p, projects := tenProjects(b)
	c := storage.ConnState{Conn: "c1", User: userID(25), Show: storage.Online}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Set(b.Context(), c, projects); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if _, err := p.Remove(b.Context(), c.User, c.Conn); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkRemove10 is the other half: the last connection of a user in ten
// projects of 50 ends.
func BenchmarkRemove10(b *testing.B) {
	p, projects := tenProjects(b)
	c := storage.ConnState{Conn: "c1", User: userID(25), Show: storage.Online}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		if _, err := p.Set(b.Context(), c, projects); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := p.Remove(b.Context(), c.User, c.Conn); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStatus50 asks for 50 users.
func BenchmarkStatus50(b *testing.B) {
	p := memory.NewPresence()
	fill(b, p, 100_000)
	ids := make([]string, 50)
	for i := range ids {
		ids[i] = userID(i * 1000)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Status(b.Context(), ids); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOnlineIn50(b *testing.B) {
	p := memory.NewPresence()
	fill(b, p, 100_000)
	project := projectID(500)
	b.ReportAllocs()
	for b.Loop() {
		users, _, err := p.OnlineIn(b.Context(), project)
		if err != nil || len(users) != 50 {
			b.Fatal(len(users), err)
		}
	}
}

// BenchmarkLargeProject brings users online in one project of 100,000.
func BenchmarkLargeProject(b *testing.B) {
	for b.Loop() {
		p := memory.NewPresence()
		for i := range 100_000 {
			// An odd multiplier: users come in no order.
			id := userID(i * 48271 % 100_000)
			if _, err := p.Set(b.Context(), storage.ConnState{Conn: "c", User: id, Show: storage.Online}, []string{"all"}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// thousandStates are of users spread over the 100,000 that fill brings online.
func thousandStates() []storage.ConnState {
	states := make([]storage.ConnState, 1000)
	for i := range states {
		states[i] = storage.ConnState{Conn: connID(i * 100), User: userID(i * 100), At: time.Unix(1, 0)}
	}
	return states
}

// tenProjects are the ids of ten projects with 49 users online in each; the
// 50th is user 25.
func tenProjects(tb testing.TB) (*memory.Presence, []string) {
	p := memory.NewPresence()
	projects := make([]string, 10)
	for i := range projects {
		projects[i] = fmt.Sprintf("project%d", i)
	}
	for i := range 50 {
		c := storage.ConnState{Conn: connID(i), User: userID(i), Show: storage.Online}
		if i == 25 {
			continue
		}
		if _, err := p.Set(tb.Context(), c, projects); err != nil {
			tb.Fatal(err)
		}
	}
	return p, projects
}
