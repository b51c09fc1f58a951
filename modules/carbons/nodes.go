package carbons

import (
	"errors"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server"
)

// What the module tells itself on other nodes.
const (
	itemAsk    byte = iota + 1 // who has connections there that want copies?
	itemForget                 // nobody; those who follow do
	itemHas                    // these users do
	itemHasNot                 // these users do not any more
	itemCopy                   // a copy
)

// perItem is how many users go into an answer at once.
const perItem = 500

var errUnknown = errors.New("an item of an unknown kind")

// Joined implements server.Peers.
func (m *Module) Joined(b *server.Batch, node string) { m.host.Tell(b, node, []byte{itemAsk}) }

// Left implements server.Peers.
func (m *Module) Left(_ *server.Batch, node string) { m.forget(node) }

// Told implements server.Peers.
func (m *Module) Told(b *server.Batch, node string, data []byte) {
	if err := m.told(b, node, data); err != nil {
		m.host.Log().Error("another node cannot be understood", "node", node, "err", err)
	}
}

func (m *Module) told(b *server.Batch, node string, data []byte) error {
	if len(data) == 0 {
		return packed.ErrShort
	}
	r := packed.NewReader(data[1:])
	switch data[0] {
	case itemAsk:
		m.answer(b, node)
		return nil
	case itemForget:
		m.forget(node)
		return nil
	case itemHas, itemHasNot:
		return m.note(node, r, data[0] == itemHas)
	case itemCopy:
		c, err := readCopied(r)
		if err == nil {
			m.handHere(b, &c)
		}
		return err
	}
	return errUnknown
}

// tellAll tells the other nodes of a user; m.mu is held, so that they hear in order.
func (m *Module) tellAll(b *server.Batch, item byte, bare jid.JID) {
	nodes := m.host.Nodes()
	if len(nodes) == 0 {
		return
	}
	data := packed.AppendString([]byte{item}, bare.String())
	for _, node := range nodes {
		m.host.Tell(b, node, data)
	}
}

func (m *Module) answer(b *server.Batch, node string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.host.Tell(b, node, []byte{itemForget})
	item, n := []byte{itemHas}, 0
	for bare := range m.here {
		item = packed.AppendString(item, bare.String())
		if n++; n%perItem == 0 {
			m.host.Tell(b, node, item)
			item = item[:1]
		}
	}
	if len(item) > 1 {
		m.host.Tell(b, node, item)
	}
}

func (m *Module) forget(node string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.users.Add(-int64(len(m.there[node])))
	delete(m.there, node)
}

func (m *Module) note(node string, r *packed.Reader, has bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	users := m.there[node]
	if users == nil {
		users = make(map[jid.JID]struct{})
		m.there[node] = users
	}
	before := len(users)
	defer func() { m.users.Add(int64(len(users) - before)) }()
	for !r.Done() {
		bare, err := jid.Parse(r.String())
		if err != nil {
			return err
		}
		if has {
			users[bare] = struct{}{}
		} else {
			delete(users, bare)
		}
	}
	return r.Err()
}
