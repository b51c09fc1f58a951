package mongo_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/internal/mongofake"
	"rollcall/storage"
	"rollcall/storage/mongo"
)

// crowd fills a fake with users u0..., all members of each of the projects p0...
func crowd(f *mongofake.Fake, users, projects int) mongo.Config {
	var ids bson.A
	for i := range users {
		id := fmt.Sprintf("u%d", i)
		f.Collection("users").Insert(bson.D{{Key: "_id", Value: id}, {Key: "name", Value: "N. " + id}, {Key: "password", Value: "$2b$04$x"}})
		ids = append(ids, id)
	}
	for i := range projects {
		f.Collection("projects").Insert(bson.D{{Key: "_id", Value: fmt.Sprintf("p%d", i)}, {Key: "members", Value: ids}})
	}
	return mongo.Config{
		URI: f.URI, Database: "product",
		Users: mongo.Users{Name: "name"}, Projects: mongo.Projects{Name: "name"},
		Watch: mongo.Watch{Interval: 50 * time.Millisecond},
	}
}

// TestStampede lets thousands log in at once: each is looked for once, and each project
// is read once.
func TestStampede(t *testing.T) {
	f := mongofake.NewStandalone(t)
	const logins, users, projects = 10_000, 50, 5
	c := crowd(f, users, projects)
	c.Watch.Mode, c.Timeout = mongo.WatchNone, time.Minute
	s := open(t, c)
	before := f.Count("find")
	var wg sync.WaitGroup
	for i := range logins {
		wg.Go(func() {
			of, err := s.ProjectsOf(t.Context(), fmt.Sprintf("u%d", i%users))
			if err != nil || len(of) != projects {
				t.Errorf("%d projects, %v", len(of), err)
			}
			for _, p := range of {
				if m, err := s.Members(t.Context(), p.ID); err != nil || len(m) != users {
					t.Errorf("%d members, %v", len(m), err)
				}
			}
		})
	}
	wg.Wait()
	// Of a user: the document, and the projects. Of a project: the document, and the
	// members.
	if n := f.Count("find") - before; n > 2*users+2*projects {
		t.Errorf("%d queries for %d logins of %d users in %d projects", n, logins, users, projects)
	}
	if now, _ := f.Connections(); now > 40 {
		t.Errorf("%d connections", now)
	}
}

// TestTrouble lets everything befall the server under load: logins fail in time, cached
// rosters go on, and all is well by itself afterwards.
func TestTrouble(t *testing.T) {
	t.Parallel()
	inject := func(fault mongofake.Fault) func(*mongofake.Fake) {
		return func(f *mongofake.Fake) { f.Inject(fault) }
	}
	tests := map[string]struct {
		begin, end func(*mongofake.Fake)
		replica    bool
	}{
		"stalled":      {begin: inject(mongofake.Fault{Stall: true}), end: inject(mongofake.Fault{})},
		"cut":          {begin: inject(mongofake.Fault{Cut: true}), end: inject(mongofake.Fault{})},
		"slow":         {begin: inject(mongofake.Fault{Delay: 3 * time.Second}), end: inject(mongofake.Fault{})},
		"slow to find": {begin: inject(mongofake.Fault{Commands: []string{"find"}, Delay: 3 * time.Second}), end: inject(mongofake.Fault{})},
		"down": {
			begin: func(f *mongofake.Fake) { f.Down() },
			end: func(f *mongofake.Fake) {
				if err := f.Up(); err != nil {
					panic(err)
				}
			},
		},
		"no primary": {
			begin:   func(f *mongofake.Fake) { f.SetPrimary(false) },
			end:     func(f *mongofake.Fake) { f.SetPrimary(true) },
			replica: true,
		},
		"refusing": {begin: inject(mongofake.Fault{Commands: []string{"find"}, Code: 11600, Name: "InterruptedAtShutdown"}), end: inject(mongofake.Fault{})},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := mongofake.NewStandalone(t)
			if tt.replica {
				f = mongofake.New(t)
			}
			c := crowd(f, 50, 3)
			c.Timeout, c.Cache.Age = time.Second, time.Millisecond
			s := open(t, c)
			told := listen(t, s)
			for i := range 50 {
				_, err := s.ProjectsOf(t.Context(), fmt.Sprintf("u%d", i))
				ok(t, err)
			}
			_, err := s.Members(t.Context(), "p0")
			ok(t, err)
			tt.begin(f)
			loginsFail(t, s)
			for i := range 50 {
				start := time.Now()
				of, err := s.ProjectsOf(t.Context(), fmt.Sprintf("u%d", i))
				if took := time.Since(start); err != nil || len(of) != 3 || took > 2*time.Second {
					t.Errorf("a cached user: %v, %v after %v", of, err, took)
				}
			}
			if m, err := s.Members(t.Context(), "p0"); err != nil || len(m) != 50 {
				t.Errorf("a cached project: %d members, %v", len(m), err)
			}
			f.Collection("projects").Set("p1", bson.D{{Key: "members", Value: bson.A{"u7"}}})

			tt.end(f)
			eventually(t, "logins work again", func() bool {
				_, err := s.Credentials(t.Context(), "u1")
				return err == nil
			})
			// What happened meanwhile is told, once.
			var got []storage.Change
			for range 49 {
				got = append(got, <-told)
			}
			if slices.Contains(got, removed("u7", "p1")) || !slices.Contains(got, removed("u8", "p1")) {
				t.Errorf("told %v", got)
			}
			ok(t, s.Refresh(t.Context()))
			if len(told) > 0 {
				t.Errorf("told also %v", <-told)
			}
		})
	}
}

