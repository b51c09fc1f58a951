// Package blocking lets users block others (XEP-0191): nothing that these send arrives,
// and they see the user as offline.
//
// Every node keeps the lists of all users who block anybody in memory, since they are
// asked for every stanza between two users and for every presence (lists.go). The store
// has them as documents. A change is told to the other nodes, each of which tells those
// connected to it what they see from now on (presence.go).
package blocking

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
	"rollcall/storage"
)

// Options are what a Module is made of.
type Options struct {
	// Contacts is how many addresses one user may block.
	Contacts int
	// Documents keeps the lists.
	Documents storage.Documents
	// Owners says whether a user who is said to be removed is gone for good.
	Owners storage.Owners
}

// documentKey is what a list is stored under.
const documentKey = "blocking"

// maxBytes bounds the addresses of one user's list together.
const maxBytes = 256 << 10

// Module implements server.Module.
type Module struct {
	o       Options
	host    *server.Host
	domains []string
	lists   lists
	changes [64]sync.Mutex // by user, held while a list changes and that is told
	pushed  atomic.Uint64  // for ids of pushes
	reading reading
	due     due

	mu sync.RWMutex
	// interested are the connections that asked for the list, by bare address. Lists
	// are never changed.
	interested map[jid.JID][]*server.Session
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
		o: o, interested: make(map[jid.JID][]*server.Session),
		due: due{
			users: make(map[jid.JID]struct{}), stored: make(map[jid.JID]time.Time),
			told: make(map[jid.JID]map[jid.JID]struct{}),
		},
	}
}

// Name implements server.Module.
func (m *Module) Name() string { return "blocking" }

// Validate implements server.Validator.
func (m *Module) Validate() error {
	switch {
	case m.o.Documents == nil || m.o.Owners == nil:
		return errors.New("no store")
	case m.o.Contacts < 1:
		return fmt.Errorf("%d contacts", m.o.Contacts)
	}
	return nil
}

// The priorities of hook handlers.
const (
	priorityRemove = 100
	priorityChange = 100
)

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host, m.domains = h, h.Domains()
	m.lists.init(m.domains)
	if err := m.load(h.Context()); err != nil {
		return err
	}
	err := h.Metrics(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "rollcall_blocking_users", Help: "Users who block somebody.",
	}, func() float64 { return float64(m.lists.count.Load()) }))
	if err != nil {
		return err
	}
	h.Declare(server.Protocol{
		Number: "XEP-0191", Title: "Blocking Command", Version: "1.3",
		Notes:    "between users; what services and the server itself send is not blocked",
		Features: []string{ns.Blocking},
	})
	h.Feature(server.ToServer, ns.Blocking)
	for name, f := range map[string]server.IQHandler{"blocklist": m.list, "block": m.block, "unblock": m.unblock} {
		if err := h.HandleIQ(server.ToSelf, ns.Blocking, name, f); err != nil {
			return err
		}
	}
	h.SetFilter(m.lists.verdict)
	h.OnRemoveConnection(priorityRemove, func(ctx context.Context, e *server.RemoveConnection) {
		m.uninterested(e.JID.Bare(), e.Conn)
		if e.Reason == server.ReasonUserRemoved && m.lists.of(e.JID.Bare()) != nil {
			m.removeUser(ctx, e.JID.Local()) // a list that came after the end of the account
		}
	})
	h.OnDirectoryChange(priorityChange, func(ctx context.Context, e *server.DirectoryChange) {
		if e.Kind == storage.UserRemoved {
			m.removeUser(ctx, e.User)
		}
	})
	h.OnNodes(m)
	return nil
}

// Stop implements server.Stopper.
func (m *Module) Stop(ctx context.Context) error { return m.reading.stop(ctx) }

// list answers section 3.2.
func (m *Module) list(_ context.Context, iq *server.IQ) (server.Payload, error) {
	if iq.Set() {
		return nil, server.Error(stanza.BadRequest, "a block list is changed by block and unblock")
	}
	m.interest(iq.Session)
	return server.Raw(appendItems(nil, "blocklist", m.lists.of(iq.From.Bare()).addresses())), nil
}

// block answers section 3.3.
func (m *Module) block(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	items, err := readItems(iq)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, server.Error(stanza.BadRequest, "nobody is to be blocked")
	}
	return nil, m.change(ctx, iq.Batch, iq.From.Bare(), change{block: true, items: items})
}

// unblock answers sections 3.4 and 3.5.
func (m *Module) unblock(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	items, err := readItems(iq)
	if err != nil {
		return nil, err
	}
	return nil, m.change(ctx, iq.Batch, iq.From.Bare(), change{items: items})
}

