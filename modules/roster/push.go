package roster

import (
	"strconv"

	"rollcall/server"
)

// pushes are roster pushes in the making: the items of users that are going to change.
// They are made, and sent, while the cache is locked, so that every session gets them in
// the order of the changes.
type pushes struct {
	m    *Module
	list []pending
	but  *server.Session // that is not told; nil to tell all
}

// pending is an item that may change.
type pending struct {
	u    *user
	of   address
	was  uint64 // its hash before
	only bool   // pushed if it did change
}

// flushEvery bounds how many pushes pile up before the connection may take
// them.
const flushEvery = 64

// expect notes that a user's item of somebody is about to change.
func (p *pushes) expect(u *user, of address) { p.add(pending{u: u, of: of}) }

func (p *pushes) add(n pending) {
	if len(n.u.sessions) == 0 {
		n.u.summed.Store(false)
		return
	}
	n.u.version() // it is summed before something changes
	n.was = hash(appendShown(nil, n.u, n.of))
	p.list = append(p.list, n)
}

// send sends what became of the items, and forgets them.
func (p *pushes) send(b *server.Batch) {
	var item, query, buf []byte
	for i, n := range p.list {
		item = appendShown(item[:0], n.u, n.of)
		now := hash(item)
		if n.only && now == n.was {
			continue
		}
		version := n.u.sum.Add(now - n.was)
		query = appendPush(query[:0], version, n.of, item)
		for _, s := range n.u.sessions {
			if s == p.but {
				continue
			}
			id := "push-" + strconv.FormatUint(p.m.pushed.Add(1), 36)
			buf = server.AppendIQ(buf[:0], "set", id, s.JID().Bare(), s.JID(), query)
			p.m.cache.send(b, s, buf)
			p.m.pushes.Inc()
		}
		if i%flushEvery == flushEvery-1 {
			b.Flush()
		}
	}
	p.list = nil
}

// send sends an element to an interested session, after its roster if that is on its
// way; c.mu is held.
func (c *cache) send(b *server.Batch, s *server.Session, el []byte) {
	c.answering.Lock()
	defer c.answering.Unlock()
	if late, ok := c.answers[s]; ok {
		c.answers[s] = append(late, append([]byte(nil), el...))
		return
	}
	b.Send(s, el)
}
