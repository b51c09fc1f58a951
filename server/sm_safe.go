package server

import (
	"bytes"
	"context"
	"sync"
	"time"

	"rollcall/internal/jid"
)

// Who manages a stream (XEP-0198) takes a message that the server has acknowledged for
// delivered, and forgets it. The server acknowledges it when it is safe: when one of the
// recipient's connections has acknowledged it in turn, or took it without
// acknowledging anything, or when it is stored, or given back. Otherwise a server that
// is killed would lose what waits in its queues.

// Unsafe is the event of unsafe: a client wants to know which of its messages are safe,
// and these would be lost if the process ended now. A handler stores what it can, and
// sets the ID of each message that it has stored. Of what has no ID then, nothing is
// acknowledged.
type Unsafe struct {
	Batch    *Batch
	Session  *Session // the sender; nil when the server stops, and stores what it is left with
	Messages []*KeptMessage
}

// KeptMessage is a message that waits for somebody.
type KeptMessage struct {
	User jid.JID // bare
	At   time.Time
	Data []byte // the encoded stanza, as the recipient gets it; it must not be changed
	ID   string // in the store, for Acked
	// Fleeting says that the message is not stored because it is not worth it: it counts
	// as safe.
	Fleeting bool
}

// Acked is the event of acked: a client has acknowledged messages that are stored, or
// they are safe elsewhere. They can be deleted.
type Acked struct {
	Batch *Batch
	User  jid.JID // bare
	IDs   []string
}

// OnUnsafe and OnAcked add handlers for the store of messages; see the types of their
// events. Without a handler of unsafe, every message counts as safe.
func (h *Host) OnUnsafe(priority int, f func(context.Context, *Unsafe)) {
	on(h, &h.srv.hooks.unsafe, priority, f)
}

// OnAcked adds a handler of messages that need not be stored any more.
func (h *Host) OnAcked(priority int, f func(context.Context, *Acked)) {
	on(h, &h.srv.hooks.acked, priority, f)
}

// Acks reports whether the client acknowledges what it gets.
func (s *Session) Acks() bool {
	m := s.managed()
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.acks && !m.over
}

// SendKept queues an encoded message that is stored under an id for one connection. When
// the client acknowledges it, acked is fired. When the client is lost instead, the
// message goes to another connection of the user, or stays in the store. What is sent to
// a session without Acks is never heard of again.
func (b *Batch) SendKept(s *Session, el []byte, id string) {
	user := s.jid.Bare()
	b.delivery = &delivery{to: user, kept: &kept{user: user, id: id, replayed: true, settled: true}}
	b.Send(s, el)
	b.delivery = nil
}

// delivery is a message on its way to a user, of which somebody wants to know whether it
// is safe.
type delivery struct {
	to     jid.JID  // bare
	sender *managed // nil when the message comes from the store
	kept   *kept    // once a connection has taken it that acknowledges
	direct bool     // a connection has taken it that does not
}

// keep notes that the message waits for one more connection's acknowledgement.
func (d *delivery) keep(data []byte) *kept {
	if d.kept == nil {
		d.kept = &kept{user: d.to, at: time.Now(), sender: d.sender, data: data}
		d.sender.pending.Add(1)
	}
	d.kept.hold()
	return d.kept
}

// kept is a message that waits for the acknowledgement of one or several connections of
// its recipient.
type kept struct {
	user     jid.JID // bare
	at       time.Time
	sender   *managed // whose acknowledgement waits until it is safe; may be nil
	replayed bool     // it came from the store, and went to one connection only

	// busy is held by who stores the message or gives it back. Both may store it under
	// the same id, and one would delete what the other has stored. Who stores has it for
	// all of a client's messages at once, and who gives back for one.
	busy sync.Mutex

	mu      sync.Mutex
	data    []byte // nil once it is safe
	id      string // in the store; empty while it is not there
	held    int    // connections whose acknowledgement it waits for
	gone    bool   // somebody has got it
	settled bool   // it is safe
}

// hold notes that the message waits for one more connection.
func (k *kept) hold() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held++
}

// settle notes that the message is safe; k.mu is held.
func (k *kept) settle() {
	if k.settled {
		return
	}
	k.settled, k.data = true, nil
	if m := k.sender; m != nil && m.pending.Add(-1) == 0 && m.owed.Load() {
		go m.session.answerOwed(m)
	}
}

// delivered notes that a client has got the message, and returns the id of what can be
// deleted from the store, or "".
func (k *kept) delivered() (id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held--
	k.gone = true
	k.settle()
	id, k.id = k.id, ""
	return id
}

// released notes that the message does not wait for a connection any more, which has
// ended: it was sent elsewhere, or its sender was told, or, with inStore, it waits in the
// store. It returns what delivered does.
func (k *kept) released(inStore bool) (id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held--; k.held > 0 || k.gone {
		return ""
	}
	k.settle()
	if inStore {
		return ""
	}
	id, k.id = k.id, ""
	return id
}

// wanting returns what has to be stored of the message, nil when it is safe. busy is
// held.
func (k *kept) wanting() *KeptMessage {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.settled {
		return nil
	}
	return &KeptMessage{User: k.user, At: k.at, Data: k.data}
}

