package nodes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
func (w *world) inMongo(m *mongotest.Server, users, group int) *mongo.Database {
	w.t.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(m.URI).SetTimeout(patience))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := c.Disconnect(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
	db := c.Database("product")
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
	_, err = db.Collection("users").InsertMany(w.t.Context(), people)
	_, err2 := db.Collection("projects").InsertMany(w.t.Context(), projects)
	if err := errors.Join(err, err2); err != nil {
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
	return db
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

// member is a client that counts what changes in its roster.
type member struct {
	*watcher
	pushes map[string]int // by contact, and by contact and " gone"
}

func enter(t *testing.T, address, user string) *member {
	t.Helper()
	m := &member{newWatcher(), make(map[string]int)}
	var err error
	m.client, err = login(address, user, "web", func(st *stanza) {
		if st.XMLName.Local == "iq" && st.Type == "set" {
			m.mu.Lock()
			who := attribute(st.Inner, "jid")
			if strings.Contains(st.Inner, "subscription='remove'") || strings.Contains(st.Inner, `subscription="remove"`) {
				who += " gone"
			}
			m.pushes[who]++
			m.mu.Unlock()
		}
		m.take(st)
	})
	if err != nil {
		t.Fatal(err)
	}
	mustSend(t, m.client, "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq><presence/>")
	return m
}

// attribute is the value of the first attribute of that name.
func attribute(text, name string) string {
	_, rest, _ := strings.Cut(text, " "+name+"=")
	if rest == "" {
		return ""
	}
	value, _, _ := strings.Cut(rest[1:], rest[:1])
	return value
}

// pushed copies how often the roster changed.
func (m *member) pushed() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.pushes)
}

// TestMongoMembership changes the members of a project in MongoDB, and nobody tells: who
// is online at either node gets contacts and presence, and the web application the right
// sets, once and within the interval.
func TestMongoMembership(t *testing.T) {
	const users, group = 9, 3
	w := newWorld(t, 0, 0)
	db := w.inMongo(mongotest.Start(t), users, group)
	nodes := []*node{w.start("a"), w.start("b")}
	ann, bob := enter(t, nodes[0].address, user(0)), enter(t, nodes[1].address, user(1))
	eve, fay := enter(t, nodes[1].address, user(3)), enter(t, nodes[0].address, user(6))
	until(t, "two see each other", func() bool { return ann.of(bob.jid).available && bob.of(ann.jid).available })
	change := func(op string, i int) {
		t.Helper()
		_, err := db.Collection("projects").UpdateOne(t.Context(), bson.M{"_id": project(0)},
			bson.M{op: bson.M{"members": bson.M{"uid": user(i)}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	online := func(want ...int) bool {
		r, err := w.read(users, users/group)
		var names []string
		for _, i := range want {
			names = append(names, user(i))
		}
		return err == nil && slices.Equal(r.members[project(0)], names) && len(r.status) == 4
	}
	until(t, "Redis has both", func() bool { return online(0, 1) })

	change("$push", 3)
	joined := until(t, "everybody learns of the new member", func() bool {
		return ann.of(eve.jid).available && bob.of(eve.jid).available && eve.of(ann.jid).available && eve.of(bob.jid).available && online(0, 1, 3)
	})
	change("$pull", 3)
	left := until(t, "everybody learns that the member left", func() bool {
		return ann.of(eve.jid).left == 1 && bob.of(eve.jid).left == 1 && eve.of(ann.jid).left == 1 && eve.of(bob.jid).left == 1 && online(0, 1)
	})
	change("$push", 6) // so that what is noticed twice would have been told
	until(t, "everybody learns of another member", func() bool {
		return ann.of(fay.jid).available && bob.of(fay.jid).available && online(0, 1, 6)
	})
	three := map[string]int{bare(user(0)): 1, bare(user(1)): 1, bare(user(2)): 1}
	both := maps.Clone(three)
	for who := range three {
		both[who+" gone"] = 1
	}
	two := map[string]int{bare(user(3)): 1, bare(user(3)) + " gone": 1, bare(user(6)): 1}
	for m, want := range map[*member]map[string]int{ann: two, bob: two, eve: both, fay: three} {
		who := m.jid
		// Each node looks by itself: presence may come from the other before the contact.
		if !within(patience, func() bool { return len(m.pushed()) == len(want) }) || !maps.Equal(m.pushed(), want) {
			t.Errorf("the roster of %s changed by %v, want %v", who, m.pushed(), want)
		}
		m.settle(t, "end")
		if m.repeated() > 0 {
			t.Errorf("%s was told twice: %v", who, m.twice)
		}
		if !m.alive() {
			t.Errorf("%s was dropped: %v", who, m.err)
		}
	}
	// An interval, two readings of the collections, and some for a busy machine.
	if limit := 4 * time.Second; joined > limit || left > limit {
		t.Errorf("told after %s and %s", joined, left)
	}
	t.Logf("members change in MongoDB, looked at every second: at both nodes and in Redis after %s (joined) and %s (left), each told once", ms(joined), ms(left))
}
