// Package server is the XMPP core: sessions and their negotiation, dispatch,
// presence, routing, and the hooks that modules live by. It knows no transport,
// no module and no store by name.
//
// A transport brings connections through NewSession and Session.Begin and is
// reached through the Transport interface (door.go). A module is started with a
// Host (host.go), its only view of the server.
package server

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/jid"
	"rollcall/storage"
)

// Config is what a Server is made of. Every field but Bus and Tap is needed.
type Config struct {
	Hosts   []string // virtual hosts in canonical form, at least one
	Limits  conf.Limits
	Session conf.Session
	// StreamManagement is for connections that are Manageable.
	StreamManagement conf.StreamManagement
	Auth             *auth.Authenticator
	AuthAttempts     int
	// Anonymous bounds the sessions of users without an account; see auth.Config.
	Anonymous int
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	// Idle is the silence of a client after which it is asked whether it is still there;
	// 0 when it is not asked. It is what clients are told (XEP-0478).
	Idle time.Duration
	// Bus joins this server with others that serve the same users; nil when it runs
	// alone.
	Bus storage.Bus
	// Tap, where set, is shown everything that goes over every stream.
	Tap func(TapEvent)
}

// TapKind says what a TapEvent tells of.
type TapKind uint8

// The kinds of tap event.
const (
	TapOpen  TapKind = iota // a connection was made
	TapIn                   // the client sent an element
	TapOut                  // the server sent an element
	TapClose                // the session ended
)

// TapEvent is one element that a session took or sent, or its beginning or end.
type TapEvent struct {
	Conn  string
	JID   jid.JID // zero before authentication, bare before binding
	Kind  TapKind
	Data  []byte // the element; valid during the call
	Close Close  // of TapClose
}

// Server is the core. Its methods are safe for concurrent use.
type Server struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	ctx     context.Context // of hooks and handlers; ends with the server
	cancel  context.CancelFunc

	registry *registry
	nodes    *nodes
	hooks    hooks
	iqs      iqTable
	domains  atomic.Pointer[map[string]*domain]
	features featureTable
	private  atomic.Pointer[map[string]struct{}] // namespaces that only modules may put into presence
	filter   atomic.Pointer[Filter]
	nonzas   nonzaTable
	offers   offerTable
	// discoNodes are the nodes of service discovery that modules know.
	discoNodes nodeTable
	declared   declarations

	made     time.Time  // Session.Touch asks one clock since then, not two
	changing sync.Mutex // of writers of domains and private
	hosts    []*Host    // started modules in order; written by Start and Shutdown only
	conns    atomic.Uint64
	arrivals atomic.Uint64 // of sessions that became available
	turns    sync.Pool     // of *Turn
	seed     maphash.Seed
	own      [64]sync.Mutex // see Session.tellOwn
	young    youngSet
	removals removals
	endings  endings
	storms   storms
	streams  streams
	watch    watch
	// queueBytes bounds what waits for a client's acknowledgement.
	queueBytes int
	rescue     sync.Mutex    // of storing what would be lost with the process, at its end
	anonymous  atomic.Int64  // sessions of users without an account
	open       atomic.Int64  // sessions that did not end yet, hooks included
	ended      chan struct{} // told of ends while closing
	closing    atomic.Bool
}

