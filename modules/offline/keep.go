package offline

import (
	"context"
	"errors"
	"time"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/msgid"
	"rollcall/server"
	"rollcall/storage"
)

// nobody keeps a message that no connection took.
func (m *Module) nobody(ctx context.Context, e *server.Nobody) {
	bare := e.To.Bare()
	if e.ID != "" {
		m.landed(ctx, e)
		return
	}
	if e.To.IsFull() && e.Type != "chat" && !e.Returned && m.present(bare) {
		// RFC 6121 section 8.5.3.2.1: others of the user's clients do not get it, and so
		// it has nobody to wait for.
		return
	}
	msg := m.read(e)
	switch msg.verdict {
	case drop:
		e.Handled = true
		return
	case refuse:
		return
	case keep:
	}
	switch err := m.store(ctx, bare, msg); {
	case err == nil:
		e.Handled = true
		m.lookApart(ctx, bare)
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrFull):
		// XEP-0160 section 2: service-unavailable.
	default:
		m.metrics.refused.WithLabelValues("store").Inc()
		m.failed("a message is not kept, its sender is told to try again", err, "user", bare.String())
		e.Refused = server.Error(stanza.ResourceConstraint, "messages cannot be kept now; try again later")
	}
}

// landed has a message replayed that was unsafe, and whose connections are gone.
func (m *Module) landed(ctx context.Context, e *server.Nobody) {
	e.Handled = true
	bare := e.To.Bare()
	key := m.key(bare)
	at, ok := msgid.Time(e.ID)
	if !ok {
		at = time.Now()
	}
	// Newer ones may have taken its place meanwhile; otherwise this changes nothing.
	refused, err := m.o.Spool.Keep(ctx, m.o.Limit, storage.Kept{User: key, ID: e.ID, At: at, Data: m.read(e).data})
	if err != nil {
		m.failed("it is not sure that a message is still in the store", err, "user", bare.String())
	} else if len(refused) > 0 {
		m.metrics.refused.WithLabelValues("full").Inc()
		m.host.Log().Warn("a message that a client was sent and did not get is dropped: too many wait", "user", bare.String())
	}
	m.mu.Lock()
	m.flying.remove(key, e.ID)
	m.mu.Unlock()
	m.lookApart(ctx, bare)
}

// lookApart is look while a message is on its way in the event's own Batch, which
// follows what is sent to its recipient.
func (m *Module) lookApart(ctx context.Context, bare jid.JID) {
	b := m.host.NewBatch()
	defer b.Flush()
	m.look(ctx, b, bare)
}

// Keep keeps an encoded message for a user, given by the bare address, until a client
// has acknowledged it. A client that is there gets it at once. It returns an error that
// wraps storage.ErrNotFound where there is no such user, and storage.ErrFull where too
// much waits for the user already.
func (m *Module) Keep(ctx context.Context, to jid.JID, el []byte) error {
	if err := m.store(ctx, to, message{id: msgid.New(), at: time.Now(), data: el}); err != nil {
		return err
	}
	m.lookApart(ctx, to)
	return nil
}

// store stores a message of a user who exists.
func (m *Module) store(ctx context.Context, bare jid.JID, msg message) error {
	m.mu.Lock()
	removed := m.removed
	m.mu.Unlock()
	if _, err := m.o.Users.User(ctx, bare.Local()); err != nil {
		return err
	}
	key := m.key(bare)
	refused, err := m.o.Spool.Keep(ctx, m.o.Limit, storage.Kept{User: key, ID: msg.id, At: msg.at, Data: msg.data})
	switch {
	case err != nil:
		return err
	case len(refused) > 0:
		m.metrics.refused.WithLabelValues("full").Inc()
		return storage.ErrFull
	}
	m.metrics.kept.Inc()
	m.mu.Lock()
	same := removed == m.removed
	m.mu.Unlock()
	if same {
		return nil
	}
	// Whoever has the name later must not get it.
	return m.forget(ctx, bare)
}

// returned takes back what was given to a client and did not get there, where it waits
// in the store anyway.
func (m *Module) returned(_ context.Context, e *server.Returned) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, ok := m.sent[e.Session.Conn()]; ok && p.has(m.seed, e.Data) {
		e.Handled = true
	}
}

// discard forgets messages. What cannot be forgotten now is not sent any more, and
// forgotten later.
func (m *Module) discard(ctx context.Context, key string, list []string) {
	if len(list) == 0 {
		return
	}
	err := m.o.Spool.Discard(ctx, key, list...)
	if err == nil {
		return
	}
	m.failed("messages that were delivered are still in the store", err, "user", key)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owed.add(key, list...)
	m.tend()
}

// takes reports whether messages to the bare address go to a connection.
func takes(s *server.Session) bool {
	p := s.Presence()
	return p != nil && p.Priority >= 0
}

// present reports whether messages to a bare address go anywhere.
func (m *Module) present(bare jid.JID) bool {
	for _, s := range m.host.Sessions(bare) {
		if takes(s) {
			return true
		}
	}
	return len(m.host.NodesOf(bare)) > 0
}
