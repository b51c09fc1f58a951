package server

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/jid"
)

// Module is a feature of the server. A module may also implement Validator and
// Stopper.
type Module interface {
	// Name is unique among modules; it appears in logs and metrics.
	Name() string
	// Start registers what the module does. What it registers is undone when it
	// stops, or when Start fails.
	Start(h *Host) error
}

// Validator is a Module that checks its options before any module starts to act.
type Validator interface {
	Validate() error
}

// Stopper is a Module with something to end. Stop is called after everything
// that the module registered was undone.
type Stopper interface {
	Stop(ctx context.Context) error
}

// Host is a module's view of the server and the record of what it registered.
// It is valid until the module's Stop returns.
type Host struct {
	srv    *Server
	module Module
	log    *slog.Logger
	undo   []func()
}

func (h *Host) start() error {
	if v, ok := h.module.(Validator); ok {
		if err := v.Validate(); err != nil {
			return err
		}
	}
	if err := h.module.Start(h); err != nil {
		h.undoAll()
		return err
	}
	return nil
}

func (h *Host) stop(ctx context.Context) (err error) {
	h.undoAll()
	if s, ok := h.module.(Stopper); ok {
		defer func() {
			if p := recover(); p != nil {
				h.srv.panicked("stop", p, "module", h.module.Name())
				err = errPanicked
			}
		}()
		err = s.Stop(ctx)
	}
	return err
}

func (h *Host) undoAll() {
	for _, f := range slices.Backward(h.undo) {
		f()
	}
	h.undo = nil
}

// Domains lists the virtual hosts.
func (h *Host) Domains() []string { return slices.Clone(h.srv.cfg.Hosts) }

// Log is the module's logger.
func (h *Host) Log() *slog.Logger { return h.log }

// Metrics registers collectors for as long as the module runs.
func (h *Host) Metrics(cs ...prometheus.Collector) error {
	for _, c := range cs {
		if err := h.srv.cfg.Metrics.Register(c); err != nil {
			return err
		}
		h.undo = append(h.undo, func() { h.srv.cfg.Metrics.Unregister(c) })
	}
	return nil
}

// Context ends with the server. Work that outlives an event runs under it.
func (h *Host) Context() context.Context { return h.srv.ctx }

// OnUserAvailable, OnSetPresence, OnRemoveConnection, OnProbe and OnSubscription
// add handlers; see the contract in hooks.go. Lower priorities run first.
func (h *Host) OnUserAvailable(priority int, f func(context.Context, *UserAvailable)) {
	on(h, &h.srv.hooks.userAvailable, priority, f)
}

// OnSetPresence adds a handler of set_presence.
func (h *Host) OnSetPresence(priority int, f func(context.Context, *SetPresence)) {
	on(h, &h.srv.hooks.setPresence, priority, f)
}

// OnRemoveConnection adds a handler of remove_connection.
func (h *Host) OnRemoveConnection(priority int, f func(context.Context, *RemoveConnection)) {
	on(h, &h.srv.hooks.removeConnection, priority, f)
}

// OnProbe adds a handler of probes.
func (h *Host) OnProbe(priority int, f func(context.Context, *Probe)) {
	on(h, &h.srv.hooks.probe, priority, f)
}

// OnSubscription adds a handler of subscription stanzas.
func (h *Host) OnSubscription(priority int, f func(context.Context, *Subscription)) {
	on(h, &h.srv.hooks.subscription, priority, f)
}

// OnAuthorize adds a handler that knows who may see whom.
func (h *Host) OnAuthorize(priority int, f func(context.Context, *Authorize)) {
	on(h, &h.srv.hooks.authorize, priority, f)
}

// MaySee reports whether a user may see another's presence, by bare addresses, apart from
// what either of them blocks. It may wait for a store.
func (h *Host) MaySee(viewer, user jid.JID) bool {
	e := &Authorize{Viewer: viewer, User: user, Allowed: viewer == user}
	if !e.Allowed {
		h.srv.hooks.authorize.fire(h.srv, e)
	}
	return e.Allowed
}

func on[E any](h *Host, hook *Hook[E], priority int, f func(context.Context, *E)) {
	onIf(h, hook, priority, nil, f)
}

func onIf[E any](h *Host, hook *Hook[E], priority int, wanted func() bool, f func(context.Context, *E)) {
	name := h.module.Name()
	h.undo = append(h.undo, hook.add(&handler[E]{
		module: name, priority: priority, wanted: wanted, run: f,
		time: h.srv.metrics.hooks.WithLabelValues(hook.name, name),
	}))
}

