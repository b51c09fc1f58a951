package server

import (
	"slices"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/packed"
	"rollcall/internal/xmlscan"
	"rollcall/server/cluster"
)

// maxHops is how often a stanza is sent on between nodes: its connection may have
// moved once while it was under way.
const maxHops = 2

// sent is an itemStanza: an encoded stanza for one address.
type sent struct {
	hops uint64
	// alone says that the stanza went nowhere else, so that it is answered for when nobody
	// takes it.
	alone bool
	to    jid.JID
	data  []byte
}

func (m *sent) append(dst []byte) []byte {
	dst = packed.AppendUint(dst, m.hops)
	dst = packed.AppendBool(dst, m.alone)
	dst = packed.AppendString(dst, m.to.String())
	return append(dst, m.data...)
}

func readSent(r *packed.Reader) (m sent, err error) {
	m.hops, m.alone = r.Uint(), r.Bool()
	if m.to, err = jid.Parse(r.String()); err != nil {
		return m, err
	}
	m.data = r.Rest()
	return m, r.Err()
}

// sendTo hands an encoded stanza to a node. False says that the node takes nothing.
func (b *Batch) sendTo(p *cluster.Peer, m sent) bool {
	b.item = m.append(b.item[:0])
	return b.post(p, itemStanza)
}

// deliver hands an encoded stanza to a full address, wherever it is connected, or to any
// address at the host of a Foreign, or drops it.
func (srv *Server) deliver(b *Batch, to jid.JID, data []byte) {
	if s := srv.registry.get(to); s != nil {
		b.Send(s, data)
	} else if r, ok := srv.nodes.routes.get(to); ok {
		b.sendTo(r.peer, sent{hops: maxHops, to: to, data: data})
	} else if f := srv.foreign(to); f != nil {
		f.Receive(b, data) // nobody is left to hear that it is not there
	}
}

// Deliver queues an encoded message or iq of a module's own for an address: for the
// connection of a full one, and for those that messages to a bare one go to, wherever
// they are. What nobody takes is dropped.
func (b *Batch) Deliver(to jid.JID, el []byte) {
	if to.IsFull() {
		b.srv.deliver(b, to, el)
		return
	}
	b.srv.sendHere(b, to, el)
	for _, p := range b.srv.nodes.others(to, (*route).takesBare) {
		b.sendTo(p, sent{hops: maxHops, to: to, data: el})
	}
}

// Tell tells presence to every available connection of an address, wherever it is.
func (b *Batch) Tell(p *Presence, to jid.JID) { b.srv.tell(b, p, to) }

// forwardTo hands a stanza on to a connection at another node.
func (st *Stanza) forwardTo(p *cluster.Peer, to jid.JID) bool {
	b := st.Batch
	b.buf = st.Append(b.buf[:0], st.From, st.To)
	return b.sendTo(p, sent{hops: st.hops + 1, alone: true, to: to, data: b.buf})
}

// route returns where a full address is connected at another node, apart from nodes
// that st cannot be sent to.
func (st *Stanza) route(to jid.JID) (*cluster.Peer, bool) {
	if st.hops >= maxHops {
		return nil, false
	}
	r, ok := st.Batch.srv.nodes.routes.get(to)
	return r.peer, ok && st.mayGoTo(r.peer)
}

// mayGoTo reports whether a stanza can be sent to a node: one that came back goes to
// no node that is out of reach, or it would come back for ever.
func (st *Stanza) mayGoTo(p *cluster.Peer) bool {
	return st.avoid == nil || p != st.avoid && !p.Failing()
}

// sendOthers hands an encoded message to the bare address to the nodes where it is
// wanted, and returns how many took it. alone says that nobody took it here.
func (st *Stanza) sendOthers(to jid.JID, data []byte, alone bool) (n int) {
	if st.hops >= maxHops {
		return 0
	}
	peers := st.Batch.srv.nodes.others(to.Bare(), func(r *route) bool { return r.takesBare() && st.mayGoTo(r.peer) })
	if alone && len(peers) > 1 && !slices.ContainsFunc(peers, func(p *cluster.Peer) bool { return !p.Failing() }) {
		peers = peers[:1] // one answers for it
	}
	for _, p := range peers {
		if st.Batch.sendTo(p, sent{hops: st.hops + 1, alone: alone && len(peers) == 1, to: to.Bare(), data: data}) {
			n++
		}
	}
	return n
}

// takeStanza delivers a stanza that another node sent.
func (n *nodes) takeStanza(b *Batch, r *packed.Reader) error {
	m, err := readSent(r)
	if err != nil {
		return err
	}
	taken := false
	if !m.to.IsFull() {
		taken = n.srv.sendHere(b, m.to, m.data) > 0
	} else if s := n.srv.registry.get(m.to); s != nil {
		b.Send(s, m.data)
		taken = true
	}
	if taken || !m.alone {
		return nil
	}
	return n.reroute(b, m, nil)
}

