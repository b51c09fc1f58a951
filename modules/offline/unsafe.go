package offline

import (
	"context"
	"slices"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// ids are ids of messages by user.
type ids map[string]map[string]struct{}

func (s ids) add(key string, list ...string) {
	if s[key] == nil {
		s[key] = make(map[string]struct{}, len(list))
	}
	for _, id := range list {
		s[key][id] = struct{}{}
	}
}

func (s ids) remove(key string, list ...string) {
	for _, id := range list {
		delete(s[key], id)
	}
	if len(s[key]) == 0 {
		delete(s, key)
	}
}

func (s ids) has(key, id string) bool {
	_, ok := s[key][id]
	return ok
}

// unsafe stores messages that clients have and did not acknowledge, so that a server
// that is killed does not lose what it told their sender to have taken.
func (m *Module) unsafe(ctx context.Context, e *server.Unsafe) {
	list := make([]storage.Kept, 0, len(e.Messages))
	of := make([]*server.KeptMessage, 0, len(e.Messages))
	for _, k := range e.Messages {
		msg := m.readUnsafe(k)
		if msg.verdict != keep {
			k.Fleeting = true
			continue
		}
		list = append(list, storage.Kept{User: m.key(k.User), ID: msg.id, At: k.At, Data: msg.data})
		of = append(of, k)
	}
	if len(list) == 0 {
		return
	}
	// What is in the store from here on is not for other connections.
	m.fly(list, true)
	refused, err := m.o.Spool.Keep(ctx, m.o.Limit, list...)
	if err != nil {
		m.fly(list, false)
		m.failed("messages are not safe, and their sender is not told that they are", err, "messages", len(list))
		return
	}
	var full []storage.Kept
	for i, k := range list {
		if slices.Contains(refused, k.ID) {
			full = append(full, k)
		} else {
			of[i].ID = k.ID
		}
	}
	m.fly(full, false)
	m.metrics.secured.Add(float64(len(list) - len(full)))
}

// fly notes that connections have messages, or have not.
func (m *Module) fly(list []storage.Kept, on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range list {
		if on {
			m.flying.add(k.User, k.ID)
		} else {
			m.flying.remove(k.User, k.ID)
		}
	}
}

// readUnsafe is read for a message that connections have.
func (m *Module) readUnsafe(k *server.KeptMessage) message {
	outer := element(k.Data)
	from, err := jid.Parse(text(outer.Attr("from")))
	if err != nil {
		return message{}
	}
	to, err := jid.Parse(text(outer.Attr("to")))
	if err != nil {
		return message{}
	}
	return m.read(&server.Nobody{From: from, To: to, Type: text(outer.Attr("type")), Data: k.Data})
}

// acked forgets messages that a client has acknowledged.
func (m *Module) acked(ctx context.Context, e *server.Acked) {
	key := m.key(e.User)
	m.discard(ctx, key, e.IDs)
	m.mu.Lock()
	m.flying.remove(key, e.IDs...)
	r := m.replays[e.User]
	if r == nil || r.state != waiting {
		m.mu.Unlock()
		return
	}
	had := len(r.page)
	for _, id := range e.IDs {
		delete(r.page, id)
	}
	m.metrics.delivered.Add(float64(had - len(r.page)))
	if len(r.page) > 0 || had == 0 {
		m.mu.Unlock()
		return
	}
	r.state = running
	m.mu.Unlock()
	m.run(ctx, e.Batch, r)
}
