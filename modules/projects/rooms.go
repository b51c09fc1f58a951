package projects

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"rollcall/internal/jid"
	"rollcall/server"
)

// community is everybody of one virtual host, and the service host that answers
// for them.
type community struct {
	m       *Module
	host    string
	service jid.JID
	suffix  string // of ids in the presence store

	mu     sync.RWMutex
	people map[string]*person // by user
	rooms  map[string]*room
	peers  map[string]*peer // the other nodes that live, by name
	// forgotten is the highest revision told of anybody who is not in people any more.
	forgotten uint64

	// ties is held while memberships of people here change and read-held while
	// somebody is told something, who thus sees all of such a change or nothing.
	// It is taken after a person's mu and before any fan, and never held over a
	// store call.
	ties sync.RWMutex

	debtors debtors
	rev     atomic.Uint64 // the highest that the store told here or at another node
	stopped atomic.Bool

	seed maphash.Seed
	chat [64]sync.Mutex // by project: group messages reach everybody in one order
}

func newCommunity(m *Module, host string, service jid.JID, qualified bool) *community {
	c := &community{
		m: m, host: host, service: service,
		people: make(map[string]*person), rooms: make(map[string]*room), peers: make(map[string]*peer), seed: maphash.MakeSeed(),
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

// room is a project with people of this node.
type room struct {
	id     string
	mu     sync.RWMutex
	people []*person            // with connections to this node, in no order
	far    map[*person]struct{} // with connections to other nodes
	ended  bool                 // look again
	nodes  []interest
	log    changeLog
}

// interest is another node with people in the project.
type interest struct {
	peer    *peer
	number  uint64 // of its latest question that was answered; 0 for none
	assumed bool   // it has not said yet whether that is so
}

// join enters a person in a project's room, and reports whether nobody of this node
// was in it.
func (c *community) join(project string, p *person) (began bool) {
	for {
		r := c.openRoom(project)
		r.mu.Lock()
		if r.ended {
			r.mu.Unlock()
			c.close(r)
			continue
		}
		r.people = append(r.people, p)
		began = len(r.people) == 1
		r.mu.Unlock()
		return began
	}
}

// openRoom finds or makes a project's room. The room's lock, which is held while
// somebody is told something there, is never waited for under the community's.
func (c *community) openRoom(project string) *room {
	if r := c.room(project); r != nil {
		return r
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.rooms[project]
	if r == nil {
		r = &room{id: project}
		r.log.misses(c.rev.Load())
		for _, pe := range c.peers {
			r.nodes = append(r.nodes, interest{peer: pe, assumed: true})
		}
		c.rooms[project] = r
	}
	return r
}

// close makes a room unknown that has ended.
func (c *community) close(r *room) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rooms[r.id] == r {
		delete(c.rooms, r.id)
	}
}

// part takes a person out. It returns the room when nobody of this node is left in
// it; if nobody at all is, the room has ended.
func (c *community) part(project string, p *person) *room {
	r := c.room(project)
	if r == nil || !r.part(p) {
		return nil
	}
	if r.endIfEmpty(false) {
		c.close(r)
	}
	return r
}

// part takes a person out, and reports whether nobody of this node is left.
func (r *room) part(p *person) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.people, p); i >= 0 {
		last := len(r.people) - 1
		r.people[i], r.people[last] = r.people[last], nil
		r.people = shrink(r.people[:last])
	}
	return len(r.people) == 0
}

// endIfEmpty ends a room without people of this node, so that nobody comes in any more.
// Those of others keep it, unless it deserts them. It reports whether that was now.
func (r *room) endIfEmpty(desert bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended || len(r.people) > 0 || len(r.far) > 0 && !desert {
		return false
	}
	r.ended = true
	return true
}

// shrink gives back what a list does not need any more.
func shrink(list []*person) []*person {
	if len(list) >= 16 && len(list) < cap(list)/4 {
		return slices.Clone(list)
	}
	return list
}

// intern is a list of project ids that takes no memory of its own as far as people of
// this node are in the same projects.
func (c *community) intern(ids []string) *[]string {
	if len(ids) == 0 {
		return nil
	}
	if r := c.room(ids[0]); r != nil {
		if l := r.first(); l != nil && slices.Equal(*l, ids) {
			return l
		}
	}
	own := slices.Clone(ids)
	for i, id := range own {
		if r := c.room(id); r != nil {
			own[i] = r.id
		}
	}
	return &own
}

