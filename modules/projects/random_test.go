package projects_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage/memory"
)

// A long run: go test -race -run Model -seeds 1000 ./modules/projects
var (
	seeds = flag.Uint64("seeds", 8, "how many random lives the model tests lead")
	seed0 = flag.Uint64("seed0", 1, "the first of them")
)

var (
	modelUsers    = []string{"alice", "bob", "carol", "dave", "erin", "frank"}
	modelProjects = []string{"p1", "p2", "p3", "p4"}
	modelShows    = []string{"", "", "chat", "dnd", "away", "xa", "offline"}
)

// life is a server, or one per node, with random clients and a model of it. The
// observer belongs to every project and only asks.
type life struct {
	*model
	*nodes
	t      *testing.T
	hosts  []string
	store  *fragile
	rng    *rand.Rand
	said   int
	queue  []*servertest.Client // observers by host
	online map[string]map[string]string
	revs   map[string]string
	apart  bool // no resource is taken over from another node
}

// newLife starts a server that is alone, or one for each of the names.
func newLife(t *testing.T, seed uint64, grace time.Duration, tap func(server.TapEvent), hosts []string, names ...string) *life {
	store := &fragile{Presence: memory.NewPresence()}
	l := &life{
		nodes: &nodes{t: t, dir: servertest.NewDirectory(), store: store, grace: grace, tap: tap, hosts: hosts},
		t:     t, hosts: hosts, store: store, rng: rand.New(rand.NewPCG(seed, 0)), online: make(map[string]map[string]string), revs: make(map[string]string),
	}
	l.model = &model{t: t, store: l.store.Presence, hosts: hosts, grace: grace, members: make(map[string]map[string]bool), late: make(map[string]time.Time)}
	for _, u := range modelUsers {
		l.dir.AddUser(u, u)
	}
	for _, p := range modelProjects {
		l.dir.AddProject(p, p, "observer")
		l.members[p] = make(map[string]bool)
		for _, u := range modelUsers {
			if l.rng.IntN(2) == 0 {
				l.membership(p, u)
			}
		}
	}
	if len(names) == 0 {
		l.add("")
	} else {
		l.hub = memory.NewHub()
	}
	for _, name := range names {
		l.add(name)
	}
	for _, h := range hosts {
		l.queue = append(l.queue, l.list[0].Login("observer@"+h+"/x"))
	}
	return l
}

func pick[T any](l *life, list []T) T { return list[l.rng.IntN(len(list))] }

// membership turns one around.
func (l *life) membership(project, user string) {
	l.model.mu.Lock()
	joins := !l.members[project][user]
	l.members[project][user] = joins
	l.model.mu.Unlock()
	if joins {
		l.dir.Join(project, user)
	} else {
		l.dir.Leave(project, user)
	}
}

func (l *life) login(at *node, user, host, resource string) *line {
	if l.apart {
		resource += at.name
	}
	c := at.Login(user + "@" + host + "/" + resource)
	n := &line{client: c, node: at.name, bare: user + "@" + host, full: c.JID.String()}
	for _, old := range l.of(n.bare) {
		if old.full == n.full && old.client != nil {
			l.ended(old, true)
		}
	}
	l.lines = append(l.lines, n)
	return n
}

func (l *life) connected() []*line {
	var list []*line
	for _, x := range l.lines {
		if x.client != nil {
			list = append(list, x)
		}
	}
	return list
}

// say sends a random presence and returns what happened, for the story.
func (l *life) say(x *line) string {
	l.said++
	show, priority, text := pick(l, modelShows), pick(l, []int{-5, 0, 0, 0, 1, 5}), fmt.Sprint("s", l.said)
	l.says(x, show, priority, text)
	x.client.Send(broadcast(show, priority, text))
	return fmt.Sprintf("%s says %q %d %s", x.full, show, priority, text)
}

func broadcast(show string, priority int, text string) string {
	b := "<presence><status>" + text + "</status>"
	if show != "" {
		b += "<show>" + show + "</show>"
	}
	if priority != 0 {
		b += "<priority>" + strconv.Itoa(priority) + "</priority>"
	}
	return b + "</presence>"
}

