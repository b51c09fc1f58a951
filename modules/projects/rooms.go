package projects

import (
	"strings"
	"sync"
	"time"

	"rollcall/internal/jid"
	"rollcall/storage"
)

// community is everybody of one virtual host, and the service host that answers
// for them.
type community struct {
	m       *Module
	host    string
	service jid.JID
	suffix  string // of ids in the presence store

	mu     sync.RWMutex
	people map[jid.JID]*person
	rooms  map[string]*room

	chat [16]sync.Mutex // by project: group messages reach everybody in one order
}

func newCommunity(m *Module, host string, service jid.JID, qualified bool) *community {
	c := &community{
		m: m, host: host, service: service,
		people: make(map[jid.JID]*person), rooms: make(map[string]*room),
	}
	if qualified {
		// One store serves all virtual hosts; the first one's ids stay as the
		// product knows them.
		c.suffix = "@" + host
	}
	return c
}

// key is a user's or project's id in the presence store.
func (c *community) key(id string) string { return id + c.suffix }

// id undoes key.
func (c *community) id(key string) string { return strings.TrimSuffix(key, c.suffix) }

func (c *community) keys(ids []string) []string {
	if c.suffix == "" {
		return ids
	}
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = c.key(id)
	}
	return keys
}

// room is a project with people on this node.
type room struct {
	mu     sync.RWMutex
	people map[*person]struct{}
	log    []logged
	// base is the revision that the log starts after.
	base uint64
}

// logged says that a user's state in the project changed.
type logged struct {
	rev  uint64
	user string
	at   time.Time
}

// maxLog bounds how far back a delta of <online/> goes, in changes.
const maxLog = 256

// logSlack covers changes that were told later than their revision says.
const logSlack = 10 * time.Second

// join enters a person in a project's room.
func (c *community) join(project string, p *person) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[project]
	if r == nil {
		r = &room{people: make(map[*person]struct{}), base: ^uint64(0)}
		c.rooms[project] = r
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.people[p] = struct{}{}
}

// part takes a person out; an empty room ends.
func (c *community) part(project string, p *person) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[project]
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.people, p)
	if len(r.people) == 0 {
		delete(c.rooms, project)
	}
}

func (c *community) room(project string) *room {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.rooms[project]
}

// others lists the people on this node that share a project with p, each once,
// as they are now.
func (c *community) others(p *person, projects []string) []*person {
	var list []*person
	var common []string
	for _, id := range projects {
		r := c.room(id)
		if r == nil {
			continue
		}
		r.mu.RLock()
		for o := range r.people {
			if o == p {
				continue
			}
			common = shared(common[:0], projects, o.view.Load().projects)
			if len(common) > 0 && common[0] == id {
				list = append(list, o)
			}
		}
		r.mu.RUnlock()
	}
	return list
}

// record notes a changed aggregate for the deltas of <online/>.
func (c *community) record(p *person, ch storage.PresenceChange) {
	if ch.Old == ch.New {
		return
	}
	for _, id := range p.view.Load().projects {
		if r := c.room(id); r != nil {
			r.record(logged{rev: ch.Rev, user: p.bare.Local(), at: time.Now()})
		}
	}
}

func (r *room) record(l logged) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.base == ^uint64(0) {
		r.base = l.rev
	}
	if len(r.log) == maxLog {
		r.base = max(r.base, r.log[0].rev)
		r.log = append(r.log[:0], r.log[1:]...)
	}
	r.log = append(r.log, l)
}

// forget makes the next question for a delta get the whole list: who belongs to
// the project changed.
func (r *room) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log, r.base = nil, ^uint64(0)
}

// since lists the users whose state may have changed after a revision; ok is
// false when that is not known.
func (r *room) since(rev uint64, now time.Time) (users map[string]struct{}, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.base == ^uint64(0) || rev < r.base {
		return nil, false
	}
	users = make(map[string]struct{})
	for _, l := range r.log {
		if l.rev > rev || now.Sub(l.at) < logSlack {
			users[l.user] = struct{}{}
		}
	}
	return users, true
}
