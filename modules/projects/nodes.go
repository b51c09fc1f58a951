package projects

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"rollcall/internal/packed"
	"rollcall/server"
)

// peer is another node, as one community knows it, for one life of its process.
//
// A node asks every other one about each project that its people are in, and is told
// from then on what changes there. What is told of a person goes out under the
// person's fan, so that states arrive in their order.
type peer struct {
	node string

	mu     sync.Mutex // taken after a person's fan; c.mu and a room's lock come after it
	people map[*person]struct{}
	number uint64 // of the latest question
	turns  uint64 // of all questions so far
	begin  uint64
	open   *question  // that waits for its answer
	next   []question // to be asked then
	// renewed is when everything was asked because of what could not be read.
	renewed time.Time
}

func (pe *peer) add(p *person) {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	pe.people[p] = struct{}{}
}

func (pe *peer) remove(p *person) {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	delete(pe.people, p)
}

func (pe *peer) everybody() []*person {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	list := make([]*person, 0, len(pe.people))
	for p := range pe.people {
		list = append(list, p)
	}
	return list
}

// begun is the turn of the latest question that the node is known to have.
func (pe *peer) begun() uint64 {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	return pe.begin
}

// begins hears that the node has a question.
func (pe *peer) begins(turn uint64) {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	if pe.open != nil && pe.open.turn == turn {
		pe.begin = turn
	}
}

// Joined implements server.Peers.
func (m *Module) Joined(b *server.Batch, node string) {
	for _, c := range m.communities {
		pe, fresh := c.acquaint(node)
		// The deltas of <online/> may lack what was lost.
		for _, r := range c.everyRoom() {
			r.log.forget(c.rev.Load())
		}
		m.host.Tell(b, node, packed.AppendBool(c.header(kindHello), fresh))
		c.askEverything(b, pe)
	}
}

// Left implements server.Peers.
func (m *Module) Left(b *server.Batch, node string) {
	for _, c := range m.communities {
		c.mu.Lock()
		pe := c.peers[node]
		delete(c.peers, node)
		c.mu.Unlock()
		if pe == nil {
			continue
		}
		for _, r := range c.everyRoom() {
			r.uninterest(pe, false)
		}
		for i, p := range pe.everybody() {
			c.learn(b, pe, p.bare, c.silence())
			if i%flushEvery == flushEvery-1 {
				b.Flush()
			}
		}
	}
}

// flushEvery is how many people are told of before the connections are given what
// waits for them.
const flushEvery = 64

// Told implements server.Peers.
func (m *Module) Told(b *server.Batch, node string, data []byte) {
	r := packed.NewReader(data)
	host, kind := r.String(), r.Uint()
	c := m.communities[host]
	if c == nil {
		m.host.Log().Error("another node serves other hosts", "node", node, "host", host)
		return
	}
	pe := c.peer(node)
	if pe == nil {
		return // it will hear our hello
	}
	if err := c.told(b, pe, kind, r); err != nil {
		m.host.Log().Error("what a node tells cannot be read", "node", node, "kind", kind, "err", err)
		if time.Since(pe.renewed) > renewEvery {
			pe.renewed = time.Now()
			c.askEverything(b, pe)
		}
	}
}

// renewEvery bounds how often everything is asked because of what cannot be read.
const renewEvery = 30 * time.Second

func (c *community) told(b *server.Batch, pe *peer, kind uint64, r *packed.Reader) error {
	switch kind {
	case kindNews:
		user, n, err := readNews(r, c.host)
		if err != nil {
			return err
		}
		if !c.learn(b, pe, user, n) {
			c.forget(b, pe, n.projects)
		}
	case kindAsk:
		q, err := readQuestion(r)
		if err != nil {
			return err
		}
		c.reply(b, pe, q)
	case kindBegin:
		pe.begins(r.Uint())
	case kindAnswer:
		a, err := readAnswer(r)
		if err != nil {
			return err
		}
		c.answered(b, pe, a)
	case kindForget:
		for _, id := range readList(r) {
			if room := c.room(id); room != nil {
				room.uninterest(pe, false)
			}
		}
	case kindHello:
		if fresh := r.Bool(); r.Err() == nil {
			c.hello(b, pe, fresh)
		}
	case kindProbe:
		if err := c.probed(b, pe, r); err != nil {
			return err
		}
	case kindProbed:
		if err := c.answerProbe(b, r); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%w: kind %d", errUnread, kind)
	}
	return r.Err()
}

// header begins what is told to another node.
func (c *community) header(kind uint64) []byte {
	return packed.AppendUint(packed.AppendString(make([]byte, 0, 512), c.host), kind)
}

// acquaint returns what is known of a node; fresh says that it is nothing.
func (c *community) acquaint(node string) (pe *peer, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pe = c.peers[node]
	if pe == nil {
		pe, fresh = &peer{node: node, people: make(map[*person]struct{})}, true
		c.peers[node] = pe
	}
	return pe, fresh
}

func (c *community) peer(node string) *peer {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.peers[node]
}

func (c *community) everyPeer() []*peer {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Collect(maps.Values(c.peers))
}

// peersIn lists the other nodes with people in one of the projects, and those named.
func (c *community) peersIn(projects []string, named []string) (list []*peer) {
	if !c.m.clustered {
		return nil
	}
	for _, id := range projects {
		if r := c.room(id); r != nil {
			list = r.interested(list)
		}
	}
	for _, node := range named {
		if pe := c.peer(node); pe != nil && !slices.Contains(list, pe) {
			list = append(list, pe)
		}
	}
	return list
}

// post tells nodes what is shown of p's connections to this one, with what n says
// already; p.fan is held.
func (c *community) post(b *server.Batch, p *person, to []*peer, n *news) {
	if len(to) == 0 {
		return
	}
	data := p.state(n).append(c.header(kindNews))
	for _, pe := range to {
		c.m.host.Tell(b, pe.node, data)
	}
}

// forget tells a node that nobody here is in some projects, as far as that is so.
func (c *community) forget(b *server.Batch, pe *peer, projects []string) {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	// A question about a project that somebody comes back to is asked after this.
	over := slices.DeleteFunc(slices.Clone(projects), func(id string) bool { return c.room(id) != nil })
	if len(over) > 0 {
		c.m.host.Tell(b, pe.node, appendList(c.header(kindForget), over))
	}
}

// hello hears that a node may have missed what it was asked; a fresh one knows nothing
// of this node.
func (c *community) hello(b *server.Batch, pe *peer, fresh bool) {
	if fresh {
		c.askEverything(b, pe)
		return
	}
	pe.mu.Lock()
	defer pe.mu.Unlock()
	if pe.open != nil {
		pe.next = slices.Insert(pe.next, 0, *pe.open)
		pe.open = nil
		c.askNext(b, pe)
	}
}
