package nodes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/crypto/bcrypt"

	"rollcall/internal/mongotest"
)

// loginLimit is how long a login may take that MongoDB does not answer: what is
// promised, and some for a machine that is busy.
const loginLimit = 2*time.Second + 500*time.Millisecond

// inMongo puts users, of which consecutive ones share a project, into a server, and lets
// nodes that start later look there.
func (w *world) inMongo(m *mongotest.Server, users, group int) {
	w.t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(m.URI).SetTimeout(patience))
	if err != nil {
		w.t.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		w.t.Fatal(err)
	}
	var people, projects []any
	for i := range users {
		people = append(people, bson.M{"_id": user(i), "name": "N. " + user(i), "password": string(hash)})
		if i%group == 0 {
			projects = append(projects, bson.M{"_id": project(i / group), "members": bson.A{}})
		}
		p := projects[i/group].(bson.M)
		p["members"] = append(p["members"].(bson.A), bson.M{"uid": user(i)})
	}
	_, err = c.Database("product").Collection("users").InsertMany(w.t.Context(), people)
	_, err2 := c.Database("product").Collection("projects").InsertMany(w.t.Context(), projects)
	if err := errors.Join(err, err2, c.Disconnect(context.Background())); err != nil {
		w.t.Fatal(err)
	}
	// What is cached is soon old, so that nothing works only because it is fresh.
	w.storage = fmt.Sprintf(`users: mongo
  mongo:
    uri: %s
    database: product
    users: {name: name}
    projects: {member: uid}
    cache: {age: 1s}
    watch: {interval: 1s}`, m.URI)
}

// asker is a client that asks for its roster.
type asker struct {
	*client
	answers chan *stanza
}

func newAsker(address, user string) (*asker, error) {
	a := &asker{answers: make(chan *stanza, 1)}
	var err error
	a.client, err = login(address, user, "ask", func(st *stanza) {
		if st.XMLName.Local == "iq" && st.ID == "roster" {
			a.answers <- st
		}
	})
	return a, err
}

// roster asks for the roster and returns how many are in it.
func (a *asker) roster() (contacts int, err error) {
	if err := a.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>"); err != nil {
		return 0, err
	}
	select {
	case st := <-a.answers:
		if st.Type != "result" {
			return 0, fmt.Errorf("%s: %s", a.jid, st.Inner)
		}
		return strings.Count(st.Inner, "<item "), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("%s: no roster within %s", a.jid, patience)
	}
}

// repeated does something over and over, and keeps how long that took at most.
type repeated struct {
	times   int
	slowest time.Duration
}

func (r *repeated) until(t *testing.T, stop <-chan struct{}, every time.Duration, do func() error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		start := time.Now()
		if err := do(); err != nil {
			t.Error(err)
		}
		r.times, r.slowest = r.times+1, max(r.slowest, time.Since(start))
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// TestMongoStalls lets the server with users and projects stand still while those online
// write to each other: nobody is dropped and nothing is late, presence and rosters go on,
// and logins are refused in time, until it goes on.
func TestMongoStalls(t *testing.T) {
	const users, group = 60, 20
	w := newWorld(t, 0, 0)
	m := mongotest.Start(t)
	w.inMongo(m, users, group)
	n := w.start("a")
	book := newLedger()
	people := crowd(t, users-1, func(i int) (*client, error) { // the last one comes late
		c, err := login(n.address, user(i), "web", book.take)
		if err != nil {
			return nil, err
		}
		return c, c.send("<presence/>")
	})
	one, err := watch(n.address, user(0), "watch")
	if err != nil {
		t.Fatal(err)
	}
	other, err := watch(n.address, user(1), "watch")
	if err != nil {
		t.Fatal(err)
	}
	ask, err := newAsker(n.address, user(group))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []*watcher{one, other} {
		mustSend(t, x.client, "<presence><priority>-1</priority></presence>")
	}
	until(t, "they see each other", func() bool { return one.of(other.jid).available && other.of(one.jid).available })
	roster := func() error {
		contacts, err := ask.roster()
		if err == nil && contacts < group-1 {
			err = fmt.Errorf("%d in the roster of %s, who has %d contacts", contacts, ask.jid, group-1)
		}
		return err
	}
	if err := roster(); err != nil {
		t.Fatal(err)
	}
	late := func() error {
		c, err := login(n.address, user(users-1), "late", func(*stanza) {})
		if err == nil {
			c.leave(true)
		}
		return err
	}

	stop := make(chan struct{})
	var g sync.WaitGroup
	talk(t, &g, stop, people, 1)
	pass := func() time.Duration {
		book.reset()
		<-time.After(*stallFlag)
		return book.percentile(0.99)
	}
	before := pass()
	m.Suspend()
	var logins, rosters repeated
	resumed := make(chan struct{})
	var during sync.WaitGroup
	during.Go(func() {
		logins.until(t, resumed, 200*time.Millisecond, func() error {
			var refused errRefused
			if err := late(); !errors.As(err, &refused) || refused.condition != "temporary-auth-failure" {
				return fmt.Errorf("a login ended with %v", err)
			}
			return nil
		})
	})
	during.Go(func() { rosters.until(t, resumed, 200*time.Millisecond, roster) })
	mustSend(t, one.client, "<presence><show>dnd</show><status>during</status><priority>5</priority></presence>")
	local := until(t, "the change at the other one", func() bool { return other.of(one.jid).serial == "during" })
	until(t, "the change in Redis", func() bool {
		r, err := w.read(1, 1)
		return err == nil && r.status[user(0)] == 2
	})
	meanwhile := pass()
	close(resumed)
	during.Wait() // the last of them must not meet a server that goes on
	m.Resume()
	again := until(t, "a login", func() bool { return late() == nil })
	close(stop)
	g.Wait()

	dropped := 0
	for _, c := range append(people, one.client, other.client, ask.client) {
		if !c.alive() {
			dropped++
			t.Errorf("%s was dropped: %v", c.jid, c.err)
		}
	}
	if book.disorder+book.twice+book.errors > 0 {
		t.Errorf("%d messages out of order, %d twice, %d came back", book.disorder, book.twice, book.errors)
	}
	if local > 2*time.Second || logins.slowest > loginLimit || rosters.slowest > 2*time.Second || again > 10*time.Second {
		t.Errorf("too slow: a change of presence %s, a login %s, a roster %s; a login after it went on %s", local, logins.slowest, rosters.slowest, again)
	}
	t.Logf("MongoDB stalled for %s: %d sessions dropped, p99 of a message %s before and %s during, a presence change took %s; %d logins refused with temporary-auth-failure, the slowest after %s; %d rosters, the slowest after %s; logins worked %s after it went on",
		*stallFlag, dropped, ms(before), ms(meanwhile), ms(local), logins.times, ms(logins.slowest), rosters.times, ms(rosters.slowest), ms(again))
}