// New makes a server without modules.
func New(cfg Config) (*Server, error) {
	if len(cfg.Hosts) == 0 {
		return nil, errors.New("server: no virtual host")
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	srv := &Server{cfg: cfg, log: cfg.Log, metrics: m, registry: newRegistry(), seed: maphash.MakeSeed(),
		made: time.Now(), ended: make(chan struct{}, 1), storms: storms{every: cfg.Session.Coalesce, began: time.Now()}}
	srv.queueBytes = int(min(cfg.StreamManagement.QueueBytes, cfg.Limits.OutboxBytes/4*3))
	srv.ctx, srv.cancel = context.WithCancel(context.Background())
	srv.hooks.name()
	srv.offerManagement()
	domains := make(map[string]*domain, len(cfg.Hosts))
	for _, h := range cfg.Hosts {
		address, err := jid.New("", h, "")
		if err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
		domains[h] = &domain{address: address}
	}
	srv.domains.Store(&domains)
	srv.private.Store(new(map[string]struct{}))
	if srv.nodes, err = newNodes(srv); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	return srv, nil
}

// Start starts modules in the order given. When one fails, those before it are
// stopped again.
func (srv *Server) Start(ctx context.Context, modules ...Module) error {
	for _, m := range modules {
		h := &Host{srv: srv, module: m, log: srv.log.With("module", m.Name())}
		if err := h.start(); err != nil {
			return errors.Join(fmt.Errorf("module %s: %w", m.Name(), err), srv.stopModules(ctx))
		}
		srv.hosts = append(srv.hosts, h)
	}
	return nil
}

// closers is how many sessions are closed at the same time at shutdown.
const closers = 64

// Shutdown tells every client system-shutdown, lets the hooks run, and stops the
// modules. The transports' listeners must be closed before. It returns early,
// with the context's error, when ctx ends.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.closing.Store(true)
	defer srv.cancel()
	srv.nodes.relays.stop()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		var g errgroup.Group
		g.SetLimit(closers)
		for _, s := range srv.everySession() {
			if ctx.Err() != nil {
				break
			}
			g.Go(func() error {
				turn := s.Turn()
				defer turn.End()
				turn.Close(Close{Reason: ReasonShutdown})
				return nil
			})
		}
		// No closer returns an error.
		_ = g.Wait()
		// Others may be in the middle of their own end.
		for srv.open.Load() > 0 {
			select {
			case <-srv.ended:
			case <-ctx.Done():
				return
			}
		}
	}()
	select {
	case <-finished:
	case <-ctx.Done():
	}
	err := errors.Join(srv.stopModules(ctx), srv.nodes.leave(ctx))
	if n := srv.open.Load(); n > 0 {
		err = errors.Join(fmt.Errorf("server: %d sessions still open: %w", n, ctx.Err()), err)
	}
	return err
}

// sessionEnded takes note that a session is over.
func (srv *Server) sessionEnded() {
	srv.open.Add(-1)
	if srv.closing.Load() {
		select {
		case srv.ended <- struct{}{}:
		default:
		}
	}
}

// everySession lists the sessions, bound or not.
func (srv *Server) everySession() []*Session {
	return slices.AppendSeq(srv.young.list(), srv.registry.all())
}

// youngSet holds the sessions that are not bound yet.
type youngSet struct {
	mu       sync.Mutex
	sessions map[*Session]struct{}
}

func (y *youngSet) add(s *Session) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.sessions == nil {
		y.sessions = make(map[*Session]struct{})
	}
	y.sessions[s] = struct{}{}
}

func (y *youngSet) remove(s *Session) {
	y.mu.Lock()
	defer y.mu.Unlock()
	delete(y.sessions, s)
}

func (y *youngSet) list() []*Session {
	y.mu.Lock()
	defer y.mu.Unlock()
	return slices.Collect(maps.Keys(y.sessions))
}

func (srv *Server) stopModules(ctx context.Context) error {
	var errs []error
	for _, h := range slices.Backward(srv.hosts) {
		if err := h.stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("module %s: %w", h.module.Name(), err))
		}
	}
	srv.hosts = nil
	return errors.Join(errs...)
}

// KickUser closes all sessions of one account.
func (srv *Server) KickUser(bare jid.JID, c Close) {
	for _, s := range srv.registry.of(bare) {
		s.Kick(c)
	}
}

func (srv *Server) isHost(name string) bool { return slices.Contains(srv.cfg.Hosts, name) }

func (srv *Server) nextConn() string { return strconv.FormatUint(srv.conns.Add(1), 36) }

// ownLock is the lock of a user's presence towards the user's own resources.
func (srv *Server) ownLock(j jid.JID) *sync.Mutex {
	return &srv.own[maphash.String(srv.seed, j.Bare().String())%uint64(len(srv.own))]
}

// reserved reports whether only modules may put children of this namespace into
// presence.
func (srv *Server) reserved(space []byte) bool {
	_, ok := (*srv.private.Load())[string(space)]
	return ok
}

// tap shows an event to whoever listens.
func (s *Session) tap(kind TapKind, data []byte) {
	if s.srv.cfg.Tap != nil {
		s.srv.cfg.Tap(TapEvent{Conn: s.conn, JID: s.jid, Kind: kind, Data: data})
	}
}

// panicked logs and counts a panic that a guard caught.
func (srv *Server) panicked(doing string, p any, about ...any) {
	srv.metrics.panics.Inc()
	srv.log.Error("panic", append(about, "doing", doing, "panic", p, "stack", string(debug.Stack()))...)
}

// guard runs f and survives its panic.
func (srv *Server) guard(doing string, s *Session, f func()) {
	defer func() {
		if p := recover(); p != nil {
			srv.panicked(doing, p, "conn", s.conn, "jid", s.jid.String())
		}
	}()
	f()
}

var errPanicked = errors.New("server: a handler panicked")
