// Package roster keeps contact lists (jabber:iq:roster, RFC 6121 section 2) and the
// subscriptions behind them (section 3).
//
// A roster has two parts. The people with whom a user shares a project are in it because
// the directory says so, with subscription='both', the member's display name, and a group
// for every project that the two share; clients read those items and are told when they
// change, but cannot change them. Beside them a user may have contacts of their own, in a
// storage.Rosters, with everything that RFC 6121 says of them. When somebody is both, the
// project's item is what clients see, and presence comes by the projects alone; the own
// item stays as it is, cannot be changed meanwhile, and shows again when the last common
// project has ended.
//
// cache.go keeps what the rosters of interested users are made of, changes.go applies
// changes of the directory to it, push.go and encode.go tell what that means. own.go keeps
// the own items of users who are here, states.go is what the tables of appendix A say,
// change.go changes items in the store, relation.go the two items that a subscription
// stands in, subscription.go and query.go take what clients want. presence.go and
// asks.go tell own contacts of each other, nodes.go the other nodes what has changed.
package roster

import (
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/server"
	"rollcall/storage"
)

// Users finds display names, and who there is.
type Users interface {
	// User returns the user of that id, or storage.ErrNotFound.
	User(ctx context.Context, id string) (storage.User, error)
}

// Options are what a Module is made of.
type Options struct {
	Projects storage.Projects
	Users    Users
	// Rosters keeps contacts of users' own; nil for none.
	Rosters storage.Rosters
	// Owners says who there is, also of those who may not log in; nil to ask Users.
	Owners storage.Owners
	// Items bounds a user's own contacts, those who wait for an answer among them.
	Items int
	// LegacyShows takes the show "offline" for "invisible".
	LegacyShows bool
	// ByProjects says that who shares a project gets the other's presence anyway; see
	// Module.Ended.
	ByProjects bool
}

// Module implements server.Module.
type Module struct {
	o        Options
	host     *server.Host
	context  context.Context // ends when the module stops
	stop     context.CancelFunc
	domains  []string // the virtual hosts
	hosts    map[string]struct{}
	cache    *cache
	owners   owners
	peers    peers
	errands  errands
	asks     asks
	parted   []parting     // by the change of the directory that is being told; of one goroutine
	pushed   atomic.Uint64 // for ids of pushes
	pushes   prometheus.Counter
	failures *prometheus.CounterVec
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
func (m *Module) Name() string { return "roster" }

// Validate implements server.Validator.
func (m *Module) Validate() error {
	switch {
	case m.o.Projects == nil || m.o.Users == nil:
		return errors.New("no store")
	case m.o.Rosters != nil && m.o.Items < 1:
		return errors.New("no room for contacts")
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
	// Own contacts are told after those who share a project: see partedPresence.
	priorityParted = 150
	prioritySet    = 150
	priorityProbe  = 100
	priorityMaySee = 100
)

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host, m.cache, m.domains = h, newCache(), h.Domains()
	m.context, m.stop = context.WithCancel(h.Context())
	m.owners.users, m.owners.seed = make(map[string]*own), maphash.MakeSeed()
	m.peers.known = make(map[string]struct{})
	m.hosts = make(map[string]struct{})
	for _, host := range m.domains {
		m.hosts[host] = struct{}{}
	}
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
	h.OnSubscription(prioritySubscription, m.subscription)
	h.OnDirectoryChange(priorityChange, m.directoryChanged)
	h.OnRemoveConnection(priorityRemove, m.removeConnection)
	h.OnAuthorize(priorityMaySee, m.authorize)
	m.offer(h)
	if m.o.Rosters == nil {
		return nil
	}
	h.OnSetPresence(prioritySet, m.setPresence)
	h.OnProbe(priorityProbe, m.probe)
	h.OnDirectoryChange(priorityParted, m.partedPresence)
	h.OnDirectoryChange(priorityParted, m.userRemoved)
	h.OnNodes(m)
	return nil
}

// The stream features of RFC 6121 sections 2.6.1 and 3.4.
const (
	featureVersions    = "urn:xmpp:features:rosterver"
	featurePreApproval = "urn:xmpp:features:pre-approval"
)

// offer says what the module can do.
func (m *Module) offer(h *server.Host) {
	features := []string{featureVersions}
	offer := "<ver xmlns='" + featureVersions + "'/>"
	notes := "rosters follow the projects, and are read-only"
	if m.o.Rosters != nil {
		features = append(features, featurePreApproval)
		offer += "<sub xmlns='" + featurePreApproval + "'/>"
		notes = "rosters and subscriptions; who shares a project is in the roster, and cannot be changed there"
	}
	h.StreamFeature(server.AfterLogin, func(_ *server.Session, dst []byte) []byte { return append(dst, offer...) })
	h.Declare(server.Protocol{
		Number: "RFC 6121", Title: "XMPP Instant Messaging and Presence", Notes: notes,
		Features: []string{ns.Roster}, StreamFeatures: features,
	})
}

// Stop implements server.Stopper.
func (m *Module) Stop(context.Context) error {
	m.errands.mu.Lock()
	m.errands.stopped = true
	m.errands.mu.Unlock()
	m.stop()
	m.errands.work.Wait()
	return nil
}

// key is an account's name in the store of rosters and in the cache. A user of the
// directory has an account at every virtual host; the first one's is the user's id.
func (m *Module) key(account jid.JID) string { return m.keyAt(account.Local(), account.Domain()) }

func (m *Module) keyAt(id, host string) string {
	if host == m.domains[0] {
		return id
	}
	return id + "@" + host
}

// failed counts and logs a store call that did not work out.
func (m *Module) failed(call string, err error, about ...any) {
	m.failures.WithLabelValues(call).Inc()
	m.host.Log().Error("store call failed", append(about, "call", call, "err", err)...)
}
