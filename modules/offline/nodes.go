package offline

import (
	"context"
	"slices"

	"rollcall/internal/jid"
	"rollcall/server"
)

// What one node tells another about a user begins with a letter.
const (
	// tellLook: something may wait for the user, who is there.
	tellLook = 'l'
	// tellCame: the user came to the node that tells, after having come to the other one.
	tellCame = 'c'
)

func (m *Module) tell(b *server.Batch, node string, what byte, bare jid.JID) {
	m.host.Tell(b, node, append([]byte{what}, bare.String()...))
}

// came begins a replay to a connection that begins to take messages, unless the user is
// connected to another node already: then what waits is for that connection, and this
// node leaves the user to the other one.
func (m *Module) came(ctx context.Context, b *server.Batch, s *server.Session) {
	bare := s.JID().Bare()
	first := !slices.ContainsFunc(m.host.Sessions(bare), func(x *server.Session) bool { return x != s && takes(x) })
	list := m.host.NodesOf(bare)
	if !first || len(list) == 0 {
		m.lookHere(ctx, b, bare)
		return
	}
	m.mu.Lock()
	m.leftTo[bare] = list[0]
	m.mu.Unlock()
	m.tell(b, list[0], tellCame, bare)
}

// look sees to it that what was kept is replayed if the user is there by now: who kept
// it may have seen nobody, and who came may have seen nothing kept.
func (m *Module) look(ctx context.Context, b *server.Batch, bare jid.JID) {
	if m.lookHere(ctx, b, bare) {
		return
	}
	if list := m.host.NodesOf(bare); len(list) > 0 {
		m.tell(b, list[0], tellLook, bare)
		return
	}
	m.lookLater(bare)
}

// lookHere is look for a user who is connected here; false says that the user is not.
func (m *Module) lookHere(ctx context.Context, b *server.Batch, bare jid.JID) bool {
	list := m.host.Sessions(bare)
	i := slices.IndexFunc(list, takes)
	m.mu.Lock()
	node := m.leftTo[bare]
	if node != "" && (i < 0 || !slices.Contains(m.host.NodesOf(bare), node)) {
		delete(m.leftTo, bare)
		node = ""
	}
	m.mu.Unlock()
	switch {
	case i < 0:
		return false
	case node != "":
		m.tell(b, node, tellLook, bare)
	default:
		m.start(ctx, b, list[i])
	}
	return true
}

// Joined implements server.Peers.
func (m *Module) Joined(*server.Batch, string) {}

// Told implements server.Peers.
func (m *Module) Told(b *server.Batch, node string, data []byte) {
	if len(data) == 0 {
		return
	}
	bare, err := jid.Parse(string(data[1:]))
	if err != nil {
		m.host.Log().Error("another node says what cannot be read", "err", err)
		return
	}
	m.mu.Lock()
	if m.leftTo[bare] == node {
		if data[0] == tellCame && m.host.Node() > node {
			m.mu.Unlock()
			return // each takes the other for the first one: one of them has to be
		}
		delete(m.leftTo, bare)
	}
	m.mu.Unlock()
	if !m.lookHere(m.host.Context(), b, bare) {
		m.lookLater(bare)
	}
}

// Left implements server.Peers: those who were left to that node are this one's again.
func (m *Module) Left(_ *server.Batch, node string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []jid.JID
	for bare, x := range m.leftTo {
		if x == node {
			list = append(list, bare)
			delete(m.leftTo, bare)
		}
	}
	if len(list) == 0 {
		return
	}
	m.later(0, func(ctx context.Context, b *server.Batch) {
		for _, bare := range list {
			m.look(ctx, b, bare)
			b.Flush()
		}
	})
}