// change is a change of a list. One that unblocks nobody by name unblocks everybody.
type change struct {
	block bool
	items []jid.JID
}

// name is the element's.
func (c *change) name() string {
	if c.block {
		return "block"
	}
	return "unblock"
}

// of is a list after the change, and those whom it is about: who was not blocked
// before, or was.
func (c *change) of(old []jid.JID) (now, about []jid.JID) {
	if !c.block && len(c.items) == 0 {
		return nil, old
	}
	if c.block {
		was := newList(old)
		for _, j := range c.items {
			if !was.has(j) {
				about = append(about, j)
			}
		}
		return slices.Concat(old, about), about
	}
	these := newList(c.items)
	for _, j := range old {
		if these.has(j) {
			about = append(about, j)
		} else {
			now = append(now, j)
		}
	}
	return now, about
}

// change stores a change, makes it count, and tells everybody who has to know.
func (m *Module) change(ctx context.Context, b *server.Batch, user jid.JID, c change) error {
	lock := m.lock(user)
	lock.Lock()
	defer lock.Unlock()
	now, about := c.of(m.lists.of(user).addresses())
	if len(about) > 0 {
		if err := m.fits(now); c.block && err != nil {
			return err
		}
		if err := m.store(ctx, user, now); err != nil {
			return err
		}
		m.noteStored(user)
	}
	m.set(user, now)
	m.push(b, user, c)
	m.tell(b, user, about)
	for _, node := range m.host.Nodes() {
		m.host.Tell(b, node, c.append([]byte{itemChange}, user, about))
	}
	return nil
}

// fits returns an error for a list that is too long.
func (m *Module) fits(list []jid.JID) error {
	size := 0
	for _, j := range list {
		size += len(j.String())
	}
	if len(list) > m.o.Contacts || size > maxBytes {
		return server.Error(stanza.ResourceConstraint, "too many addresses are blocked already")
	}
	return nil
}

// push tells the user's clients here that asked for the list (section 3.3).
func (m *Module) push(b *server.Batch, user jid.JID, c change) {
	m.mu.RLock()
	sessions := m.interested[user]
	m.mu.RUnlock()
	if len(sessions) == 0 {
		return
	}
	payload := appendItems(nil, c.name(), c.items)
	for _, s := range sessions {
		id := "block-" + strconv.FormatUint(m.pushed.Add(1), 36)
		b.Send(s, server.AppendIQ(nil, "set", id, user, s.JID(), payload))
	}
}

// interest notes that a connection wants to hear of changes.
func (m *Module) interest(s *server.Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	bare := s.JID().Bare()
	if list := m.interested[bare]; !slices.Contains(list, s) {
		m.interested[bare] = append(slices.Clip(list), s)
	}
}

func (m *Module) uninterested(bare jid.JID, conn string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(m.interested[bare]), func(s *server.Session) bool { return s.Conn() == conn })
	if len(list) == 0 {
		delete(m.interested, bare)
		return
	}
	m.interested[bare] = list
}

// readItems reads the addresses of a request, each once.
func readItems(iq *server.IQ) (items []jid.JID, err error) {
	if !iq.Set() {
		return nil, server.Error(stanza.BadRequest, "blocking is done by a set")
	}
	command, err := iq.Payload()
	if err != nil {
		return nil, err
	}
	known := make(map[jid.JID]struct{})
	for _, el := range command.ChildElements() {
		if el.NamespaceURI() != ns.Blocking || el.Tag != "item" {
			continue
		}
		j, err := jid.Parse(el.SelectAttrValue("jid", ""))
		if err != nil {
			return nil, server.Error(stanza.JIDMalformed, "an item without an address")
		}
		if _, twice := known[j]; !twice {
			known[j] = struct{}{}
			items = append(items, j)
		}
	}
	if len(items) == 0 && len(command.ChildElements()) > 0 {
		// Nobody is everybody here, which is not what this means.
		return nil, server.Error(stanza.BadRequest, "no item")
	}
	return items, nil
}

func appendItems(dst []byte, name string, items []jid.JID) []byte {
	dst = append(dst, "<"+name+" xmlns='"+ns.Blocking+"'"...)
	if len(items) == 0 {
		return append(dst, '/', '>')
	}
	dst = append(dst, '>')
	for _, j := range items {
		dst = append(dst, "<item jid='"...)
		dst = xmlscan.AppendAttr(dst, j.String())
		dst = append(dst, "'/>"...)
	}
	return append(dst, "</"+name+">"...)
}
