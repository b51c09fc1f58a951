package projects

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"rollcall/internal/jid"
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

	// ties is held while memberships of people here change and read-held while
	// somebody is told something, who thus sees all of such a change or nothing.
	// It is taken after a person's mu and before any fan, and never held over a
	// store call.
	ties sync.RWMutex

	debtors debtors
	rev     atomic.Uint64 // the highest that the store told here
	stopped atomic.Bool

	seed maphash.Seed
	chat [64]sync.Mutex // by project: group messages reach everybody in one order
}

func newCommunity(m *Module, host string, service jid.JID, qualified bool) *community {
	c := &community{
		m: m, host: host, service: service,
		people: make(map[jid.JID]*person), rooms: make(map[string]*room), seed: maphash.MakeSeed(),
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
	log    changeLog
}

// join enters a person in a project's room.
func (c *community) join(project string, p *person) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[project]
	if r == nil {
		r = &room{people: make(map[*person]struct{})}
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
			if firstShared(projects, o.view.Load().projects) == id {
				list = append(list, o)
			}
		}
		r.mu.RUnlock()
	}
	return list
}

// record notes a changed aggregate for the deltas of <online/>.
func (c *community) record(p *person, rev uint64) {
	for _, id := range p.view.Load().projects {
		if r := c.room(id); r != nil {
			r.log.note(rev, p.bare.Local())
		}
	}
}
