// Package projects is the product's heart: people who share a project see each
// other's presence, and everybody who asks the project's service host learns who
// of it is online.
//
// Each virtual host is a community of its own. A community keeps a person for
// every user who has been available on this node (person.go), and a room for
// every project that such people share (rooms.go). events.go turns hook events
// into changes of the presence store and into what others are told; changes.go
// does the same for memberships; service.go and queries.go answer at the service
// host.
//
// People who are connected to other nodes are persons, too, in the rooms that people
// of this node are in. Nodes tell each other all that is shown of a person (news.go)
// whenever it changes, and ask each other when somebody comes into a room that was
// empty, or when something was lost (nodes.go, ask.go); learn.go tells this node's
// people what is different then.
package projects

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/auth"
	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/server"
	"rollcall/storage"
)

// Options are what a Module is made of.
type Options struct {
	// ServiceHost is the name of the service host at a virtual host, which stands
	// in for "@HOST@".
	ServiceHost string
	// Grace is how long a user whose last connection is gone still counts as
	// online.
	Grace time.Duration
	// LegacyShows takes the show "offline" for "invisible".
	LegacyShows bool
	// Directory knows the projects and their members.
	Directory storage.Projects
	// Presence keeps who is online.
	Presence storage.Presence
	// Ended, where it is not nil, hears that a session was told that somebody is gone
	// who only shares no project with it any more: there may be other reasons to see
	// them. It is called while nobody else is told of that user, and does not wait.
	Ended func(b *server.Batch, s *server.Session, user jid.JID)
}

// Module implements server.Module.
type Module struct {
	o           Options
	host        *server.Host
	clustered   bool                  // there may be other nodes
	communities map[string]*community // by virtual host
	failures    *prometheus.CounterVec
	outage      outage
	extensions  sync.Pool // of *extension
}

var (
	_ server.Module    = (*Module)(nil)
	_ server.Validator = (*Module)(nil)
	_ server.Stopper   = (*Module)(nil)
	_ server.Peers     = (*Module)(nil)
)

// New makes the module.
func New(o Options) *Module { return &Module{o: o} }

// Name implements server.Module.
func (m *Module) Name() string { return "projects" }

// Validate implements server.Validator.
func (m *Module) Validate() error {
	switch {
	case m.o.Directory == nil || m.o.Presence == nil:
		return errors.New("no store")
	case m.o.Grace < 0:
		return fmt.Errorf("grace of %s", m.o.Grace)
	}
	return nil
}

// The priorities of hook handlers, those of the system rollcall replaces.
const (
	priorityAvailable = 50
	prioritySet       = 100
	priorityRemove    = 50
	// priorityChange comes after the rosters': a client takes presence only from
	// people it has in its roster.
	priorityChange = 100
)

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host = h
	m.clustered = h.Node() != ""
	h.Declare(server.Protocol{
		Number: "XEP-0059", Title: "Result Set Management", Version: "1.0", Notes: "for who is online in a project",
	})
	m.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rollcall_projects_store_failures_total", Help: "Store calls of the projects module that failed.",
	}, []string{"call"})
	if err := h.Metrics(m.failures); err != nil {
		return err
	}
	m.communities = make(map[string]*community)
	for i, host := range h.Domains() {
		service, err := jid.New("", strings.ReplaceAll(m.o.ServiceHost, "@HOST@", host), "")
		if err != nil {
			return err
		}
		c := newCommunity(m, host, service, i > 0)
		if err := h.Serve(service.String(), c); err != nil {
			return err
		}
		m.communities[host] = c
	}
	h.ReservePresence(ns.Project)
	h.OnUserAvailable(priorityAvailable, func(ctx context.Context, e *server.UserAvailable) {
		if belongs(e.Session.JID()) {
			m.of(e.Session.JID()).userAvailable(ctx, e)
		}
	})
	h.OnSetPresence(prioritySet, func(ctx context.Context, e *server.SetPresence) {
		if belongs(e.Session.JID()) {
			m.of(e.Session.JID()).setPresence(ctx, e)
		}
	})
	h.OnRemoveConnection(priorityRemove, func(ctx context.Context, e *server.RemoveConnection) {
		if belongs(e.JID) {
			m.of(e.JID).removeConnection(ctx, e)
		}
	})
	h.OnProbe(priorityAvailable, func(ctx context.Context, e *server.Probe) {
		m.of(e.To).probe(ctx, e)
	})
	h.OnAuthorize(priorityAvailable, func(ctx context.Context, e *server.Authorize) {
		if c := m.of(e.Viewer); c != nil && c == m.of(e.User) {
			c.authorize(ctx, e)
		}
	})
	h.OnDirectoryChange(priorityChange, func(ctx context.Context, e *server.DirectoryChange) {
		for _, c := range m.communities {
			c.directoryChanged(ctx, e)
		}
	})
	h.OnNodes(m)
	return nil
}

// Stop implements server.Stopper: whoever was in the grace period is offline now.
func (m *Module) Stop(ctx context.Context) error {
	for _, c := range m.communities {
		c.stop(ctx)
	}
	return nil
}

// of is the community of a local address.
func (m *Module) of(j jid.JID) *community { return m.communities[j.Domain()] }

// failed counts and logs a store call that did not work out.
func (m *Module) failed(call string, err error, about ...any) {
	m.failures.WithLabelValues(call).Inc()
	silent, ok := m.outage.log(err, time.Now())
	if !ok {
		return
	}
	if silent > 0 {
		about = append(about, "not_logged", silent)
	}
	m.host.Log().Error("store call failed", append(about, "call", call, "err", err)...)
}

// replacedGrace is the least time that a replaced connection's successor has to
// become available before others learn that the old one is gone.
const replacedGrace = 2 * time.Second

// show is the state that a presence declares; hidden is a legacy "offline".
func (m *Module) show(p *server.Presence) (show storage.Show, hidden bool) {
	switch {
	case !p.Available:
		return storage.Offline, false
	case m.o.LegacyShows && p.Declared == "offline":
		return storage.Offline, true
	}
	switch p.Show {
	case "dnd":
		return storage.Busy, false
	case "away", "xa":
		return storage.Leave, false
	default:
		return storage.Online, false
	}
}

// belongs reports whether somebody may belong to a project: whoever has no account
// (XEP-0175) does not, and is nobody whom the stores should hear of.
func belongs(j jid.JID) bool { return !auth.IsAnonymous(j.Local()) }
