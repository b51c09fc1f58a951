// Package roster answers jabber:iq:roster (RFC 6121 section 2) with the people
// that a user shares a project with. The roster is the projects' business:
// clients read it and are told when it changes, but cannot change it.
//
// An item has subscription='both', the member's display name, and a group for
// every project that the two share.
//
// cache.go keeps what the rosters of interested users are made of, changes.go
// applies changes of the directory to it and pushes what they mean, encode.go
// writes items.
package roster

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/server"
	"rollcall/storage"
)

// Users finds display names.
type Users interface {
	// User returns the user of that id, or storage.ErrNotFound.
	User(ctx context.Context, id string) (storage.User, error)
}

// Options are what a Module is made of.
type Options struct {
	Projects storage.Projects
	Users    Users
}

// Module implements server.Module.
type Module struct {
	o        Options
	host     *server.Host
	cache    *cache
	pushed   atomic.Uint64 // for ids of pushes
	pushes   prometheus.Counter
	failures *prometheus.CounterVec
}

var (
	_ server.Module    = (*Module)(nil)
	_ server.Validator = (*Module)(nil)
)

// New makes the module.
func New(o Options) *Module { return &Module{o: o} }

// Name implements server.Module.
func (m *Module) Name() string { return "roster" }

// Validate implements server.Validator.
func (m *Module) Validate() error {
	if m.o.Projects == nil || m.o.Users == nil {
		return errors.New("no store")
	}
	return nil
}

// The priorities of hook handlers.
const (
	priorityRemove       = 100
	prioritySubscription = 50
	// priorityChange comes before the one that tells presence: a client takes
	// presence only from people it has in its roster.
	priorityChange = 50
)

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host, m.cache = h, newCache()
	m.pushes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "rollcall_roster_pushes_total", Help: "Roster pushes sent.",
	})
	m.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rollcall_roster_store_failures_total", Help: "Store calls of the roster module that failed.",
	}, []string{"call"})
	if err := h.Metrics(m.pushes, m.failures); err != nil {
		return err
	}
	if err := h.HandleIQ(server.ToSelf, ns.Roster, "query", m.query); err != nil {
		return err
	}
	// RFC 6121 sections 2.1.5 and 2.3.3: nobody gets at another user's roster.
	if err := h.HandleIQ(server.ToOther, ns.Roster, "query", foreign); err != nil {
		return err
	}
	h.OnRemoveConnection(priorityRemove, func(_ context.Context, e *server.RemoveConnection) {
		m.cache.forget(e.JID.Local(), e.Conn)
	})
	h.OnSubscription(prioritySubscription, m.subscription)
	h.OnDirectoryChange(priorityChange, m.directoryChanged)
	return nil
}

func foreign(context.Context, *server.IQ) (server.Payload, error) {
	return nil, server.Error(stanza.Forbidden, "a roster is its owner's business")
}

func (m *Module) query(ctx context.Context, iq *server.IQ) (server.Payload, error) {
	if iq.Set() {
		return nil, refuse(iq)
	}
	if err := m.interested(ctx, iq.Session); err != nil {
		if errors.Is(err, storage.ErrUnavailable) {
			m.failed("get", err, "user", iq.From.Local())
			e := server.Error(stanza.InternalServerError, "try again later")
			e.Type = stanza.Wait
			return nil, e
		}
		return nil, err
	}
	return answer{m.cache, iq.From}, nil
}

// refuse says what is wrong with a roster set: its form (RFC 6121 section
// 2.1.5), or that it is one.
func refuse(iq *server.IQ) error {
	query, err := iq.Payload()
	if err != nil {
		return err
	}
	items := query.ChildElements()
	if len(items) != 1 || items[0].Tag != "item" {
		return server.Error(stanza.BadRequest, "a roster set has exactly one item")
	}
	if _, err := jid.Parse(items[0].SelectAttrValue("jid", "")); err != nil {
		return server.Error(stanza.BadRequest, "the item has no valid address")
	}
	return server.Error(stanza.NotAllowed, "the roster follows the projects")
}

// subscription answers requests between people who share a project: they have
// each other's presence already (RFC 6121 section 3.1.3). Nothing else changes
// anything; to others the core answers.
func (m *Module) subscription(ctx context.Context, e *server.Subscription) {
	if e.Type != "subscribe" {
		e.Answered = true
		return
	}
	from := e.From.JID()
	if from.Domain() != e.To.Domain() {
		return
	}
	together, err := m.together(ctx, from.Local(), e.To.Local())
	if err != nil {
		// The core denies the request; a client asks again.
		m.failed("subscribe", err, "user", from.Local())
		return
	}
	if together {
		e.Answered = true
		e.Batch.Send(e.From, server.AppendPresenceType(nil, e.To, from.Bare(), "subscribed"))
	}
}

// together reports whether two different users share a project.
func (m *Module) together(ctx context.Context, a, b string) (bool, error) {
	if a == b {
		return false, nil
	}
	mine, err := m.o.Projects.ProjectsOf(ctx, a)
	if err != nil {
		return false, err
	}
	theirs, err := m.o.Projects.ProjectsOf(ctx, b)
	if err != nil {
		return false, err
	}
	for _, p := range mine {
		for _, q := range theirs {
			if p.ID == q.ID {
				return true, nil
			}
		}
	}
	return false, nil
}

// failed counts and logs a store call that did not work out.
func (m *Module) failed(call string, err error, about ...any) {
	m.failures.WithLabelValues(call).Inc()
	m.host.Log().Error("store call failed", append(about, "call", call, "err", err)...)
}