// step does one random thing.
func (l *life) step() string {
	list := l.connected()
	op := l.rng.IntN(20)
	if len(list) == 0 && op > 2 {
		op = 0
	}
	switch {
	case op <= 1:
		x := l.login(pick(l, l.list), pick(l, modelUsers), pick(l, l.hosts), pick(l, []string{"web", "phone", "pad"}))
		return x.full + " logs in at " + x.node
	case op == 2:
		user, project := pick(l, modelUsers), pick(l, modelProjects)
		l.membership(project, user)
		return fmt.Sprintf("%s in %s: %v", user, project, l.members[project][user])
	case op <= 4:
		d := time.Duration(l.rng.IntN(3000)) * time.Millisecond
		time.Sleep(d)
		synctest.Wait()
		l.expire()
		return "sleep " + d.String()
	case op <= 6:
		x := pick(l, list)
		x.client.Send("<presence type='unavailable'/>")
		l.unavailable(x)
		return x.full + " is unavailable"
	case op <= 9:
		x := pick(l, list)
		how := l.rng.IntN(3)
		switch how {
		case 0:
			x.client.Drop()
		case 1:
			x.client.Hangup()
		case 2:
			x.client.Send("<bogus/>")
		}
		l.ended(x, false)
		return fmt.Sprint(x.full, " ends ", how)
	default:
		return l.say(pick(l, list))
	}
}

// ask keeps the observers' lists of who is online, by deltas where the server has
// them, and compares.
func (l *life) ask() {
	l.askAll(true)
}

// askAll does so, and compares if the lists should be right already.
func (l *life) askAll(right bool) {
	for i, host := range l.hosts {
		for _, id := range modelProjects {
			place := id + "@wtmuc." + host
			since := ""
			if l.revs[place] != "" && l.rng.IntN(4) > 0 {
				since = " since='" + l.revs[place] + "'"
			}
			answer := l.queue[i].Ask("get", place, "<online xmlns='"+project+"'"+since+"/>").SelectElement("online")
			if answer == nil {
				l.t.Fatalf("%s: no answer", place)
			}
			if answer.SelectAttr("since") == nil {
				l.online[place] = make(map[string]string)
			}
			for _, u := range answer.SelectElements("user") {
				l.online[place][u.SelectAttrValue("jid", "")] = u.SelectAttrValue("status", "")
			}
			l.revs[place] = answer.SelectAttrValue("rev", "")
			maps.DeleteFunc(l.online[place], func(_, status string) bool { return status == "0" })
			want := make(map[string]string)
			for _, u := range modelUsers {
				if show := l.aggregate(u + "@" + host); l.members[id][u] && show != 0 {
					want[u+"@"+host] = strconv.Itoa(int(show))
				}
			}
			if right && !maps.Equal(l.online[place], want) {
				l.t.Errorf("online in %s%s: %v, want %v", place, since, l.online[place], want)
			}
		}
	}
}

// lead runs steps, checking after each of them, and tells the story of a failure.
func (l *life) lead(steps int, each func()) {
	var story []string
	for range steps {
		story = append(story, l.step())
		each()
		if l.t.Failed() {
			l.t.Fatalf("after %d steps; the last ones:\n%s", len(story), strings.Join(story[max(0, len(story)-25):], "\n"))
		}
	}
}

func lives(t *testing.T, f func(t *testing.T, seed uint64)) {
	for seed := *seed0; seed < *seed0+*seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, seed) })
		})
	}
}

func hostsOf(seed uint64) []string {
	if seed%3 == 0 {
		return []string{"example.com", "other.example"}
	}
	return []string{"example.com"}
}

// One thing after the other: everybody's view and the store are right after
// every step, and nobody is told anything twice.
func TestModel(t *testing.T) {
	lives(t, func(t *testing.T, seed uint64) {
		l := newLife(t, seed, []time.Duration{grace, 0, grace, 1500 * time.Millisecond}[seed%4], nil, hostsOf(seed))
		l.lead(250, func() {
			l.check(true)
			l.checkStore()
			if l.rng.IntN(8) == 0 {
				l.ask()
			}
		})
	})
}

