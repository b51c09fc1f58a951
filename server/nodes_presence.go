package server

import (
	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server/cluster"
)

func appendOwn(dst []byte, conn string, p *Presence) []byte {
	return p.AppendPacked(packed.AppendString(dst, conn))
}

// tellOwn tells the user's available resources at other nodes what a session said. It
// runs under the user's own lock.
func (n *nodes) tellOwn(b *Batch, s *Session, p *Presence, newcomer bool) {
	for _, peer := range n.others(s.jid.Bare(), func(r *route) bool { return r.available }) {
		b.item = appendOwn(b.item[:0], s.conn, p)
		b.post(peer, itemOwn)
		if newcomer {
			n.probeOwn(b, peer, s.jid)
		}
	}
}

// probeOwn asks a node for the presence of a user's resources there.
func (n *nodes) probeOwn(b *Batch, p *cluster.Peer, full jid.JID) {
	b.item = packed.AppendString(b.item[:0], full.String())
	b.post(p, itemOwnProbe)
}

// takeOwn takes a presence of a user whose other resources are here.
func (n *nodes) takeOwn(b *Batch, p *cluster.Peer, r *packed.Reader) error {
	conn := r.String()
	said, err := UnpackPresence(r)
	if err != nil {
		return err
	}
	tell := true
	at := said.At.UnixNano()
	if said.Available {
		n.routes.change(said.JID.Bare(), p, conn, func(was *route) (route, bool) {
			if was == nil {
				return route{}, false
			}
			now := *was
			tell, now.told = was.told != at, at
			return now, true
		})
	} else {
		tell = !n.availableElsewhere(said.JID, p, conn)
	}
	if tell {
		n.srv.tellOwnHere(b, said)
	}
	return nil
}

// availableElsewhere reports whether another connection took an address over and has
// told of itself; peer is nil for a connection to this node.
func (n *nodes) availableElsewhere(full jid.JID, peer *cluster.Peer, conn string) bool {
	for _, r := range n.routes.of(full.Bare()) {
		if r.full == full && r.available && !r.same(peer, conn) {
			return true
		}
	}
	s := n.srv.registry.get(full)
	return peer != nil && s != nil && s.Presence() != nil
}

func (n *nodes) takeOwnProbe(b *Batch, r *packed.Reader) error {
	asker, err := jid.Parse(r.String())
	if err != nil {
		return err
	}
	for _, s := range n.srv.registry.of(asker.Bare()) {
		n.answerOwn(b, s, asker)
	}
	return nil
}

// answerOwn tells one of the user's resources, at another node, of a session here.
func (n *nodes) answerOwn(b *Batch, s *Session, asker jid.JID) {
	own := n.srv.ownLock(s.jid)
	own.Lock()
	defer own.Unlock()
	if p := s.Presence(); p != nil {
		n.tell(b, p, asker)
	}
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

func (n *nodes) takePresence(b *Batch, r *packed.Reader) error {
	to, err := jid.Parse(r.String())
	if err != nil {
		return err
	}
	p, err := UnpackPresence(r)
	if err != nil {
		return err
	}
	n.srv.tellHere(b, p, to)
	return nil
}