// HandleIQ answers requests whose child is name in namespace space, in each of
// the scopes, and lists space among the features of those scopes. It fails when
// somebody else answers them.
func (h *Host) HandleIQ(scopes Scope, space, name string, f IQHandler) error {
	for _, scope := range []Scope{ToServer, ToSelf, ToOther, FromForeign} {
		if scopes&scope == 0 {
			continue
		}
		key := iqKey{space, name, scope}
		if err := h.srv.iqs.add(iqEntry{key, h.module.Name(), f}); err != nil {
			return err
		}
		h.undo = append(h.undo, func() { h.srv.iqs.remove(key) })
	}
	h.Feature(scopes, space)
	return nil
}

// Feature lists a feature in the disco#info of the scopes (XEP-0030 section 3).
func (h *Host) Feature(scopes Scope, name string) {
	h.undo = append(h.undo, h.srv.features.add(scopes, name))
}

// Features lists the features of one scope in order. The list is the caller's to read, not
// to change: every login asks for it.
func (h *Host) Features(scope Scope) []string { return h.srv.features.of(scope) }

// Serve makes the module answer for a host of its own. It fails when the name is
// taken.
func (h *Host) Serve(name string, service Service) error {
	return h.serve(name, &domain{service: service})
}

func (h *Host) serve(name string, d *domain) error {
	address, err := jid.Parse(name)
	if err != nil || address.String() != address.Domain() || address.Domain() != name {
		return fmt.Errorf("%q is no domain name in canonical form", name)
	}
	if h.srv.domain(name) != nil {
		return fmt.Errorf("the host %s is taken", name)
	}
	d.address = address
	h.srv.setDomain(name, d)
	h.undo = append(h.undo, func() { h.srv.setDomain(name, nil) })
	return nil
}

// Services lists the service hosts in order.
func (h *Host) Services() []string {
	var names []string
	for name, d := range *h.srv.domains.Load() {
		if d.service != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ReservePresence keeps children of a namespace out of what clients say in
// presence, so that only the module puts them there.
func (h *Host) ReservePresence(space string) {
	h.srv.changePrivate(func(m map[string]struct{}) { m[space] = struct{}{} })
	h.undo = append(h.undo, func() { h.srv.changePrivate(func(m map[string]struct{}) { delete(m, space) }) })
}

func (srv *Server) changePrivate(f func(map[string]struct{})) {
	srv.changing.Lock()
	defer srv.changing.Unlock()
	m := maps.Clone(*srv.private.Load())
	if m == nil {
		m = make(map[string]struct{})
	}
	f(m)
	srv.private.Store(&m)
}

// Sessions returns a user's bound sessions; the slice must not be changed.
func (h *Host) Sessions(bare jid.JID) []*Session { return h.srv.registry.of(bare) }

// Resources lists the full addresses of a user's available connections to any node.
func (h *Host) Resources(bare jid.JID) (list []jid.JID) {
	for _, s := range h.srv.registry.of(bare) {
		if s.Presence() != nil {
			list = append(list, s.jid)
		}
	}
	for _, r := range h.srv.nodes.routes.of(bare) {
		if r.available && !slices.Contains(list, r.full) {
			list = append(list, r.full)
		}
	}
	return list
}

// IsConnected reports whether a user has a connection to any node, available or not.
func (h *Host) IsConnected(bare jid.JID) bool {
	return len(h.srv.registry.of(bare)) > 0 || len(h.srv.nodes.routes.of(bare)) > 0
}

// All walks over every bound session.
func (h *Host) All() iter.Seq[*Session] { return h.srv.registry.all() }

// Connected lists, by bare address, who has a bound session here or at another node,
// each once, in order.
func (h *Host) Connected() []jid.JID {
	list := h.srv.nodes.routes.users()
	for s := range h.srv.registry.all() {
		list = append(list, s.jid.Bare())
	}
	slices.SortFunc(list, func(a, b jid.JID) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(list)
}

// KickUser closes all sessions of one account.
func (h *Host) KickUser(bare jid.JID, c Close) { h.srv.KickUser(bare, c) }

// NewBatch makes a Batch for what is not an answer to anything. Its user flushes
// it.
func (h *Host) NewBatch() *Batch { return &Batch{srv: h.srv} }