// stored notes that the message is in the store. It returns its id when it need not be
// there any more.
func (k *kept) stored(id string) (delete string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settle()
	if k.gone || k.held == 0 {
		return id
	}
	k.id = id
	return ""
}

// forgo notes that the message may be lost with the process.
func (k *kept) forgo() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settle()
}

// inStore returns the id of the message in the store, or "".
func (k *kept) inStore() string {
	if k == nil {
		return ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.id
}

// uncertain is a message of the client that may not be safe.
type uncertain struct {
	*kept
	number uint32 // among the client's stanzas
	told   bool   // the client knows that it came
}

// maxUnsafe is how many messages of one client wait to be safe before they are stored
// without being asked for.
const maxUnsafe = 256

// follow has what b sends to a user followed until it is safe, if the session's client
// wants to know. It reports false when too much is unsafe already.
func (s *Session) follow(b *Batch, to jid.JID) bool {
	m := s.managed()
	if m == nil || !m.acks || !s.srv.hooks.unsafe.any() {
		return true
	}
	if len(m.unsafe) >= maxUnsafe {
		s.secure(b, m)
		if len(m.unsafe) >= maxUnsafe {
			return false
		}
	}
	m.way = delivery{to: to.Bare(), sender: m}
	b.delivery = &m.way
	return true
}

// followed ends follow.
func (s *Session) followed(b *Batch) {
	d := b.delivery
	if d == nil {
		return
	}
	b.delivery = nil
	switch m := d.sender; {
	case d.kept == nil:
	case d.direct:
		d.kept.took()
	default:
		m.unsafe = append(m.unsafe, uncertain{kept: d.kept, number: m.in})
	}
}

// took notes that a connection has taken the message that does not acknowledge, and
// returns what delivered does.
func (k *kept) took() (id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.gone = true
	k.settle()
	id, k.id = k.id, ""
	return id
}

// secure stores the client's messages that are not safe.
func (s *Session) secure(b *Batch, m *managed) {
	if s.srv.closing.Load() {
		s.srv.rescue.Lock() // nobody stores the same
		defer s.srv.rescue.Unlock()
	}
	list := m.unsafe[:0]
	e := &Unsafe{Batch: b, Session: s}
	for _, u := range m.unsafe {
		u.busy.Lock()
		if k := u.wanting(); k != nil {
			list = append(list, u)
			e.Messages = append(e.Messages, k)
		} else {
			u.busy.Unlock()
		}
	}
	clear(m.unsafe[len(list):])
	m.unsafe = list
	if len(list) == 0 {
		m.unsafe = nil
		return
	}
	s.srv.hooks.unsafe.fire(s.srv, e)
	var safe needless
	list = m.unsafe[:0]
	for i, u := range m.unsafe {
		switch k := e.Messages[i]; {
		case k.ID != "":
			safe.add(u.user, u.stored(k.ID))
		case k.Fleeting:
			u.forgo()
		default:
			list = append(list, u)
		}
		u.busy.Unlock()
	}
	clear(m.unsafe[len(list):])
	m.unsafe = list
	safe.fire(b)
}

// handled is how many of the client's stanzas it may be told to be handled.
func (m *managed) handled() uint32 {
	for _, u := range m.unsafe {
		if !u.told {
			return u.number - 1
		}
	}
	return m.in
}

// needless gathers what can be deleted from the store.
type needless map[jid.JID][]string

func (a *needless) add(user jid.JID, id string) {
	if id == "" {
		return
	}
	if *a == nil {
		*a = make(needless)
	}
	(*a)[user] = append((*a)[user], id)
}

func (a needless) fire(b *Batch) {
	for user, ids := range a {
		b.srv.hooks.acked.fire(b.srv, &Acked{Batch: b, User: user, IDs: ids})
	}
}

// gotten notes that a client has acknowledged messages.
func gotten(b *Batch, list []*kept) {
	var ids needless
	for _, k := range list {
		ids.add(k.user, k.delivered())
	}
	ids.fire(b)
}

// rescue stores, when the server stops, what a client has not acknowledged.
func (s *Session) rescue(b *Batch, left []entry) {
	if !s.srv.hooks.unsafe.any() {
		return
	}
	s.srv.rescue.Lock()
	defer s.srv.rescue.Unlock()
	u := undelivered{s: s, Batch: Batch{srv: s.srv}}
	last := len(s.srv.registry.of(s.jid.Bare())) == 0
	e := &Unsafe{Batch: b}
	var of []*kept
	for el := range u.entries(left) {
		if el.kind != Message || el.typ == "error" || el.typ == "headline" || el.typ == "groupchat" {
			continue
		}
		message := &KeptMessage{User: el.to.Bare(), At: time.Now(), Data: bytes.Clone(el.Raw)}
		if !el.to.IsFull() && !last {
			continue
		}
		if k := el.kept; k != nil {
			if !k.busy.TryLock() {
				continue // somebody else sees to it
			}
			if message = k.wanting(); message == nil {
				k.busy.Unlock()
				continue
			}
		}
		e.Messages, of = append(e.Messages, message), append(of, el.kept)
	}
	if len(e.Messages) == 0 {
		return
	}
	s.srv.hooks.unsafe.fire(s.srv, e)
	for i, k := range of {
		if k == nil {
			continue
		}
		if id := e.Messages[i].ID; id != "" {
			k.stored(id)
		}
		k.busy.Unlock()
	}
}
