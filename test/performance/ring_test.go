package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/xmlscan"
	"rollcall/test/performance/load"
	"rollcall/test/performance/subject"
)

// ring is people of whom each passes on to the next what comes; one of five starts.
type ring struct {
	t       *testing.T
	srv     *subject.Server
	o       load.Options
	people  []*person
	flooder *person // floods, and talks to nobody
	deaf    []*load.Session
}

// person is somebody who looks at everything that comes.
type person struct {
	*load.Session
	next *person // gets what this one says

	mu       sync.Mutex
	last     int            // message that came
	statuses map[string]int // of others, by address
	delays   []time.Duration
	wrong    string
	marks    chan struct{} // messages to oneself
	said     int
	talk     *talk
}

// enter logs in those who read.
func (r *ring) enter(users []int) {
	r.t.Helper()
	for _, p := range r.crowd(users, r.o) {
		one := &person{Session: p, statuses: make(map[string]int), marks: make(chan struct{}, 1)}
		r.people = append(r.people, one)
	}
	r.flooder, r.people = r.people[0], r.people[1:]
	r.t.Cleanup(func() {
		for _, p := range append(slices.Clone(r.people), r.flooder) {
			if err := p.Cut(); err != nil {
				r.t.Error(err)
			}
		}
	})
	for i, p := range r.people {
		p.next = r.people[(i+1)%len(r.people)]
	}
	for _, p := range append(slices.Clone(r.people), r.flooder) {
		p.Start(p.take)
	}
}

func (r *ring) crowd(users []int, o load.Options) []*load.Session {
	r.t.Helper()
	all, err := load.Crowd(r.t.Context(), 0, len(users), 16, o, func(i int) string { return subject.User(users[i]) })
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// enterDeaf logs in those who read nothing.
func (r *ring) enterDeaf(users []int) {
	r.t.Helper()
	o := r.o
	o.ReadBuffer = 4096
	r.deaf = r.crowd(users, o)
	for _, s := range r.deaf {
		s.Stall()
		r.t.Cleanup(func() {
			if err := s.Cut(); err != nil {
				r.t.Error(err)
			}
		})
	}
}

func (p *person) take(el *xmlscan.Element) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := el.AttrString("from")
	switch {
	case el.AttrString("type") == "error": // of those who are gone
	case string(el.Local) == "presence":
		p.takePresence(el, from)
	case string(el.Local) == "message" && from == p.JID:
		p.marks <- struct{}{}
	case string(el.Local) == "message":
		p.takeMessage(el)
	}
}

// takePresence checks that nobody's status goes back.
func (p *person) takePresence(el *xmlscan.Element, from string) {
	_, text, found := strings.Cut(string(el.Inner), "<status>")
	if !found {
		return
	}
	text, _, _ = strings.Cut(text, "<")
	n, err := strconv.Atoi(text)
	if err != nil || n < p.statuses[from] {
		p.wrong = fmt.Sprintf("after status %d: %s", p.statuses[from], el.Raw)
	}
	p.statuses[from] = n
}

// takeMessage checks that nothing is missing, and passes the word on.
func (p *person) takeMessage(el *xmlscan.Element) {
	n, err := strconv.Atoi(el.AttrString("id"))
	if err != nil || n != p.last+1 {
		p.wrong = fmt.Sprintf("after message %d: %s", p.last, el.Raw)
	}
	p.last = n
	at, err := strconv.ParseInt(string(el.Inner[len("<body>"):len("<body>")+19]), 10, 64)
	if err != nil {
		p.wrong = err.Error()
	}
	p.delays = append(p.delays, time.Duration(time.Now().UnixNano()-at))
	talk := p.talk // of now: once nothing flies there may be another
	p.say()
	talk.flying.Add(-1)
}

// say tells the next one something. With mu.
func (p *person) say() {
	if p.talk.over.Load() {
		return
	}
	p.talk.flying.Add(1)
	p.said++
	text := fmt.Sprintf("<message xmlns='jabber:client' type='chat' to='%s' id='%d'><body>%d %s</body></message>",
		p.next.JID, p.said, time.Now().UnixNano(), p.talk.padding)
	if err := p.Send([]byte(text)); err != nil {
		p.talk.errs.CompareAndSwap(nil, &err)
	}
}

// load has everybody talk and change their presence, and beside does something else
// meanwhile. Afterwards everybody must have got everything.
func (r *ring) load(era int, beside func()) delays {
	r.t.Helper()
	k := &talk{padding: strings.Repeat("x", bodyBytes)}
	for _, p := range r.people {
		p.mu.Lock()
		p.talk, p.delays = k, nil
		p.mu.Unlock()
	}
	start := time.Now()
	for i := 0; i < len(r.people); i += 5 {
		p := r.people[i]
		p.mu.Lock()
		p.say()
		p.mu.Unlock()
	}
	announced := make(chan error, 1)
	go func() { announced <- r.announce(era) }()
	if beside != nil {
		beside()
	}
	if err := errors.Join(<-announced, pause(r.t.Context(), *loadFlag-time.Since(start))); err != nil {
		r.t.Fatal(err)
	}
	k.over.Store(true)
	took := time.Since(start)
	r.until("everybody has got what was said to them", func() bool { return k.flying.Load() == 0 })
	r.until("everybody has got everybody's last presence", func() bool { return r.missing((era+1)*stormRounds) == "" })
	if err := k.errs.Load(); err != nil {
		r.t.Fatal(*err)
	}
	var all []time.Duration
	for _, p := range r.people {
		p.mu.Lock()
		if p.wrong != "" {
			r.t.Errorf("%s: %s", p.JID, p.wrong)
		}
		all = append(all, p.delays...)
		p.mu.Unlock()
	}
	if len(all) < len(r.people)/5 {
		r.t.Errorf("%d messages for %d people", len(all), len(r.people))
	}
	return summary(all, took)
}

// announce changes everybody's presence now and then while people talk.
func (r *ring) announce(era int) error {
	for i := range stormRounds {
		for _, p := range r.people {
			text := fmt.Sprintf("<presence xmlns='jabber:client'><show>away</show><status>%d</status></presence>", era*stormRounds+i+1)
			if err := p.Send([]byte(text)); err != nil {
				return err
			}
		}
		if err := pause(r.t.Context(), *loadFlag/stormRounds); err != nil {
			return err
		}
	}
	return nil
}

// missing names somebody who does not know another's status, "" when all do.
func (r *ring) missing(status int) string {
	for _, p := range r.people {
		for _, q := range r.people {
			if projectOf(p.User) != projectOf(q.User) {
				continue
			}
			p.mu.Lock()
			knows := p.statuses[q.JID] == status
			p.mu.Unlock()
			if !knows {
				return p.User + " of " + q.User
			}
		}
	}
	return ""
}

// projectOf is the number of a user's project, as subject makes them.
func projectOf(user string) int {
	n, err := strconv.Atoi(strings.TrimLeft(user, "u"))
	if err != nil {
		return -1
	}
	return n / ofProject
}

func (r *ring) until(what string, holds func() bool) {
	r.t.Helper()
	if err := until(r.t.Context(), what, holds); err != nil {
		r.t.Fatal(err)
	}
}
