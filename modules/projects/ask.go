package projects

import (
	"slices"

	"rollcall/internal/packed"
	"rollcall/server"
)

const (
	// maxAsked bounds the projects in one question.
	maxAsked = 256
	// maxReply is about how many bytes a question is answered with; the rest is asked
	// again. It keeps what waits for a node far below what may wait.
	maxReply = 1 << 20
)

// askAll asks every other node who of it is in projects that somebody of this node
// just came into.
func (c *community) askAll(b *server.Batch, projects []string) {
	if len(projects) == 0 {
		return
	}
	for _, pe := range c.everyPeer() {
		c.ask(b, pe, projects)
	}
}

func (c *community) ask(b *server.Batch, pe *peer, projects []string) {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	pe.number++
	pe.next = append(pe.next, question{number: pe.number, projects: slices.Sorted(slices.Values(projects))})
	c.askNext(b, pe)
}

// askEverything asks a node about all projects. Whoever it does not tell of is gone.
func (c *community) askEverything(b *server.Batch, pe *peer) {
	rooms := c.everyRoom()
	projects := make([]string, len(rooms))
	for i, r := range rooms {
		projects[i] = r.id
	}
	slices.Sort(projects)
	pe.mu.Lock()
	defer pe.mu.Unlock()
	pe.number++
	pe.open, pe.next = nil, []question{{number: pe.number, projects: projects}}
	c.askNext(b, pe)
}

// askNext asks the next part of what is to be asked, unless an answer is awaited; pe.mu
// is held.
func (c *community) askNext(b *server.Batch, pe *peer) {
	for pe.open == nil && len(pe.next) > 0 {
		q := &pe.next[0]
		n := min(len(q.projects), maxAsked)
		part := slices.DeleteFunc(slices.Clone(q.projects[:n]), func(id string) bool { return c.room(id) == nil })
		number, first := q.number, q.first
		if q.projects = q.projects[n:]; len(q.projects) == 0 {
			pe.next = pe.next[1:]
			q = nil
		}
		if len(part) == 0 {
			continue
		}
		pe.turns++
		pe.open = &question{number: number, turn: pe.turns, first: first, projects: part}
		if first == 0 {
			pe.open.first = pe.turns
		}
		if q != nil {
			q.first = pe.open.first
		}
		c.m.host.Tell(b, pe.node, pe.open.append(c.header(kindAsk)))
	}
}

// reply tells a node of everybody here who is in the projects it asks about, each once
// for all parts of a question, and tells it of changes there from now on.
func (c *community) reply(b *server.Batch, pe *peer, q *question) {
	a := &answer{turn: q.turn}
	c.interest(pe, q)
	c.m.host.Tell(b, pe.node, packed.AppendUint(c.header(kindBegin), q.turn))
	// Again: somebody may have come into a project that nobody of this node was in. What
	// was told of that before the question began counts as older than it.
	rooms := c.interest(pe, q)
	size := 0
	for _, r := range rooms {
		if size > maxReply {
			break
		}
		people := r.everybody()
		if len(people) > 0 {
			a.here = append(a.here, r.id)
		}
		for _, p := range people {
			size += c.tellOne(b, pe, p, func(projects []string) bool {
				return firstShared(q.projects, projects) == r.id && !c.toldBefore(pe, q, projects)
			})
		}
		at, _ := slices.BinarySearch(q.projects, r.id)
		a.count = uint64(at + 1)
	}
	if size <= maxReply {
		a.count = uint64(len(q.projects))
	}
	a.rev = c.rev.Load()
	c.m.host.Tell(b, pe.node, a.append(c.header(kindAnswer)))
}

// interest notes that a node has people in the projects that it asks about, and lists
// those that somebody of this node is in.
func (c *community) interest(pe *peer, q *question) (rooms []*room) {
	for _, id := range q.projects {
		if r := c.room(id); r != nil {
			r.interest(pe, q.number)
			rooms = append(rooms, r)
		}
	}
	return rooms
}

// toldBefore reports whether an earlier part of the question was about somebody with
// these projects.
func (c *community) toldBefore(pe *peer, q *question, projects []string) bool {
	return slices.ContainsFunc(minus(projects, q.projects), func(id string) bool {
		r := c.room(id)
		return r != nil && r.asked(pe) == q.number
	})
}

// tellOne tells a node what is shown of p's connections to this one, if there is
// anything and p's projects fit.
func (c *community) tellOne(b *server.Batch, pe *peer, p *person, fits func(projects []string) bool) (size int) {
	p.fan.Lock()
	defer p.fan.Unlock()
	if !p.shownHere() || !fits(p.projects()) {
		return 0
	}
	data := p.state(new(news)).append(c.header(kindNews))
	c.m.host.Tell(b, pe.node, data)
	return len(data)
}

// answered takes the end of an answer: who was asked about and not told of is gone, and
// the node is told of everybody here in the projects that were not known to be its
// people's, too.
func (c *community) answered(b *server.Batch, pe *peer, a *answer) {
	q := pe.close(a)
	if q == nil {
		return // to a question that was asked again
	}
	c.sawRev(a.rev)
	var began []string
	for _, id := range q.projects {
		c.sweep(b, pe, id, q)
		r := c.room(id)
		if r == nil {
			continue
		}
		// Whoever left there before is not among those told of.
		r.log.misses(a.rev)
		if !slices.Contains(a.here, id) {
			r.uninterest(pe, true)
		} else if r.interest(pe, 0) {
			began = append(began, id)
		}
	}
	slices.Sort(began)
	for _, id := range began {
		r := c.room(id)
		if r == nil {
			continue
		}
		for _, p := range r.everybody() {
			c.tellOne(b, pe, p, func(projects []string) bool { return firstShared(began, projects) == id })
		}
	}
	pe.mu.Lock()
	defer pe.mu.Unlock()
	c.askNext(b, pe)
}

// close ends the open question and returns as much of it as was answered; the rest is
// asked again.
func (pe *peer) close(a *answer) *question {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	q := pe.open
	if q == nil || q.turn != a.turn {
		return nil
	}
	pe.open = nil
	n := min(uint64(len(q.projects)), a.count)
	if rest := q.projects[n:]; len(rest) > 0 && n > 0 {
		pe.next = slices.Insert(pe.next, 0, question{number: q.number, first: q.first, projects: rest})
	}
	q.projects = q.projects[:n]
	return q
}

// sweep takes out whom a node did not tell of since it had the question.
func (c *community) sweep(b *server.Batch, pe *peer, project string, q *question) {
	r := c.room(project)
	if r == nil {
		return
	}
	for _, p := range r.everybodyFar() {
		p.fan.Lock()
		rem := p.remote(pe)
		stale := rem != nil && rem.mark < q.turn && slices.Contains(rem.projects, project) && !q.covered(rem)
		p.fan.Unlock()
		if stale {
			c.learn(b, pe, p.bare, c.silence())
		}
	}
}

// covered reports whether an earlier part of the question was about one of the projects:
// then the node told of the person, and has told all changes since.
func (q *question) covered(rem *remote) bool {
	return rem.mark >= q.first && len(rem.projects) > 0 && rem.projects[0] < q.projects[0]
}
