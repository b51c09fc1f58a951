package mongo_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/internal/mongofake"
	"rollcall/storage"
	"rollcall/storage/mongo"
)

// openStreams opens a store that learns of changes by change streams only, and waits
// until both are there.
func openStreams(t *testing.T, f *mongofake.Fake, change func(*mongo.Config)) *mongo.Store {
	t.Helper()
	c := crowd(f, 4, 2)
	c.Watch.Interval, c.Watch.Sweep = time.Hour, time.Hour
	c.Timeout = time.Second
	if change != nil {
		change(&c)
	}
	s := open(t, c)
	eventually(t, "two streams", func() bool { return f.Count("aggregate") >= 2 })
	return s
}

func members(ids ...string) bson.D {
	a := bson.A{}
	for _, id := range ids {
		a = append(a, id)
	}
	return bson.D{{Key: "members", Value: a}}
}

// settle ends what is under way, and then wants nothing more to be told.
func settle(t *testing.T, s *mongo.Store, told <-chan storage.Change) {
	t.Helper()
	ok(t, s.Refresh(t.Context()))
	if len(told) > 0 {
		t.Errorf("told also %v", <-told)
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	f := mongofake.New(t)
	s := openStreams(t, f, nil)
	told := listen(t, s)
	p := f.Collection("projects")

	before, err := s.Members(t.Context(), "p0")
	ok(t, err)
	start := time.Now()
	p.Set("p0", members("u0", "u1"))
	expectTold(t, told, removed("u2", "p0"), removed("u3", "p0"))
	t.Logf("told after %v", time.Since(start))
	after, err := s.Members(t.Context(), "p0")
	if err != nil || len(before) != 4 || len(after) != 2 {
		t.Errorf("members were %v and are %v, %v", before, after, err)
	}
	p.Insert(bson.D{{Key: "_id", Value: "p9"}, {Key: "members", Value: bson.A{"u0", "new"}}})
	expectTold(t, told, added("u0", "p9"))
	f.Collection("users").Insert(bson.D{{Key: "_id", Value: "new"}})
	expectTold(t, told, added("new", "p9"))
	f.Collection("users").Set("new", bson.D{{Key: "name", Value: "New"}})
	expectTold(t, told, storage.Change{Kind: storage.UserChanged, User: "new"})
	f.Collection("users").Delete("new")
	expectTold(t, told, removed("new", "p9"), storage.Change{Kind: storage.UserRemoved, User: "new"})
	p.Delete("p9")
	expectTold(t, told, removed("u0", "p9"), storage.Change{Kind: storage.ProjectRemoved, Project: "p9"})
	p.Emit("createIndexes", nil)
	ok(t, s.Changed(t.Context(), "p0"))
	settle(t, s, told)
}

// TestStreamInterrupted lets what can happen to a stream happen, with changes before,
// during and after: all are told, none twice.
func TestStreamInterrupted(t *testing.T) {
	t.Parallel()
	for name, interrupt := range map[string]func(f *mongofake.Fake, during func()){
		"disconnected": func(f *mongofake.Fake, during func()) { f.Disconnect(); during() },
		"cursors lost": func(f *mongofake.Fake, during func()) { f.KillCursors(); during() },
		"down": func(f *mongofake.Fake, during func()) {
			f.Down()
			during()
			if err := f.Up(); err != nil {
				panic(err)
			}
		},
		"history lost": func(f *mongofake.Fake, during func()) {
			f.Down()
			during()
			f.ForgetHistory()
			if err := f.Up(); err != nil {
				panic(err)
			}
		},
		"invalidated": func(f *mongofake.Fake, during func()) { f.Invalidate(); during() },
		"not primary": func(f *mongofake.Fake, during func()) {
			f.SetPrimary(false)
			during()
			f.SetPrimary(true)
		},
		"refused once": func(f *mongofake.Fake, during func()) {
			f.Inject(mongofake.Fault{Commands: []string{"getMore"}, Code: 280, Name: "ChangeStreamFatalError", Times: 1})
			during()
		},
		"stalled": func(f *mongofake.Fake, during func()) {
			f.Inject(mongofake.Fault{Stall: true})
			during()
			<-time.After(1500 * time.Millisecond)
			f.Inject(mongofake.Fault{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := mongofake.New(t)
			// The interval is also how often a stream is opened anew.
			s := openStreams(t, f, func(c *mongo.Config) { c.Watch.Interval = 100 * time.Millisecond })
			told := listen(t, s)
			p := f.Collection("projects")
			p.Set("p0", members("u0", "u1"))
			expectTold(t, told, removed("u2", "p0"), removed("u3", "p0"))
			interrupt(f, func() { p.Set("p1", members("u0")) })
			expectTold(t, told, removed("u1", "p1"), removed("u2", "p1"), removed("u3", "p1"))
			p.Set("p0", members())
			expectTold(t, told, removed("u0", "p0"), removed("u1", "p0"))
			p.Set("p0", members("u3"))
			expectTold(t, told, added("u3", "p0"))
			settle(t, s, told)
		})
	}
}

// TestStreamOtherIDs has ids in another field than _id, which is all that events name.
func TestStreamOtherIDs(t *testing.T) {
	t.Parallel()
	f := mongofake.New(t)
	f.Collection("projects").Insert(bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: "code", Value: "blue"}, {Key: "members", Value: bson.A{"u0"}}})
	id := bson.NewObjectID()
	s := openStreams(t, f, func(c *mongo.Config) { c.Projects.ID, c.Watch.Interval = "code", 50*time.Millisecond })
	told := listen(t, s)
	f.Collection("projects").Insert(bson.D{{Key: "_id", Value: id}, {Key: "code", Value: "red"}, {Key: "members", Value: bson.A{"u1"}}})
	expectTold(t, told, added("u1", "red"))
	f.Collection("projects").Set(id, members("u2"))
	expectTold(t, told, removed("u1", "red"), added("u2", "red"))
	f.Collection("projects").Delete(id)
	expectTold(t, told, removed("u2", "red"), storage.Change{Kind: storage.ProjectRemoved, Project: "red"})
	settle(t, s, told)
}