// TestPileUp wants no goroutine to stay behind while a server is stalled.
func TestPileUp(t *testing.T) {
	f := mongofake.NewStandalone(t)
	c := crowd(f, 50, 3)
	c.Timeout = 500 * time.Millisecond
	s := open(t, c)
	quiet := runtime.NumGoroutine()
	f.Inject(mongofake.Fault{Stall: true})
	loginsFail(t, s)
	for i := range 50 {
		if _, err := s.ProjectsOf(t.Context(), fmt.Sprintf("u%d", i)); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("projects never read: %v", err)
		}
	}
	eventually(t, "few goroutines", func() bool { return runtime.NumGoroutine()-quiet < 100 })
	f.Inject(mongofake.Fault{})
}

// loginsFail lets many log in at once, with a second at most for each, and some time for
// a machine that is busy.
func loginsFail(t *testing.T, s *mongo.Store) {
	t.Helper()
	const rounds, at = 2, 500
	var slowest atomic.Int64
	for range rounds {
		var wg sync.WaitGroup
		for i := range at {
			wg.Go(func() {
				start := time.Now()
				_, err := s.Credentials(t.Context(), fmt.Sprintf("u%d", i%50))
				if !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("a login: %v", err)
				}
				took := int64(time.Since(start))
				for {
					old := slowest.Load()
					if took <= old || slowest.CompareAndSwap(old, took) {
						break
					}
				}
			})
		}
		wg.Wait()
	}
	if took := time.Duration(slowest.Load()); took > 3*time.Second {
		t.Errorf("the slowest login took %v", took)
	}
}

// TestOpenWaits opens a store while there is no server.
func TestOpenWaits(t *testing.T) {
	t.Parallel()
	f := mongofake.NewStandalone(t)
	c := crowd(f, 1, 1)
	c.Timeout, c.ServerSelection = 300*time.Millisecond, 300*time.Millisecond
	f.Down()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := mongo.Open(ctx, c); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Open: %v", err)
	}
	opened := make(chan error, 1)
	go func() {
		s, err := mongo.Open(t.Context(), c)
		if err == nil {
			err = s.Close(context.Background())
		}
		opened <- err
	}()
	ok(t, f.Up())
	select {
	case err := <-opened:
		ok(t, err)
	case <-time.After(patience):
		t.Fatal("not opened")
	}
	f.Inject(mongofake.Fault{Commands: []string{"find"}, Code: 13, Name: "Unauthorized"})
	if _, err := mongo.Open(t.Context(), c); err == nil {
		t.Error("opened what may not be read")
	}
}

// TestOnlyReads lists every command there is: none writes.
func TestOnlyReads(t *testing.T) {
	t.Parallel()
	f := mongofake.New(t)
	c := crowd(f, 5, 2)
	c.Watch.Interval = 10 * time.Millisecond
	c.Metrics = prometheus.NewRegistry()
	s := open(t, c)
	told := listen(t, s)
	_, err := s.Members(t.Context(), "p0")
	ok(t, err)
	f.Collection("projects").Set("p0", bson.D{{Key: "members", Value: bson.A{"u1"}}})
	<-told
	for _, command := range []string{"insert", "update", "delete", "findAndModify", "createIndexes", "create", "bulkWrite", "drop"} {
		if n := f.Count(command); n > 0 {
			t.Errorf("%d times %s", n, command)
		}
	}
}

// TestKeysMissing offers mechanisms that somebody has no keys for: the log says who, for
// their clients choose such a mechanism and are not let in.
func TestKeysMissing(t *testing.T) {
	f := mongofake.NewStandalone(t)
	c := crowd(f, 1, 1)
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	f.Collection("users").Set("u0", bson.D{{Key: "password", Value: "SCRAM-SHA-256$4096:" + key + "$" + key + ":" + key}})
	log := &buffer{}
	c.Users.Scheme, c.Users.Mechanisms, c.Log = mongo.SchemeSCRAM, []string{"SCRAM-SHA-256", "SCRAM-SHA-1"}, log.logger()
	s := open(t, c)
	for range 2 {
		cred, err := s.Credentials(t.Context(), "u0")
		if err != nil || len(cred.SCRAM) != 1 {
			t.Errorf("%v, %v", cred, err)
		}
	}
	if n := strings.Count(log.String(), "no keys for SCRAM-SHA-1,"); n != 1 || strings.Contains(log.String(), "no keys for SCRAM-SHA-256,") {
		t.Errorf("logged %d times:\n%s", n, log)
	}
}
