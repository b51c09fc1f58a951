// Package carbons copies messages to the other clients of their sender and of their
// recipient that ask for it (XEP-0280).
//
// Each node knows the clients connected to it that want copies, and of the other nodes
// for whom they have any. A node is sent each copy once, and hands it out.
package carbons

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/server"
)

// Module implements server.Module.
type Module struct {
	host    *server.Host
	counter prometheus.Counter
	// users is for how many users anybody here or at another node wants copies, the same
	// one counted once for each node: nothing is looked at while it is 0.
	users atomic.Int64

	mu sync.RWMutex
	// here holds the connections that want copies, by bare address. Lists are never
	// changed.
	here map[jid.JID][]*server.Session
	// there holds, by node, the bare addresses that have some.
	there map[string]map[jid.JID]struct{}
}

var (
	_ server.Module = (*Module)(nil)
	_ server.Peers  = (*Module)(nil)
)

// New makes the module.
func New() *Module {
	return &Module{here: make(map[jid.JID][]*server.Session), there: make(map[string]map[jid.JID]struct{})}
}

// Name implements server.Module.
func (m *Module) Name() string { return "carbons" }

// The priorities of hook handlers.
const (
	priorityRouted = 100
	priorityRemove = 100
)

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host = h
	m.counter = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "rollcall_carbons_total", Help: "Copies of messages sent to other clients of the same user.",
	})
	if err := h.Metrics(m.counter); err != nil {
		return err
	}
	h.Declare(server.Protocol{
		Number: "XEP-0280", Title: "Message Carbons", Version: "1.0.1",
		Notes: "not for messages to and from services of the server's own; of errors, those that carry what they answer, " +
			"and those of the server about messages that nobody took",
		Features: []string{ns.Carbons},
	})
	h.Feature(server.ToServer, ns.Carbons)
	if err := h.HandleIQ(server.ToSelf, ns.Carbons, "enable", m.enable); err != nil {
		return err
	}
	if err := h.HandleIQ(server.ToSelf, ns.Carbons, "disable", m.disable); err != nil {
		return err
	}
	h.OnRouted(priorityRouted, func() bool { return m.users.Load() > 0 }, m.routed)
	h.OnRemoveConnection(priorityRemove, func(_ context.Context, e *server.RemoveConnection) {
		if m.users.Load() > 0 {
			m.remove(e.Batch, e.JID.Bare(), e.Conn)
		}
	})
	h.OnNodes(m)
	return nil
}

// enable answers section 4; once more changes nothing (section 10.1).
func (m *Module) enable(_ context.Context, iq *server.IQ) (server.Payload, error) {
	if !iq.Set() {
		return nil, server.Error(stanza.BadRequest, "carbons are enabled by a set")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	bare := iq.From.Bare()
	list := m.here[bare]
	if slices.Contains(list, iq.Session) {
		return nil, nil
	}
	m.here[bare] = append(slices.Clip(list), iq.Session)
	if len(list) == 0 {
		m.users.Add(1)
		m.tellAll(iq.Batch, itemHas, bare)
	}
	return nil, nil
}

// disable answers section 5.
func (m *Module) disable(_ context.Context, iq *server.IQ) (server.Payload, error) {
	if !iq.Set() {
		return nil, server.Error(stanza.BadRequest, "carbons are disabled by a set")
	}
	m.remove(iq.Batch, iq.From.Bare(), iq.Session.Conn())
	return nil, nil
}

// remove forgets a connection that wants no copies any more, if it is known.
func (m *Module) remove(b *server.Batch, bare jid.JID, conn string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.here[bare]
	left := slices.DeleteFunc(slices.Clone(list), func(s *server.Session) bool { return s.Conn() == conn })
	switch {
	case len(left) == len(list):
	case len(left) > 0:
		m.here[bare] = left
	default:
		delete(m.here, bare)
		m.users.Add(-1)
		m.tellAll(b, itemHasNot, bare)
	}
}

// routed copies a message that has been routed.
func (m *Module) routed(_ context.Context, e *server.Routed) {
	sender, recipient := e.Stanza.From.Bare(), e.To.Bare()
	if !m.wanted(sender) && !m.wanted(recipient) || !eligible(e.Stanza) {
		return
	}
	whole := e.Stanza.Append(nil, e.Stanza.From, e.To)
	// What nobody got, as an error to a client that is gone, is news for all.
	notBare := !e.Direct && e.Count > 0
	received := &copied{user: recipient, kind: "received", typ: e.Stanza.Type, data: whole, but: []jid.JID{e.To}, notBare: notBare}
	sent := &copied{user: sender, kind: "sent", typ: e.Stanza.Type, data: without(whole, e.Extra), but: []jid.JID{e.Stanza.From}}
	switch {
	case sender == recipient:
		// Each resource gets a message once, as it is or as a copy.
		sent.but, sent.notBare, sent.data = append(sent.but, e.To), notBare, whole
		m.hand(e.Batch, sent)
	case e.Refused:
		// What the sender was told is news for the sender's other clients as well.
		m.hand(e.Batch, sent)
		refusal := e.Stanza.AppendError(nil, server.Error(stanza.ServiceUnavailable, ""))
		m.hand(e.Batch, &copied{user: sender, kind: "received", typ: "error", data: refusal, but: sent.but})
	default:
		m.hand(e.Batch, received)
		m.hand(e.Batch, sent)
	}
}

// without is a stanza without what the server put at its end for the recipient.
func without(data, extra []byte) []byte {
	const end = "</message>"
	if len(extra) == 0 {
		return data
	}
	return append(slices.Clone(data[:len(data)-len(end)-len(extra)]), end...)
}

// wanted reports whether anybody wants copies of a user's messages.
func (m *Module) wanted(bare jid.JID) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.here[bare]) > 0 {
		return true
	}
	for _, users := range m.there {
		if _, ok := users[bare]; ok {
			return true
		}
	}
	return false
}

// hand hands a copy to who wants it, here and at other nodes.
func (m *Module) hand(b *server.Batch, c *copied) {
	m.handHere(b, c)
	m.mu.RLock()
	defer m.mu.RUnlock()
	var item []byte
	for node, users := range m.there {
		if _, ok := users[c.user]; !ok {
			continue
		}
		if item == nil {
			item = c.append([]byte{itemCopy})
		}
		m.host.Tell(b, node, item)
	}
}

func (m *Module) handHere(b *server.Batch, c *copied) {
	m.mu.RLock()
	list := m.here[c.user]
	m.mu.RUnlock()
	for _, s := range list {
		if slices.Contains(c.but, s.JID()) || c.notBare && takesBare(s) {
			continue
		}
		b.Send(s, c.wrap(s.JID()))
		m.counter.Inc()
	}
}

// takesBare reports whether messages to the bare address go to a session.
func takesBare(s *server.Session) bool {
	p := s.Presence()
	return p != nil && p.Priority >= 0
}
