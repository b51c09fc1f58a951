package redis

import (
	"fmt"
	"slices"
	"time"

	"rollcall/storage"
)

// mirror is what this node's users said, as Redis is to know it: the truth, whatever
// becomes of Redis. It is bounded by the connections of this node, and by the users
// whose last connection went while Redis was away.
type mirror struct {
	users    map[string]*person
	projects map[string]int // how many users here are in it
	// behind are those of whom Redis may know something else.
	behind         map[string]struct{}
	behindProjects map[string]struct{}
	seq            int64 // of the last row: the time in microseconds, never the same twice
}

// person is a user with connections here, or one whom Redis may still believe to have
// some.
type person struct {
	rows     []row
	projects []string
	learned  int64 // when, as a row's sequence
	sent     bool  // Redis may know of it
}

type row struct {
	conn, value string
	visible     bool
}

// change is all that Redis has to be told of one user after one call. It is a state:
// told twice it changes nothing.
type change struct {
	user         string
	rows         []row
	projects     []string
	learned      int64
	listed       bool // projects count
	fresh        bool // Redis may know older things
	joined, left []string
	on, off      []string // projects that this node begins and ceases to have users in
}

func newMirror() mirror {
	return mirror{
		users: make(map[string]*person), projects: make(map[string]int),
		behind: make(map[string]struct{}), behindProjects: make(map[string]struct{}),
	}
}

// set records what a connection says. projects become the user's unless another
// connection here is visible already.
func (m *mirror) set(c storage.ConnState, projects []string, now time.Time) change {
	ch := change{user: c.User}
	p := m.users[c.User]
	if p == nil {
		p = new(person)
		m.users[c.User] = p
	}
	m.seq = max(m.seq+1, now.UnixMicro())
	if !p.visible() {
		ch.listed = true
		ch.on, ch.off = m.exchange(p, len(p.rows) > 0, slices.Clone(projects))
	}
	r := row{conn: c.Conn, value: value(c, m.seq), visible: c.Show != storage.Offline}
	if i := p.find(c.Conn); i >= 0 {
		p.rows[i] = r
	} else {
		p.rows = append(p.rows, r)
	}
	return ch
}

// remove forgets a connection.
func (m *mirror) remove(user, conn string) change {
	ch := change{user: user}
	p := m.users[user]
	if p == nil {
		return ch
	}
	i := p.find(conn)
	if i < 0 {
		return ch
	}
	p.rows = slices.Delete(p.rows, i, i+1)
	if len(p.rows) == 0 {
		_, ch.off = m.exchange(p, true, nil)
	}
	return ch
}

// join and leave change one membership. Of users who are not here they record nothing.
func (m *mirror) join(user, project string, now time.Time) change {
	m.seq = max(m.seq+1, now.UnixMicro())
	ch := change{user: user, joined: []string{project}, learned: m.seq}
	if p := m.users[user]; p != nil && len(p.rows) > 0 {
		ch.on, ch.off = m.exchange(p, true, append(slices.Clone(p.projects), project))
	}
	return ch
}

func (m *mirror) leave(user, project string, now time.Time) change {
	m.seq = max(m.seq+1, now.UnixMicro())
	ch := change{user: user, left: []string{project}, learned: m.seq}
	if p := m.users[user]; p != nil && len(p.rows) > 0 {
		rest := slices.DeleteFunc(slices.Clone(p.projects), func(id string) bool { return id == project })
		ch.on, ch.off = m.exchange(p, true, rest)
	}
	return ch
}

// exchange replaces the projects of a person, who was counted or was not, and returns
// those that this node begins and ceases to have users in.
func (m *mirror) exchange(p *person, counted bool, projects []string) (on, off []string) {
	slices.Sort(projects)
	projects = slices.Compact(projects)
	for _, id := range projects {
		if m.projects[id]++; m.projects[id] == 1 {
			on = append(on, id)
		}
	}
	if counted {
		for _, id := range p.projects {
			if m.projects[id]--; m.projects[id] == 0 {
				delete(m.projects, id)
				off = append(off, id)
			}
		}
	}
	p.projects, p.learned = projects, m.seq
	return on, off
}

// complete makes a change what Redis is to be told now, and takes for granted that it
// hears it; failed takes that back.
func (m *mirror) complete(ch *change) {
	p := m.users[ch.user]
	_, behind := m.behind[ch.user]
	delete(m.behind, ch.user)
	ch.rows = nil
	if p == nil {
		// Nothing of this user is here: Redis is told so.
		ch.fresh = ch.fresh || behind
		return
	}
	p.sent = true
	ch.rows = slices.Clone(p.rows)
	if behind || ch.fresh {
		ch.fresh, ch.listed = true, len(p.rows) > 0
	}
	if ch.listed {
		ch.projects, ch.learned = p.projects, p.learned
	}
	if len(p.rows) == 0 {
		delete(m.users, ch.user)
	}
}

// failed says that Redis may not have heard a change.
func (m *mirror) failed(ch *change) {
	p := m.users[ch.user]
	if p == nil {
		p = new(person)
		m.users[ch.user] = p
	}
	p.sent = true
	m.owe(ch)
}

// owe says that Redis does not hear a change now.
func (m *mirror) owe(ch *change) {
	for _, id := range ch.on {
		m.behindProjects[id] = struct{}{}
	}
	for _, id := range ch.off {
		m.behindProjects[id] = struct{}{}
	}
	p := m.users[ch.user]
	switch {
	case p == nil:
	case len(p.rows) == 0 && !p.sent:
		// Came and went: Redis needs not know.
		delete(m.users, ch.user)
		delete(m.behind, ch.user)
		return
	default:
		m.behind[ch.user] = struct{}{}
	}
}

// allBehind says that Redis may have lost everything.
func (m *mirror) allBehind() {
	for user := range m.users {
		m.behind[user] = struct{}{}
	}
	for id := range m.projects {
		m.behindProjects[id] = struct{}{}
	}
}

func (p *person) visible() bool {
	return slices.ContainsFunc(p.rows, func(r row) bool { return r.visible })
}

func (p *person) find(conn string) int {
	return slices.IndexFunc(p.rows, func(r row) bool { return r.conn == conn })
}

// value is a row as Redis keeps it: "code|priority|time.sequence|resource", the time
// in microseconds since 1970, held at the ends of what a script's numbers hold.
func value(c storage.ConnState, seq int64) string {
	const last = 9_000_000_000_000_000
	at := int64(last)
	if s := c.At.Unix(); s < last/1_000_000 {
		at = max(0, c.At.UnixMicro())
		if s < 0 {
			at = 0
		}
	}
	return fmt.Sprintf("%d|%d|%d.%d|%s", c.Show, c.Priority, at, seq, c.Resource)
}