// first is the list of projects of somebody in the room.
func (r *room) first() *[]string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.people) == 0 {
		return nil
	}
	return r.people[0].member.Load()
}

// joinFar enters a person of another node, if there is a room.
func (c *community) joinFar(project string, p *person) bool {
	r := c.room(project)
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	if r.far == nil {
		r.far = make(map[*person]struct{})
	}
	r.far[p] = struct{}{}
	return true
}

func (c *community) partFar(project string, p *person) {
	if r := c.room(project); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.far, p)
	}
}

// endRooms ends rooms that nobody of this node is left in, and tells the other nodes
// that know of them. No fan and no c.ties are held.
func (c *community) endRooms(b *server.Batch, rooms []*room) {
	if len(rooms) == 0 || !c.m.clustered {
		return
	}
	for _, p := range c.desert(b, rooms) {
		c.tidy(p)
	}
	var projects []string
	var peers []*peer
	for _, r := range rooms {
		projects = append(projects, r.id)
		peers = r.interested(peers)
	}
	for _, pe := range peers {
		c.forget(b, pe, projects)
	}
}

// desert empties and removes rooms, unless somebody of this node came back, and
// returns whom it took out.
func (c *community) desert(b *server.Batch, rooms []*room) (people []*person) {
	if !slices.ContainsFunc(rooms, func(r *room) bool { return c.room(r.id) == r }) {
		return nil
	}
	c.ties.Lock()
	defer c.ties.Unlock()
	for _, r := range rooms {
		if !c.unlist(r) {
			continue
		}
		for _, p := range r.everybodyFar() {
			c.outOf(b, p, r.id)
			people = append(people, p)
		}
	}
	return people
}

// unlist makes a room unknown if nobody of this node is in it.
func (c *community) unlist(r *room) bool {
	if !r.endIfEmpty(true) {
		return false
	}
	c.close(r)
	return true
}

func (r *room) everybody() []*person {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.people)
}

func (r *room) everybodyFar() []*person {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Keys(r.far))
}

// interested appends the other nodes with people in the project, each once.
func (r *room) interested(list []*peer) []*peer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, i := range r.nodes {
		if !slices.Contains(list, i.peer) {
			list = append(list, i.peer)
		}
	}
	return list
}

// interest notes that a node has people in the project. A number is that of its
// question. It reports whether that was news.
func (r *room) interest(pe *peer, number uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.nodes {
		if r.nodes[i].peer == pe {
			r.nodes[i].number = max(r.nodes[i].number, number)
			r.nodes[i].assumed = false
			return false
		}
	}
	r.nodes = append(r.nodes, interest{peer: pe, number: number})
	return true
}

// asked is the number of the node's latest question about the project.
func (r *room) asked(pe *peer) uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, i := range r.nodes {
		if i.peer == pe {
			return i.number
		}
	}
	return 0
}

// uninterest notes that a node has nobody in the project, or only that this is not to
// be assumed.
func (r *room) uninterest(pe *peer, assumed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nodes = slices.DeleteFunc(r.nodes, func(i interest) bool { return i.peer == pe && (i.assumed || !assumed) })
}

func (c *community) room(project string) *room {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.rooms[project]
}

// everyRoom lists the rooms as they are now.
func (c *community) everyRoom() []*room {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Collect(maps.Values(c.rooms))
}

// others lists the people who are seen in one of the projects, other than p, each
// once, as they are now.
func (c *community) others(p *person, projects []string) []*person {
	var list []*person
	for _, id := range projects {
		r := c.room(id)
		if r == nil {
			continue
		}
		r.mu.RLock()
		list = slices.Grow(list, len(r.people)+len(r.far))
		for _, o := range r.people {
			if o != p && firstShared(projects, o.seenIn()) == id {
				list = append(list, o)
			}
		}
		for o := range r.far {
			if o == p || firstShared(projects, o.seenIn()) != id {
				continue
			}
			if _, twice := slices.BinarySearch(o.projects(), id); !twice {
				list = append(list, o)
			}
		}
		r.mu.RUnlock()
	}
	return list
}

// record notes a changed aggregate for the deltas of <online/>.
func (c *community) record(p *person, rev uint64, projects []string) {
	for _, id := range projects {
		if r := c.room(id); r != nil {
			r.log.note(rev, p.bare.Local())
		}
	}
}
