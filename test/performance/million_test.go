package main

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/modules/projects"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
	"rollcall/test/performance/subject"
)

// The size of BenchmarkMillion; `make million` has the one that gave it its name.
var (
	populationFlag = flag.Int("population", 100_000, "sessions of BenchmarkMillion")
	largeFlag      = flag.Int("large", 10_000, "of whom so many share one large project")
)

// BenchmarkMillion holds many sessions of the real core in this process, over transports
// that count what is written to them, in projects of 50 and one of 10,000. An operation
// is a change of presence that the large project is told of. The other figures are what
// each session takes, and how long it took to come online, with everybody whom it told
// and was told of; and a cycle of the collector with its longest pause.
func BenchmarkMillion(b *testing.B) {
	c := newCity(b, *populationFlag, *largeFlag)
	empty := settled(b)
	began := time.Now()
	c.wake(b)
	took := time.Since(began)
	told := c.told.Load()
	risen := resident(b)
	full := settled(b)
	collected := time.Now()
	runtime.GC()
	cycle := time.Since(collected)
	pause := lastPause()

	sent, i := c.told.Load(), 0
	for b.Loop() {
		c.announce(b, i)
		i++
	}
	b.StopTimer()
	fanned := c.told.Load() - sent
	if want := int64(b.N) * int64(c.large); fanned < want {
		b.Errorf("%d presences, want %d", fanned, want)
	}
	n := float64(c.people)
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(fanned), "us/delivery")
	b.ReportMetric(float64(risen-empty.resident)/n, "risen-B/session")
	b.ReportMetric(float64(full.resident-empty.resident)/n, "resident-B/session")
	b.ReportMetric(float64(full.live-empty.live)/n, "live-B/session")
	b.ReportMetric(float64(took.Microseconds())/n, "us/login")
	b.ReportMetric(float64(told)/n, "told/login")
	b.ReportMetric(float64(cycle.Milliseconds()), "ms/collection")
	b.ReportMetric(float64(pause.Microseconds()), "us/pause")
	runtime.KeepAlive(c)
}

// bytes is what this process takes.
type bytes struct{ resident, live int }

// settled collects all garbage, gives memory back, and looks.
func settled(b *testing.B) bytes {
	b.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return bytes{resident(b), int(m.HeapAlloc)}
}

func resident(b *testing.B) int {
	b.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(data), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// lastPause is how long the last collection stopped everything.
func lastPause() time.Duration {
	stats := debug.GCStats{Pause: make([]time.Duration, 1)}
	debug.ReadGCStats(&stats)
	return stats.Pause[0]
}

// city is a core with many people.
type city struct {
	people, large int
	srv           *server.Server
	told          atomic.Int64
	first         *server.Session // somebody of the large project
}

var (
	_ storage.Users    = (*city)(nil)
	_ storage.Projects = (*city)(nil)
)

func newCity(b *testing.B, people, large int) *city {
	c := &city{people: people, large: min(people, large)}
	a, err := auth.New(auth.Config{Users: c, Iterations: auth.MinIterations, Secret: make([]byte, 32)})
	if err != nil {
		b.Fatal(err)
	}
	defaults := conf.Default()
	c.srv, err = server.New(server.Config{
		Hosts: []string{subject.Host}, Limits: defaults.Limits, Session: defaults.Session, Auth: a,
		AuthAttempts: defaults.Auth.Attempts, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		b.Fatal(err)
	}
	presence := memory.NewPresence()
	if err := c.srv.Start(b.Context(), projects.New(projects.Options{
		ServiceHost: "projects.@HOST@", Grace: defaults.Modules.Projects.Grace, LegacyShows: true, Directory: c, Presence: presence,
	})); err != nil {
		b.Fatal(err)
	}
	return c
}

// wake logs everybody in, on every processor.
func (c *city) wake(b *testing.B) {
	b.Helper()
	var next atomic.Int64
	var g sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() {
			for i := int(next.Add(1)) - 1; i < c.people && !b.Failed(); i = int(next.Add(1)) - 1 {
				s := c.login(b, i)
				if i == 0 {
					c.first = s
				}
			}
		})
	}
	g.Wait()
	if b.Failed() {
		b.FailNow()
	}
	c.settle(b)
}

// settle waits until nobody is told anything more.
func (c *city) settle(b *testing.B) {
	b.Helper()
	last := int64(-1)
	if err := until(b.Context(), "presence comes to rest", func() bool {
		now := c.told.Load()
		still := now == last
		last = now
		return still
	}); err != nil {
		b.Fatal(err)
	}
}