// TestStreamRefused has a replica set that does not allow change streams: the collections
// are polled.
func TestStreamRefused(t *testing.T) {
	t.Parallel()
	f := mongofake.New(t)
	f.Handle("aggregate", func(bson.Raw) any {
		return mongofake.Refusal(13, "Unauthorized", "not authorized on product to execute command")
	})
	log := &buffer{}
	s := openStreams(t, f, func(c *mongo.Config) { c.Watch.Interval, c.Log = 20*time.Millisecond, log.logger() })
	told := listen(t, s)
	f.Collection("projects").Set("p0", members("u0"))
	expectTold(t, told, removed("u1", "p0"), removed("u2", "p0"), removed("u3", "p0"))
	if !strings.Contains(log.String(), "no change stream for now") {
		t.Errorf("not a word about it:\n%s", log)
	}
	settle(t, s, told)
}

func TestStreamWanted(t *testing.T) {
	f := mongofake.NewStandalone(t)
	c := crowd(f, 1, 1)
	c.Watch.Mode = mongo.WatchStream
	if _, err := mongo.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "replica set") {
		t.Errorf("Open: %v", err)
	}
}

// TestExactlyOnce changes random documents of a replica set while the streams tell, the
// product says what it changed, everything is compared over and over, and connections
// break. Who believes all that is told knows the truth in the end.
func TestExactlyOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			f := mongofake.New(t)
			s := openStreams(t, f, func(c *mongo.Config) {
				c.Watch.Interval, c.Watch.Sweep = 20*time.Millisecond, 20*time.Millisecond
				c.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
			})
			told := listen(t, s)
			in := make(map[[2]string]bool)
			for u := range 4 {
				for p := range 2 {
					in[[2]string{fmt.Sprint("p", p), fmt.Sprint("u", u)}] = true
				}
			}
			random := rand.New(rand.NewPCG(seed, 11))
			truth := map[string][]string{"p0": {"u0", "u1", "u2", "u3"}, "p1": {"u0", "u1", "u2", "u3"}}
			for i := range 400 {
				p := fmt.Sprint("p", random.IntN(4))
				var now []string
				for u := range 4 {
					if random.IntN(2) == 0 {
						now = append(now, fmt.Sprint("u", u))
					}
				}
				if random.IntN(8) == 0 {
					f.Collection("projects").Delete(p)
					delete(truth, p)
				} else {
					f.Collection("projects").Insert(append(bson.D{{Key: "_id", Value: p}}, members(now...)...))
					truth[p] = now
				}
				switch random.IntN(40) {
				case 0:
					if i%4 == 0 { // the driver takes up to a second each time
						f.Disconnect()
					}
				case 1:
					f.KillCursors()
				case 2, 3, 4, 5, 6, 7, 8, 9:
					// It may be in vain; then it is made good.
					if err := s.Changed(t.Context(), p); err != nil {
						t.Logf("change %d: %v", i, err)
					}
				}
			}
			eventually(t, "a comparison to the end", func() bool { return s.Refresh(t.Context()) == nil })
			for len(told) > 0 {
				c := <-told
				at := [2]string{c.Project, c.User}
				if c.User == "" {
					continue
				}
				if in[at] == (c.Kind == storage.MemberAdded) {
					t.Fatalf("told %v, which was so already", c)
				}
				in[at] = c.Kind == storage.MemberAdded
			}
			for p := range 4 {
				p := fmt.Sprint("p", p)
				for u := range 4 {
					u := fmt.Sprint("u", u)
					if is := strings.Contains(strings.Join(truth[p], " "), u); in[[2]string{p, u}] != is {
						t.Errorf("%s in %s is %v, and %v was told", u, p, is, !is)
					}
				}
			}
		})
	}
}