// reroute sends a stanza that came too late to where its address is now, or back.
func (n *nodes) reroute(b *Batch, m sent, avoid *cluster.Peer) error {
	var scan xmlscan.Scanner
	scan.Scope(streamScope())
	limit := len(m.data) + 1
	scan.SetLimits(xmlscan.Limits{Bytes: limit, Depth: limit, Attrs: limit})
	var el xmlscan.Element
	if _, err := scan.Next(m.data, &el); err != nil {
		return err
	}
	kind, _ := kindOf(&el)
	st := &Stanza{Batch: b, Kind: kind, Element: &el, hops: m.hops, avoid: avoid}
	if err := st.read(); err != nil {
		return err
	}
	switch kind {
	case Message:
		n.srv.routeMessage(st, m.to)
	case IQStanza:
		n.srv.routeIQ(st, m.to)
	case PresenceStanza:
	}
	return nil
}

// returned sends a stanza elsewhere that a node did not get, or back.
func (n *nodes) returned(b *Batch, p *cluster.Peer, r *packed.Reader) error {
	m, err := readSent(r)
	if err != nil {
		return err
	}
	if !m.alone && n.taken(m.to.Bare(), p) {
		return nil
	}
	// It never left this node.
	m.hops = max(m.hops, 1) - 1
	return n.reroute(b, m, p)
}

// taken reports whether anybody but a node gets messages to a bare address, as far as
// other nodes can be reached.
func (n *nodes) taken(bare jid.JID, but *cluster.Peer) bool {
	for _, s := range n.srv.registry.of(bare) {
		if p := s.Presence(); p != nil && p.Priority >= 0 {
			return true
		}
	}
	return len(n.others(bare, func(r *route) bool {
		return r.takesBare() && r.peer != but && !r.peer.Failing()
	})) > 0
}

// Fanout is a message that goes to many users: encoded once, only the address differs.
type Fanout struct{ head, tail []byte }

// Fanout makes a message with another sender and content ready for many.
func (st *Stanza) Fanout(from jid.JID, inner []byte) Fanout {
	head := append([]byte{'<'}, st.Kind.String()...)
	head = append(head, " xmlns='"+ns.Client+"'"...)
	return Fanout{
		head: appendAddress(head, " from='", from),
		tail: appendContent(st.appendAttrs(nil), st.Kind, inner, nil),
	}
}

// NewFanout makes a message of the server's own ready for many; typ needs no escaping.
func NewFanout(typ string, from jid.JID, inner []byte) Fanout {
	head := appendAddress([]byte("<message xmlns='"+ns.Client+"'"), " from='", from)
	return Fanout{head: head, tail: appendContent([]byte(" type='"+typ+"'"), Message, inner, nil)}
}

func (f *Fanout) appendFor(dst []byte, to jid.JID) []byte {
	dst = append(dst, f.head...)
	dst = appendAddress(dst, " to='", to)
	return append(dst, f.tail...)
}

// SendEach queues a message for everybody named by bare addresses: for those
// connections, at any node, that messages to the bare address go to. Each node gets it
// once.
func (b *Batch) SendEach(users []jid.JID, f Fanout) {
	there := make(map[*cluster.Peer][]jid.JID)
	for _, bare := range users {
		if len(b.srv.registry.of(bare)) > 0 {
			b.buf = f.appendFor(b.buf[:0], bare)
			b.srv.sendHere(b, bare, b.buf)
		}
		for _, p := range b.srv.nodes.others(bare, (*route).takesBare) {
			there[p] = append(there[p], bare)
		}
	}
	for p, list := range there {
		b.item = packed.AppendUint(b.item[:0], uint64(len(list)))
		for _, bare := range list {
			b.item = packed.AppendString(b.item, bare.String())
		}
		b.item = packed.AppendBytes(b.item, f.head)
		b.item = append(b.item, f.tail...)
		b.post(p, itemEach)
	}
}

func (n *nodes) takeEach(b *Batch, r *packed.Reader) error {
	users := make([]jid.JID, 0, r.Len())
	for range cap(users) {
		bare, err := jid.Parse(r.String())
		if err != nil {
			return err
		}
		users = append(users, bare)
	}
	f := Fanout{head: r.Bytes()}
	f.tail = r.Rest()
	if err := r.Err(); err != nil {
		return err
	}
	for _, bare := range users {
		b.buf = f.appendFor(b.buf[:0], bare)
		n.srv.sendHere(b, bare, b.buf)
	}
	return nil
}
