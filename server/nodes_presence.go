package server

import (
	"slices"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server/cluster"
)

// postOwn posts what one of a user's connections here said: for that resource at the
// node, or for all when only is zero.
func (b *Batch) postOwn(p *cluster.Peer, only jid.JID, conn string, said *Presence) {
	b.item = packed.AppendString(b.item[:0], only.String())
	b.item = packed.AppendString(b.item, conn)
	b.item = said.AppendPacked(b.item)
	b.post(p, itemOwn)
}

// tellOwn tells the user's available resources at other nodes what a session said. It
// runs under the user's own lock. Nodes that do not know of the session yet, or that are
// not known to have others, tell of theirs and are told when the routes arrive: see
// answerOwn.
func (n *nodes) tellOwn(b *Batch, s *Session, p *Presence) {
	for _, peer := range n.others(s.jid.Bare(), func(r *route) bool { return r.available }) {
		b.postOwn(peer, jid.JID{}, s.conn, p)
	}
}

// answerOwn tells one of the user's resources at a node, which became available, of
// those here.
func (n *nodes) answerOwn(b *Batch, p *cluster.Peer, newcomer jid.JID) {
	for _, s := range n.srv.registry.of(newcomer.Bare()) {
		n.tellOwnAt(b, p, newcomer, s)
	}
}

// tellOwnAt tells the user's resources at a node of one session here.
func (n *nodes) tellOwnAt(b *Batch, p *cluster.Peer, only jid.JID, s *Session) {
	own := n.srv.ownLock(s.jid)
	own.Lock()
	defer own.Unlock()
	if said := s.Presence(); said != nil {
		b.postOwn(p, only, s.conn, said)
	}
}

// takeOwn takes a presence of a user whose other resources are here.
func (n *nodes) takeOwn(b *Batch, p *cluster.Peer, r *packed.Reader) error {
	address, conn := r.String(), r.String()
	said, err := UnpackPresence(r)
	if err != nil {
		return err
	}
	if address != "" {
		only, err := jid.Parse(address)
		if err == nil {
			n.tellNewcomer(b, p, only, conn, said)
		}
		return err
	}
	if n.shadowed(said.JID, p, conn) {
		return nil
	}
	tell := false
	at := int64(0)
	if said.Available {
		at = said.At.UnixNano()
	}
	n.routes.change(said.JID.Bare(), p, conn, func(was *route) (route, bool) {
		if was == nil {
			return route{}, false // it is gone, and that was told
		}
		now := *was
		tell, now.told = was.told != at, at
		return now, true
	})
	if tell && (said.Available || !n.availableElsewhere(said.JID, p, conn)) {
		n.srv.tellOwnHere(b, said)
	}
	return nil
}

// shadowed reports whether a later connection has the address of one to a node, which
// ends as soon as the node hears of it.
func (n *nodes) shadowed(full jid.JID, peer *cluster.Peer, conn string) bool {
	all := n.routes.of(full.Bare())
	i := slices.IndexFunc(all, func(r route) bool { return r.same(peer, conn) })
	if i < 0 {
		return false
	}
	r := &all[i]
	if s := n.srv.registry.get(full); s != nil && !n.later(r, s) {
		return true
	}
	return slices.ContainsFunc(all, func(o route) bool {
		return o.full == full && (o.bound > r.bound || o.bound == r.bound && o.peer.Name() > r.peer.Name())
	})
}

// tellNewcomer tells one of the user's resources here what another, at a node, said.
func (n *nodes) tellNewcomer(b *Batch, p *cluster.Peer, only jid.JID, conn string, said *Presence) {
	if n.shadowed(said.JID, p, conn) {
		return
	}
	n.srv.tellHere(b, said, only)
	for _, s := range n.srv.registry.of(only.Bare()) {
		if s.jid != only && s.Presence() != nil {
			return // it was told when it was said
		}
	}
	n.routes.change(only.Bare(), p, conn, func(was *route) (route, bool) {
		if was == nil {
			return route{}, false
		}
		now := *was
		now.told = said.At.UnixNano()
		return now, true
	})
}

// availableElsewhere reports whether another connection than one to a node has the
// address and has told of itself.
func (n *nodes) availableElsewhere(full jid.JID, peer *cluster.Peer, conn string) bool {
	for _, r := range n.routes.of(full.Bare()) {
		if r.full == full && r.available && !r.same(peer, conn) {
			return true
		}
	}
	s := n.srv.registry.get(full)
	return s != nil && s.Presence() != nil
}

// tookOver reports whether a later connection to another node has the address of s and
// has told of itself.
func (n *nodes) tookOver(s *Session) bool {
	for _, r := range n.routes.of(s.jid.Bare()) {
		if r.full == s.jid && r.available && n.later(&r, s) {
			return true
		}
	}
	return false
}

// probeOwn asks the other nodes for the presence of a user's resources there.
func (n *nodes) probeOwn(b *Batch, asker jid.JID) {
	for _, peer := range n.others(asker.Bare(), func(r *route) bool { return r.available }) {
		b.item = packed.AppendString(b.item[:0], asker.String())
		b.post(peer, itemOwnProbe)
	}
}

func (n *nodes) takeOwnProbe(b *Batch, p *cluster.Peer, r *packed.Reader) error {
	asker, err := jid.Parse(r.String())
	if err == nil {
		n.answerOwn(b, p, asker)
	}
	return err
}

// tell hands a presence for one address to the nodes where it is connected.
func (n *nodes) tell(b *Batch, p *Presence, to jid.JID) {
	fits := func(r *route) bool { return r.full == to }
	if !to.IsFull() {
		fits = func(r *route) bool { return r.available }
	}
	for _, peer := range n.others(to.Bare(), fits) {
		b.item = p.AppendPacked(packed.AppendString(b.item[:0], to.String()))
		b.post(peer, itemPresence)
	}
}

func (n *nodes) takePresence(b *Batch, p *cluster.Peer, r *packed.Reader) error {
	to, err := jid.Parse(r.String())
	if err != nil {
		return err
	}
	said, err := UnpackPresence(r)
	if err != nil {
		return err
	}
	n.noteDirected(p, said, to)
	n.srv.tellHere(b, said, to)
	return nil
}

// noteDirected remembers whom a connection to a node directed its presence to, so that
// they can be told when it ends without a word.
func (n *nodes) noteDirected(p *cluster.Peer, said *Presence, to jid.JID) {
	all := n.routes.of(said.JID.Bare())
	i := slices.IndexFunc(all, func(r route) bool { return r.peer == p && r.full == said.JID })
	if i < 0 {
		return
	}
	n.routes.change(said.JID.Bare(), p, all[i].conn, func(was *route) (route, bool) {
		if was == nil {
			return route{}, false
		}
		now := *was
		now.directed = slices.DeleteFunc(slices.Clone(was.directed), func(j jid.JID) bool { return j == to })
		if said.Available && len(now.directed) < n.srv.cfg.Limits.Directed {
			now.directed = append(now.directed, to)
		}
		return now, true
	})
}
