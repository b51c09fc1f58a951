package roster

import (
	"context"
	"errors"
	"slices"
	"sync"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server"
)

// What this module tells itself on other nodes. The store is common to all of them, so
// nodes only tell each other what to read again.
const (
	kindChanged = iota + 1 // an item changed
	kindAsk                // a connection wants to know the presence of its user's contacts
)

// tellNodes tells the other nodes that an item changed, and brings them a notice.
func (m *Module) tellNodes(b *server.Batch, bare, at jid.JID, n notice) {
	nodes := m.host.Nodes()
	if len(nodes) == 0 {
		return
	}
	data := packed.AppendUint(nil, kindChanged)
	data = packed.AppendString(data, bare.String())
	data = packed.AppendString(data, at.String())
	data = packed.AppendBool(data, n.available)
	data = packed.AppendUint(data, uint64(len(n.list)))
	for _, el := range n.list {
		data = packed.AppendBytes(data, el)
	}
	for _, node := range nodes {
		m.host.Tell(b, node, data)
	}
}

// Why a connection wants to know.
const (
	askAgain  = iota // it is available, and asks when it becomes so
	askParted        // it shares no project with them, whatever others know
	askProbe         // a client's probe
)

// ask asks the other nodes for the presence of contacts, for a connection here.
func (m *Module) ask(b *server.Batch, full jid.JID, contacts []jid.JID, why uint64) {
	if len(contacts) == 0 {
		return
	}
	for _, node := range m.host.Nodes() {
		m.askNode(b, node, full, contacts, why)
	}
}

func (m *Module) askNode(b *server.Batch, node string, full jid.JID, contacts []jid.JID, why uint64) {
	data := packed.AppendString(packed.AppendUint(nil, kindAsk), full.String())
	data = packed.AppendUint(data, why)
	data = packed.AppendUint(data, uint64(len(contacts)))
	for _, at := range contacts {
		data = packed.AppendString(data, at.String())
	}
	m.host.Tell(b, node, data)
}

// Joined implements server.Peers: what is missing is read and asked for again.
func (m *Module) Joined(b *server.Batch, node string) {
	m.peers.mu.Lock()
	_, again := m.peers.known[node]
	m.peers.known[node] = struct{}{}
	m.peers.mu.Unlock()
	for _, o := range m.everyOwner() {
		var contacts []jid.JID
		for _, i := range o.list() {
			if i.watched() && !m.tied(o.bare, i.jid) {
				contacts = append(contacts, i.jid)
			}
		}
		for _, s := range m.host.Sessions(o.bare) {
			if s.Presence() != nil && len(contacts) > 0 {
				m.askNode(b, node, s.JID(), contacts, askAgain)
			}
		}
	}
	if again {
		m.later(m.refreshAll)
	}
}

// Left implements server.Peers. The core tells whom the dead node's users told of
// themselves. What the node changed last, it may have told nobody; and it goes on to be
// known, as it may come back and have changed more meanwhile.
func (m *Module) Left(*server.Batch, string) { m.later(m.refreshAll) }

// peers are the other nodes that this one has ever heard of.
type peers struct {
	mu    sync.Mutex
	known map[string]struct{}
}

// Told implements server.Peers.
func (m *Module) Told(b *server.Batch, node string, data []byte) {
	r := packed.NewReader(data)
	var err error
	switch kind := r.Uint(); kind {
	case kindChanged:
		err = m.toldChanged(b, r)
	case kindAsk:
		err = m.toldAsk(b, r)
	default:
		m.host.Log().Warn("a node tells what this version does not know", "node", node, "kind", kind)
		return
	}
	if err != nil {
		m.host.Log().Error("what a node tells cannot be read", "node", node, "err", err)
	}
}

func (m *Module) toldChanged(b *server.Batch, r *packed.Reader) error {
	bare, err := jid.Parse(r.String())
	at, errAt := jid.Parse(r.String())
	n := notice{available: r.Bool()}
	for range r.Len() {
		n.list = append(n.list, r.Bytes())
	}
	if err := errors.Join(err, errAt, r.Err()); err != nil {
		return err
	}
	if len(m.host.Sessions(bare)) == 0 {
		return nil
	}
	// What comes next from that node may be the presence that it is about.
	m.notify(b, bare, at, n)
	m.later(func(ctx context.Context) error { return m.reread(ctx, bare, at) })
	return nil
}

// reread makes an item here what it is in the store.
func (m *Module) reread(ctx context.Context, bare, at jid.JID) error {
	b := m.host.NewBatch()
	defer b.Flush()
	defer m.lock(bare)()
	now, err := m.item(ctx, bare, at)
	if err != nil {
		return err
	}
	m.learn(ctx, b, bare, at, now, notice{}, false)
	return nil
}

func (m *Module) toldAsk(b *server.Batch, r *packed.Reader) error {
	full, err := jid.Parse(r.String())
	if err != nil {
		return err
	}
	why := r.Uint()
	// Where this node does not know yet that the connection is available, it is not going
	// to tell it of changes, and is asked again.
	skip := why == askAgain && !slices.Contains(m.host.Resources(full.Bare()), full)
	for range r.Len() {
		at, err := jid.Parse(r.String())
		if err != nil {
			return err
		}
		if !skip {
			m.greet(b, full, at, why == askParted)
		}
	}
	return r.Err()
}