func (c *city) login(b *testing.B, i int) *server.Session {
	e := &end{told: &c.told}
	s := c.srv.NewSession(e, &server.Listener{})
	secret := base64.StdEncoding.EncodeToString([]byte("\x00" + subject.User(i) + "\x00" + subject.Password))
	open := func() {
		t := s.Begin()
		defer t.End()
		t.Open(server.StreamHeader{To: subject.Host, Version: "1.0"})
	}
	open()
	feed(b, s, "<auth xmlns='"+ns.SASL+"' mechanism='PLAIN'>"+secret+"</auth>")
	open()
	feed(b, s, "<iq type='set' id='b'><bind xmlns='"+ns.Bind+"'><resource>x</resource></bind></iq>")
	e.counts.Store(true)
	feed(b, s, "<presence/>")
	if s.Presence() == nil {
		b.Errorf("%s is not online", subject.User(i))
	}
	return s
}

// feed takes one element from the client.
func feed(b *testing.B, s *server.Session, text string) {
	scan := xmlscan.New(xmlscan.Limits{Bytes: 1 << 20, Depth: 100, Attrs: 100})
	scan.Scope([]xmlscan.Attr{{Name: []byte("xmlns"), Value: []byte(ns.Client), Quote: '\''}})
	var el xmlscan.Element
	if _, err := scan.Next([]byte(text), &el); err != nil {
		b.Error(err)
		return
	}
	t := s.Begin()
	defer t.End()
	t.Element(&el)
}

// announce is a change of presence that the large project is told of.
func (c *city) announce(b *testing.B, i int) {
	want := c.told.Load() + int64(c.large)
	show := []string{"away", "dnd", "xa"}[i%3]
	feed(b, c.first, "<presence><show>"+show+"</show></presence>")
	if c.told.Load() >= want {
		return
	}
	if err := until(b.Context(), "everybody is told", func() bool { return c.told.Load() >= want }); err != nil {
		b.Fatal(err)
	}
}

// end is a connection whose other end counts what comes and forgets it.
type end struct {
	told   *atomic.Int64
	counts atomic.Bool
}

func (e *end) Info() server.Info        { return server.Info{Kind: "memory", Remote: "memory", Secure: true} }
func (e *end) Open(server.StreamHeader) {}
func (e *end) Flush()                   {}
func (e *end) Close(server.Close)       {}

func (e *end) Write([]byte) error {
	if e.counts.Load() {
		e.told.Add(1)
	}
	return nil
}

// number is the i of subject.User(i).
func number(user string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(user, "u"))
	if err != nil {
		return -1
	}
	return n
}

// User implements storage.Users.
func (c *city) User(_ context.Context, id string) (storage.User, error) {
	if n := number(id); n < 0 || n >= c.people {
		return storage.User{}, storage.ErrNotFound
	}
	return storage.User{ID: id}, nil
}

// Credentials implements storage.Users.
func (c *city) Credentials(ctx context.Context, id string) (storage.Credentials, error) {
	_, err := c.User(ctx, id)
	return storage.Credentials{Plain: subject.Password}, err
}

// Mechanisms implements storage.Users.
func (c *city) Mechanisms() []string { return nil }

// largeProject comes before all others in the order of ids.
const largeProject = "all"

// Project implements storage.Projects.
func (c *city) Project(_ context.Context, id string) (storage.Project, error) {
	return storage.Project{ID: id}, nil
}

// ProjectsOf implements storage.Projects.
func (c *city) ProjectsOf(_ context.Context, user string) (list []storage.Project, err error) {
	n := number(user)
	if n >= 0 && n < c.large {
		list = append(list, storage.Project{ID: largeProject})
	}
	return append(list, storage.Project{ID: fmt.Sprintf("p%06d", n/ofProject)}), nil
}

// Members implements storage.Projects.
func (c *city) Members(_ context.Context, project string) (list []storage.User, err error) {
	first, last := 0, c.large
	if project != largeProject {
		p, err := strconv.Atoi(strings.TrimPrefix(project, "p"))
		if err != nil {
			return nil, storage.ErrNotFound
		}
		first, last = p*ofProject, min((p+1)*ofProject, c.people)
	}
	for i := first; i < last; i++ {
		list = append(list, storage.User{ID: subject.User(i)})
	}
	return list, nil
}
