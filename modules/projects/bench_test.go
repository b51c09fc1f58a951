package projects_test

import (
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"rollcall/conf"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// moods are states that differ.
func moods(b *testing.B) [2]*xmlscan.Element {
	return [2]*xmlscan.Element{
		read(b, "<presence><show>dnd</show></presence>"), read(b, "<presence><show>away</show></presence>"),
	}
}

// BenchmarkChange is one change of presence, told to all others of a project.
func BenchmarkChange(b *testing.B) {
	for _, others := range []int{1, 50, 1000, 10_000} {
		b.Run(strconv.Itoa(others), func(b *testing.B) {
			c := newCrowd(b, others+1, others+1, 1)
			// If they were seen, they would be told of each other's coming for minutes.
			c.hidden(1, others+1)
			alice := c.available(0, 1, nil)[0]
			says := moods(b)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				utter(alice, says[i%2])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(others), "ns/delivery")
		})
	}
}

// BenchmarkLogin is what a client says after it has bound a resource: it asks for its
// roster and becomes available. All others are there.
func BenchmarkLogin(b *testing.B) {
	for _, bb := range []struct {
		name            string
		group, projects int
	}{{"1x50", 50, 1}, {"10x50", 50, 10}} {
		b.Run(bb.name, func(b *testing.B) {
			c := newCrowd(b, bb.group, bb.group, bb.projects)
			c.interested(1, bb.group)
			get := read(b, rosterGet)
			present := read(b, "<presence/>")
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				s := c.login(0, nil)
				b.StartTimer()
				utter(s, get)
				utter(s, present)
				b.StopTimer()
				leave(s)
				b.StartTimer()
			}
		})
	}
}

// BenchmarkLogout is the end of an available connection that asked for its roster.
func BenchmarkLogout(b *testing.B) {
	c := newCrowd(b, 50, 50, 1)
	c.interested(1, 50)
	get := read(b, rosterGet)
	present := read(b, "<presence/>")
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s := c.login(0, nil)
		utter(s, get)
		utter(s, present)
		b.StartTimer()
		leave(s)
	}
}

// BenchmarkFootprint is what it takes that a user with a session is online, and has
// asked for the roster: all of the modules', the store's, and the core's presence.
func BenchmarkFootprint(b *testing.B) {
	for _, bb := range []struct {
		name                    string
		people, group, projects int
	}{{"1x50", 200_000, 50, 1}, {"10x50", 20_000, 50, 10}} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				c := newCrowd(b, bb.people, bb.group, bb.projects)
				sessions := c.bound(0, bb.people)
				get := read(b, rosterGet)
				present := read(b, "<presence/>")
				before := heap()
				for _, s := range sessions {
					utter(s, present)
				}
				online := heap()
				for _, s := range sessions {
					utter(s, get)
				}
				interested := heap()
				b.ReportMetric(float64(online-before)/float64(bb.people), "B/online")
				b.ReportMetric(float64(interested-online)/float64(bb.people), "B/roster")
				runtime.KeepAlive(sessions)
			}
		})
	}
}

// BenchmarkStorm is everybody of a project of 200 changing state at once, on as many
// goroutines as there are processors; it reports how many writes that takes for each
// presence that is delivered.
func BenchmarkStorm(b *testing.B) {
	for _, coalesce := range []time.Duration{0, 5 * time.Millisecond} {
		b.Run("coalesce="+coalesce.String(), func(b *testing.B) {
			const people = 200
			st := new(stats)
			c := newCrowdWith(b, people, people, 1, &conf.Session{ResourceConflict: conf.ConflictReplace, Coalesce: coalesce})
			all := c.available(0, people, st)
			says := moods(b)
			st.stanzas.Store(0)
			st.writes.Store(0)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				everybody(all, says[i%2])
			}
			b.ReportMetric(float64(st.writes.Load())/float64(st.stanzas.Load()), "writes/delivery")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(st.stanzas.Load()), "ns/delivery")
		})
	}
}

// everybody says the same at once.
func everybody(all []*server.Session, el *xmlscan.Element) {
	var work sync.WaitGroup
	procs := runtime.GOMAXPROCS(0)
	for p := range procs {
		work.Go(func() {
			for n := p; n < len(all); n += procs {
				utter(all[n], el)
			}
		})
	}
	work.Wait()
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
