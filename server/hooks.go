package server

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/jid"
	"rollcall/internal/xmlscan"
)

// The hooks' contract
//
// Handlers run in order of priority, lowest first, on the turn of the session the
// event is about: one at a time per session, with no lock of the core to fear. A
// handler that waits delays that one user. A handler that panics is logged and
// counted, and the next one runs.
//
// What a handler sends goes through the event's Batch and reaches the
// connections when the turn ends.
//
//   - user_available: once per unavailable -> available edge of a bound
//     connection, before its first presence reaches anybody.
//   - set_presence: every presence broadcast that the core accepted from a
//     connection, available or unavailable; never for a connection that is gone.
//   - remove_connection: exactly once per bound connection, after it left the
//     registry, whatever the reason of its end.
//   - message, routed, nobody: before a client's message is routed, after that, and when
//     no connection took it (messages.go).
//   - host_message: a message is for a virtual host itself.
//   - returned: a message that a connection was given before it died, and its client
//     never got (returned.go).
//   - answer: an iq result or error that is for the server itself.
//   - authorize: somebody asks whether a user may see another's presence; on the turn of
//     who asks, or on none.

// UserAvailable is the event of user_available.
type UserAvailable struct {
	Batch    *Batch
	Session  *Session
	Presence *Presence // the first one; never nil
}

// SetPresence is the event of set_presence.
type SetPresence struct {
	Batch    *Batch
	Session  *Session
	Presence *Presence // never nil; may be of type unavailable
	// WasAvailable is whether the connection was available before.
	WasAvailable bool
}

// RemoveConnection is the event of remove_connection.
type RemoveConnection struct {
	Batch *Batch
	// Conn identifies the connection: an address may belong to a newer one by
	// now.
	Conn string
	JID  jid.JID
	// Last is the last presence that set_presence told; nil when there was none
	// or it was unavailable.
	Last   *Presence
	Reason Reason
}

// Replaced reports whether a newer connection took the resource over.
func (e *RemoveConnection) Replaced() bool { return e.Reason == ReasonReplaced }

// Probe is the event of a presence probe to a local user (RFC 6121 section 4.3).
// The handler that may tell sends what it knows and sets Answered.
type Probe struct {
	Batch    *Batch
	From     *Session
	To       jid.JID // bare
	Only     jid.JID // the resource that is asked about; zero for all
	Answered bool
}

// Wants reports whether the presence of a resource is asked for.
func (e *Probe) Wants(full jid.JID) bool { return e.Only.IsZero() || e.Only == full }

// Subscription is the event of a presence stanza of type subscribe, subscribed,
// unsubscribe or unsubscribed between two local users (RFC 6121 section 3). The
// handler that keeps rosters answers and sets Answered.
type Subscription struct {
	Batch    *Batch
	From     *Session
	To       jid.JID // bare
	Type     string
	Element  *xmlscan.Element // lasts until the handler returns
	Answered bool
}

// Authorize is the event of authorize: whether one user may see another's presence (RFC
// 6121 section 3.1), apart from what either of them blocks. The handler that knows of a
// reason sets Allowed.
type Authorize struct {
	Viewer, User jid.JID // bare
	Allowed      bool
}

// hooks are the core's events.
type hooks struct {
	userAvailable    Hook[UserAvailable]
	setPresence      Hook[SetPresence]
	removeConnection Hook[RemoveConnection]
	probe            Hook[Probe]
	subscription     Hook[Subscription]
	directoryChanged Hook[DirectoryChange]
	message          Hook[MessageEvent]
	routed           Hook[Routed]
	nobody           Hook[Nobody]
	hostMessage      Hook[HostMessage]
	returned         Hook[Returned]
	answer           Hook[Answer]
	unsafe           Hook[Unsafe]
	acked            Hook[Acked]
	authorize        Hook[Authorize]
}

func (h *hooks) name() {
	h.userAvailable.name = "user_available"
	h.setPresence.name = "set_presence"
	h.removeConnection.name = "remove_connection"
	h.probe.name = "probe"
	h.subscription.name = "subscription"
	h.directoryChanged.name = "directory_changed"
	h.message.name = "message"
	h.routed.name = "routed"
	h.nobody.name = "nobody"
	h.hostMessage.name = "host_message"
	h.returned.name = "returned"
	h.answer.name = "answer"
	h.unsafe.name = "unsafe"
	h.acked.name = "acked"
	h.authorize.name = "authorize"
}

// Hook is an ordered list of handlers of events E.
type Hook[E any] struct {
	name     string
	mu       sync.Mutex // of writers
	handlers atomic.Pointer[[]*handler[E]]
}

type handler[E any] struct {
	module   string
	priority int
	time     prometheus.Observer // of the runs
	wanted   func() bool         // nil for always
	run      func(context.Context, *E)
}

func (x *handler[E]) wants() bool { return x.wanted == nil || x.wanted() }

// add puts a handler in its place and returns what takes it out again.
func (h *Hook[E]) add(added *handler[E]) (remove func()) {
	priority := added.priority
	h.change(func(list []*handler[E]) []*handler[E] {
		at, _ := slices.BinarySearchFunc(list, priority+1, func(x *handler[E], p int) int { return x.priority - p })
		return slices.Insert(list, at, added)
	})
	return func() {
		h.change(func(list []*handler[E]) []*handler[E] {
			return slices.DeleteFunc(list, func(x *handler[E]) bool { return x == added })
		})
	}
}

func (h *Hook[E]) change(f func([]*handler[E]) []*handler[E]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []*handler[E]
	if p := h.handlers.Load(); p != nil {
		list = slices.Clone(*p)
	}
	list = f(list)
	h.handlers.Store(&list)
}

// any reports whether somebody wants to know: where an event costs something.
func (h *Hook[E]) any() bool {
	list := h.handlers.Load()
	if list == nil {
		return false
	}
	for _, x := range *list {
		if x.wants() {
			return true
		}
	}
	return false
}

// fire runs the handlers that were there when it was called.
func (h *Hook[E]) fire(srv *Server, e *E) {
	list := h.handlers.Load()
	if list == nil {
		return
	}
	for _, x := range *list {
		if x.wants() {
			x.call(srv, h.name, e)
		}
	}
}

func (x *handler[E]) call(srv *Server, hook string, e *E) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			srv.panicked("hook "+hook, p, "module", x.module)
		}
		x.time.Observe(time.Since(start).Seconds())
	}()
	x.run(srv.ctx, e)
}
