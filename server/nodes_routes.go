package server

import (
	"iter"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server/cluster"
)

// snapshotPart is about how many bytes of routes go into one item.
const snapshotPart = 32 << 10

// announced is what other nodes know of a session.
type announced struct {
	available bool
	priority  int8
}

func stateOf(s *Session) announced {
	if p := s.Presence(); p != nil {
		return announced{true, p.Priority}
	}
	return announced{}
}

func appendRoute(dst []byte, s *Session, a announced) []byte {
	dst = packed.AppendString(dst, s.conn)
	dst = packed.AppendString(dst, s.jid.String())
	dst = packed.AppendUint(dst, s.bound)
	dst = packed.AppendBool(dst, a.available)
	return packed.AppendUint(dst, uint64(uint8(a.priority)))
}

// announce tells the other nodes of a session that is entering the registry. Like
// update and farewell it runs under the registry's lock of the user, so that no
// snapshot says something older after it.
func (n *nodes) announce(b *Batch, s *Session) {
	s.bound = n.nextBound()
	s.announced = stateOf(s)
	b.item = appendRoute(b.item[:0], s, s.announced)
	b.postAll(itemRoute)
}

// update tells the other nodes when it changed whether messages go to a session.
func (n *nodes) update(b *Batch, s *Session) {
	if n.cluster == nil {
		return
	}
	n.srv.registry.with(s, func() {
		if now := stateOf(s); now != s.announced {
			s.announced = now
			b.item = appendRoute(b.item[:0], s, now)
			b.postAll(itemRoute)
		}
	})
}

// farewell tells the other nodes that a session is gone.
func (n *nodes) farewell(b *Batch, s *Session) {
	b.item = packed.AppendString(b.item[:0], s.jid.String())
	b.item = packed.AppendString(b.item, s.conn)
	b.postAll(itemGone)
}

// snapshot tells a node of every session, and users' own resources there what presence
// those here have.
func (n *nodes) snapshot(b *Batch, p *cluster.Peer, number uint64) {
	n.srv.registry.shares(func(sessions iter.Seq[*Session]) {
		b.item = b.item[:0]
		for s := range sessions {
			b.item = appendRoute(b.item, s, s.announced)
			if len(b.item) > snapshotPart {
				b.post(p, itemSnapshot)
				b.item = b.item[:0]
			}
		}
		if len(b.item) > 0 {
			b.post(p, itemSnapshot)
		}
		p.Flush() // all of it at once might not fit into the queue
	})
	b.item = packed.AppendUint(b.item[:0], number)
	b.post(p, itemSnapshotEnd)
	for s := range n.srv.registry.all() {
		if len(n.others(s.jid.Bare(), func(r *route) bool { return r.peer == p })) > 0 {
			n.tellOwnAt(b, p, jid.JID{}, s)
		}
	}
}

func (n *nodes) snapshotEnd(b *Batch, p *cluster.Peer, number uint64) {
	s := n.syncOf(p)
	if number != s.asked {
		return // another one was asked for since
	}
	n.forgetAll(b, p, func(r *route) bool { return r.sync < number })
	if !s.done {
		s.done = true
		close(s.first)
	}
}

// takeRoutes takes what a node says of its connections.
func (n *nodes) takeRoutes(b *Batch, p *cluster.Peer, r *packed.Reader) error {
	number := n.syncOf(p).asked
	for !r.Done() {
		now := route{peer: p, conn: r.String(), sync: number}
		full, err := jid.Parse(r.String())
		now.full, now.bound, now.available, now.priority = full, r.Uint(), r.Bool(), int8(uint8(r.Uint()))
		if r.Err() != nil || err != nil || !full.IsFull() {
			return err
		}
		n.sawBound(now.bound)
		came := now.available
		var went route
		n.routes.change(full.Bare(), p, now.conn, func(was *route) (route, bool) {
			if was != nil {
				now.arrival, now.told, now.directed = was.arrival, was.told, was.directed
				came = came && !was.available
			}
			if !now.available {
				went, now.told = now, 0
			}
			return now, true
		})
		if now.available && now.arrival == nil {
			n.arrived(&now)
		}
		if s := n.srv.registry.get(full); s != nil && n.later(&now, s) {
			s.Kick(Close{Reason: ReasonReplaced})
		}
		if came {
			n.answerOwn(b, p, full)
		}
		n.forget(b, &went)
	}
	return nil
}

// arrived notes that a connection to another node is available from now on. It does
// so when messages go there already: what is sent meanwhile may come twice, but is not
// lost. Neither lock is taken under the other here.
func (n *nodes) arrived(r *route) {
	arrival := n.srv.newArrival(r.full.Bare(), nil)
	n.routes.change(r.full.Bare(), r.peer, r.conn, func(was *route) (route, bool) {
		if was == nil {
			return route{}, false
		}
		now := *was
		now.arrival = arrival
		return now, true
	})
}

func (n *nodes) takeGone(b *Batch, p *cluster.Peer, r *packed.Reader) error {
	full, err := jid.Parse(r.String())
	conn := r.String()
	if err != nil || r.Err() != nil {
		return err
	}
	var went route
	n.routes.change(full.Bare(), p, conn, func(was *route) (route, bool) {
		if was != nil {
			went = *was
		}
		return route{}, false
	})
	n.forget(b, &went)
	return nil
}

// forget tells the user's own resources here that a connection to another node is not
// available any more, if they take it for available.
func (n *nodes) forget(b *Batch, r *route) {
	if r.told != 0 && !n.availableElsewhere(r.full, r.peer, r.conn) {
		n.srv.tellOwnHere(b, Unavailable(r.full, time.Now()))
	}
}

// forgetAll forgets the routes of a node that are stale. Nobody else takes back what they
// directed to addresses here.
func (n *nodes) forgetAll(b *Batch, p *cluster.Peer, stale func(*route) bool) {
	for _, r := range n.routes.drop(p, stale) {
		n.forget(b, &r)
		for _, to := range r.directed {
			n.srv.tellHere(b, Unavailable(r.full, time.Now()), to)
		}
	}
}