// The store fails now and then: others are told the truth all the same, and once
// it is back for a while so does the store.
func TestModelStoreFails(t *testing.T) {
	lives(t, func(t *testing.T, seed uint64) {
		l := newLife(t, seed, []time.Duration{grace, 0}[seed%2], nil, hostsOf(seed))
		l.lead(150, func() {
			if l.rng.IntN(12) == 0 {
				l.store.broken.Store(true)
			} else if l.store.broken.Load() && l.rng.IntN(12) == 0 {
				l.store.broken.Store(false)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				l.expire()
				l.checkStore()
				l.ask()
			}
			l.check(true)
		})
	})
}

// interrupt lets others go first, in the middle of telling.
func interrupt(server.TapEvent) {
	if rand.IntN(3) == 0 {
		runtime.Gosched()
	}
}

// Everything at once: when it is quiet again, all is right.
func TestModelConcurrent(t *testing.T) {
	lives(t, func(t *testing.T, seed uint64) {
		l := newLife(t, seed, []time.Duration{grace, 0}[seed%2], interrupt, hostsOf(seed))
		for range 4 {
			l.commotion(seed)
			l.store.broken.Store(false)
			time.Sleep(time.Minute)
			synctest.Wait()
			l.expire()
			l.check(false)
			l.checkStore()
			l.ask()
			if t.Failed() {
				t.FailNow()
			}
		}
		// Whoever is there or in the grace period when the server stops is offline.
		l.commotion(seed)
		l.store.broken.Store(false)
		l.list[0].Stop()
		l.lines = nil
		l.checkStore()
	})
}

// lock is a mutex that lets a bubble's time go on: whoever holds it may wait for a timer.
type lock chan struct{}

func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }

// commotion lets every resource and the directory act at the same time.
func (l *life) commotion(seed uint64) {
	var wg sync.WaitGroup
	mu := make(lock, 1) // of the model, and of logins
	for i, user := range modelUsers {
		for k, resource := range []string{"web", "phone"} {
			rng := rand.New(rand.NewPCG(seed, uint64(l.rng.Int())))
			host := l.hosts[i%len(l.hosts)]
			wg.Go(func() { l.slot(mu, rng, user, host, resource, 2*k) })
		}
	}
	rng := rand.New(rand.NewPCG(seed, uint64(l.rng.Int())))
	wg.Go(func() {
		for range 60 {
			l.membership(modelProjects[rng.IntN(len(modelProjects))], modelUsers[rng.IntN(len(modelUsers))])
			if seed%4 == 0 && rng.IntN(4) == 0 {
				l.store.broken.Store(!l.store.broken.Load())
			}
			if rng.IntN(4) == 0 {
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			}
		}
	})
	wg.Wait()
}

// slot leads one resource's life. Its priority is never another slot's, so that
// the order in which two resources speak decides nothing.
func (l *life) slot(mu lock, rng *rand.Rand, user, host, resource string, priority int) {
	mu.Lock()
	i := slices.IndexFunc(l.lines, func(x *line) bool {
		return x.client != nil && x.bare == user+"@"+host && strings.HasSuffix(x.full, "/"+resource)
	})
	var x *line
	if i >= 0 {
		x = l.lines[i]
	}
	mu.Unlock()
	locked := func(f func()) {
		mu.Lock()
		defer mu.Unlock()
		f()
	}
	for n := range 25 {
		switch op := rng.IntN(10); {
		case x == nil || op == 0:
			// Nodes order the connections of one address by the time.
			time.Sleep(time.Millisecond)
			locked(func() { x = l.login(l.list[rng.IntN(len(l.list))], user, host, resource) })
		case op == 1:
			x.client.Drop()
			locked(func() { l.ended(x, false) })
			x = nil
		case op == 2:
			// What was on its way when the client left is not a view.
			x.client.Send("<presence type='unavailable'/>")
			locked(func() { l.unavailable(x) })
		default:
			show, text := modelShows[rng.IntN(len(modelShows))], fmt.Sprint(x.full, n, "-", rng.Uint32())
			if !x.told {
				x.client.Drain()
			}
			locked(func() { l.says(x, show, priority, text) })
			x.client.Send(broadcast(show, priority, text))
		}
		if rng.IntN(4) == 0 {
			time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		}
	}
}
