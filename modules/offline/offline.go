// Package offline keeps messages for users who are not there (XEP-0160), and gives them
// to the first client of theirs that can take them, with the time when they were sent
// (XEP-0203). A message is forgotten once a client has acknowledged it: as XEP-0198 says,
// or, where a client does not speak that, by answering a ping that follows the message.
package offline

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"rollcall/internal/jid"
	"rollcall/server"
	"rollcall/storage"
)

// Options are what a Module is made of.
type Options struct {
	Spool storage.Spool
	Users storage.Users
	// Owners says whether a user who is said to be removed is gone for good.
	Owners storage.Owners
	// Limit is what may wait for one user.
	Limit storage.KeepLimit
	// PageBytes is about how many bytes a client is sent before it has to acknowledge
	// them: a part of what an outbox holds. A message that is larger is sent alone.
	PageBytes int
	// StanzaIDs says that messages have ids by the recipient's account (XEP-0359) that
	// no sender can forge.
	StanzaIDs bool
}

// Module implements server.Module.
type Module struct {
	o       Options
	host    *server.Host
	primary string // the virtual host whose users are known to the store by their local part alone
	metrics metrics
	seed    maphash.Seed // of sums of what was sent, which nobody can foresee

	mu      sync.Mutex
	stopped bool
	replays map[jid.JID]*replay
	// negative are the connections that are available and take no messages (RFC 6121
	// section 8.5.2.1.1), by Session.Conn.
	negative map[string]struct{}
	sent     map[string]page // of connections that died, by Conn; until the core has given back what they did not get
	owed     ids             // what could not be discarded yet, by user
	flying   ids             // what connections have that did not acknowledge it, by user
	removed  int             // users, so far
	late     map[jid.JID]time.Time
	leftTo   map[jid.JID]string // the node that replays to users who are here as well
	chores   *time.Timer        // runs while there is something owed or late
	pings    uint64             // for their ids
	outage   outage
	work     sync.WaitGroup // of timers
}

var (
	_ server.Module    = (*Module)(nil)
	_ server.Validator = (*Module)(nil)
	_ server.Stopper   = (*Module)(nil)
	_ server.Peers     = (*Module)(nil)
)

// New makes the module.
func New(o Options) *Module {
	return &Module{
		o: o, metrics: newMetrics(), replays: make(map[jid.JID]*replay), negative: make(map[string]struct{}),
		sent: make(map[string]page), owed: make(ids), flying: make(ids),
		late: make(map[jid.JID]time.Time), leftTo: make(map[jid.JID]string), seed: maphash.MakeSeed(),
	}
}

// Name implements server.Module.
func (m *Module) Name() string { return "offline" }

// Validate implements server.Validator.
func (m *Module) Validate() error {
	switch {
	case m.o.Spool == nil || m.o.Users == nil || m.o.Owners == nil:
		return errors.New("no store")
	case m.o.Limit.Messages <= 0 || m.o.Limit.Bytes <= 0 || m.o.PageBytes <= 0:
		return errors.New("a limit is missing")
	}
	return nil
}

// Where the module is among the handlers of its hooks. What others do about a message
// comes before: it may not be one that is kept.
const (
	priorityKeep   = 500
	priorityReplay = 500
)

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host, m.primary = h, h.Domains()[0]
	if err := h.Metrics(m.metrics.all()...); err != nil {
		return err
	}
	h.Feature(server.ToServer, "msgoffline")
	h.Declare(server.Protocol{
		Number: "XEP-0160", Title: "Best Practices for Handling Offline Messages", Version: "1.0.1",
		Notes: "bounded; a message is forgotten when a client has acknowledged it", Features: []string{"msgoffline"},
	})
	h.Declare(server.Protocol{Number: "XEP-0203", Title: "Delayed Delivery", Version: "2.0", Notes: "on messages that were kept"})
	h.Declare(server.Protocol{
		Number: "XEP-0334", Title: "Message Processing Hints", Version: "1.0.0",
		Notes: "no-store and store, for messages to users who are not there",
	})
	h.OnNobody(priorityKeep, m.nobody)
	h.OnReturned(priorityKeep, m.returned)
	h.OnSetPresence(priorityReplay, m.setPresence)
	h.OnRemoveConnection(priorityReplay, m.removeConnection)
	h.OnAnswer(priorityReplay, m.answer)
	h.OnUnsafe(priorityKeep, m.unsafe)
	h.OnAcked(priorityKeep, m.acked)
	h.OnDirectoryChange(priorityKeep, m.directoryChanged)
	h.OnNodes(m)
	return nil
}

// Stop implements server.Stopper.
func (m *Module) Stop(context.Context) error {
	m.mu.Lock()
	m.stopped = true
	for _, r := range m.replays {
		if r.timer != nil {
			r.timer.Stop()
		}
	}
	if m.chores != nil {
		m.chores.Stop()
	}
	m.mu.Unlock()
	m.work.Wait() // their calls of the store end with the server
	return nil
}

// later runs f after a while, unless the module stops before. m.mu is held.
func (m *Module) later(d time.Duration, f func(context.Context, *server.Batch)) *time.Timer {
	if m.stopped {
		return nil
	}
	return time.AfterFunc(d, func() {
		m.mu.Lock()
		if m.stopped {
			m.mu.Unlock()
			return
		}
		m.work.Add(1)
		m.mu.Unlock()
		defer m.work.Done()
		b := m.host.NewBatch()
		defer b.Flush()
		f(m.host.Context(), b)
	})
}

// key is what a user is called in the store. The same local part at another virtual host
// has another address, and messages of its own.
func (m *Module) key(bare jid.JID) string {
	if bare.Domain() == m.primary {
		return bare.Local()
	}
	return bare.String()
}

// directoryChanged forgets the messages of users who are gone.
func (m *Module) directoryChanged(ctx context.Context, e *server.DirectoryChange) {
	if e.Kind != storage.UserRemoved {
		return
	}
	m.mu.Lock()
	m.removed++
	m.mu.Unlock()
	for _, host := range m.host.Domains() {
		bare, err := jid.New(e.User, host, "")
		if err == nil {
			err = m.forget(ctx, bare)
		}
		if err != nil {
			m.metrics.errors.Inc()
			m.host.Log().Error("messages of a user who was removed may still be there", "user", e.User, "host", host, "err", err)
		}
	}
}

// forget forgets what waits for a user, if there is no such user.
func (m *Module) forget(ctx context.Context, bare jid.JID) error {
	there, err := m.o.Owners.UserExists(ctx, bare.Local())
	if err != nil || there {
		return err
	}
	return m.o.Spool.DiscardAll(ctx, m.key(bare))
}
