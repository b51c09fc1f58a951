package nodes

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestKill kills a node with everybody on it, while each project has one member at
// another node: they are told once, and Redis says so, too.
func TestKill(t *testing.T) {
	const group = 51 // 50 that are killed, and who watches
	projects := max(1, *killFlag/(group-1))
	w := newWorld(t, projects*group, group)
	doomed, safe := w.start("doomed"), w.start("safe")
	var watchers []*watcher
	for p := range projects {
		x, err := watch(safe.address, user(p*group), "watch")
		if err != nil {
			t.Fatal(err)
		}
		mustSend(t, x.client, "<presence/>")
		watchers = append(watchers, x)
	}
	victims := crowd(t, projects*(group-1), func(i int) (*client, error) {
		p, m := i/(group-1), i%(group-1)
		c, err := login(doomed.address, user(p*group+1+m), "phone", func(*stanza) {})
		if err != nil {
			return nil, err
		}
		return c, c.send("<presence/>")
	})
	everybody := func(want int) func() bool {
		return func() bool {
			return !slices.ContainsFunc(watchers, func(x *watcher) bool { return x.available() != want })
		}
	}
	until(t, "every watcher sees all", everybody(group-1))
	online := func() int {
		r, err := w.read(projects*group, projects)
		if err != nil {
			t.Fatal(err)
		}
		return len(r.status)
	}
	until(t, "Redis has all", func() bool { return online() == projects*group })

	start := time.Now()
	doomed.end(syscall.SIGKILL)
	var told, gone time.Duration
	until(t, "all are offline, at the watchers and in Redis", func() bool {
		if told == 0 && everybody(0)() {
			told = time.Since(start)
		}
		if gone == 0 && online() == len(watchers) {
			gone = time.Since(start)
		}
		return told > 0 && gone > 0
	})
	for i, x := range watchers {
		x.settle(t, "end")
		if n := x.left(); n != group-1 || x.repeated() > 0 {
			t.Errorf("watcher %d was told %d times of %d who left, %d times twice", i, n, group-1, x.repeated())
		}
		for full, c := range x.seen {
			if full != x.jid && c.status != "0" {
				t.Errorf("%s left with status %q", full, c.status)
			}
		}
	}
	r, err := w.read(projects*group, projects)
	if err != nil {
		t.Fatal(err)
	}
	for p, members := range r.members {
		if len(members) != 1 {
			t.Errorf("%s has %v online", p, members)
		}
	}
	if limit := *leaseFlag + *leaseFlag/3; told > limit || gone > limit {
		t.Errorf("too late: the watchers knew after %s, Redis after %s", told, gone)
	}
	t.Logf("%d sessions in %d projects killed; lease %s: watchers told after %.1f s, Redis right after %.1f s, each told once",
		len(victims), projects, *leaseFlag, told.Seconds(), gone.Seconds())
}

// TestFlush flushes and restarts Redis while users on two nodes change their presence:
// the sets come back, and nobody is told anything twice.
func TestFlush(t *testing.T) {
	const group = 20
	users := *flushFlag / group * group
	w := newWorld(t, users, group)
	nodes := []*node{w.start("a"), w.start("b")}
	people := make([]*watcher, users)
	crowd(t, users, func(i int) (*client, error) {
		x, err := watch(nodes[i%2].address, user(i), "web")
		if err != nil {
			return nil, err
		}
		people[i] = x
		return x.client, x.send("<presence><status>0</status></presence>")
	})
	complete := func() bool {
		return !slices.ContainsFunc(people, func(x *watcher) bool { return x.available() != group-1 })
	}
	until(t, "everybody sees everybody", complete)

	shows := []string{"", "away", "dnd"}
	truth := make([]int, users) // what each last said
	serial := make([]int, users)
	change := func(i int) {
		serial[i]++
		show := shows[serial[i]%3]
		truth[i] = map[string]int{"": 1, "away": 3, "dnd": 2}[show]
		text := fmt.Sprintf("<status>%d</status>", serial[i])
		if show != "" {
			text = "<show>" + show + "</show>" + text
		}
		mustSend(t, people[i].client, "<presence>"+text+"</presence>")
	}
	right := func() bool {
		r, err := w.read(users, users/group)
		if err != nil {
			return false
		}
		for i := range users {
			want := max(truth[i], 1)
			if r.status[user(i)] != want {
				return false
			}
		}
		for p := range users / group {
			if len(r.members[project(p)]) != group {
				return false
			}
		}
		return true
	}
	delivered := func() (n int) {
		for _, x := range people {
			x.mu.Lock()
			n += x.changed
			x.mu.Unlock()
		}
		return n
	}
	for _, fault := range []struct {
		name string
		do   func()
	}{
		{"FLUSHALL", func() {
			if err := w.rdb.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}},
		{"kill -9 and restart", func() { w.redis.Kill(); w.redis.Restart() }},
	} {
		before, sent := delivered(), 0
		load := func(n int) {
			for k := range n {
				change((sent + k*7) % users)
			}
			sent += n
		}
		load(users / 2)
		fault.do()
		load(users / 2)
		took := until(t, "Redis is right again", right)
		for i, x := range people {
			x.settle(t, fmt.Sprint(fault.name, i))
		}
		until(t, "everybody is told of everything", func() bool {
			for _, x := range people {
				for i, other := range people {
					if i/group == slices.Index(people, x)/group && other != x && x.of(other.jid).serial != fmt.Sprint(serial[i]) {
						return false
					}
				}
			}
			return true
		})
		repeated, lost := 0, 0
		for _, x := range people {
			repeated += x.repeated()
			for _, what := range x.twice {
				t.Log(what)
			}
			if !x.alive() {
				lost++
			}
		}
		if repeated > 0 || lost > 0 || !complete() {
			t.Errorf("%s: %d presences came twice, %d sessions were lost", fault.name, repeated, lost)
		}
		t.Logf("%s with %d users online and %d changes meanwhile: Redis right after %.1f s; %d stanzas delivered (%d changes to %d readers each, and answers), %d twice, %d sessions lost",
			fault.name, users, sent, took.Seconds(), delivered()-before, sent, group, repeated, lost)
	}
}
