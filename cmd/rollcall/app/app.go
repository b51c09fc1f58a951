// Package app wires a server together from its configuration: stores, core,
// modules and transports.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"rollcall/c2s/tcp"
	"rollcall/cmd/rollcall/demo"
	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/footprint"
	"rollcall/modules/component"
	"rollcall/server"
	"rollcall/storage/sqlite"
)

// Options are what an App is started with.
type Options struct {
	Config *conf.Config // valid
	Log    *slog.Logger
	// Users are offered by the demo page, with their passwords.
	Users []demo.User
	// Modules are started after those that the configuration turns on.
	Modules []server.Module
	// Getenv reads the variables that may hold secrets; see conf. Nil for none.
	Getenv func(string) string
	// Tap is server.Config.Tap.
	Tap func(server.TapEvent)
}

// getenv reads a variable of the environment.
func (o *Options) getenv(name string) string {
	if o.Getenv == nil {
		return ""
	}
	return o.Getenv(name)
}

// App is a running server.
type App struct {
	o       Options
	stores  stores
	srv     *server.Server
	certs   *Certificates
	metrics *prometheus.Registry

	stopping context.Context // of the background work
	stop     context.CancelFunc
	work     errgroup.Group
	closers  []closer // of listeners
	tcp      []net.Addr
	http     []net.Addr
	foreign  []net.Addr // of components

	components *component.Module // nil for none
	observed   net.Addr
	profiled   net.Addr
}

// closer ends one listener and what it accepted.
type closer struct {
	listener net.Listener // closed before the sessions end, if there is one
	close    func(context.Context) error
}

// Start starts everything, or nothing.
func Start(ctx context.Context, o Options) (_ *App, err error) {
	a := &App{o: o, metrics: prometheus.NewRegistry()}
	a.stopping, a.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.Config.Session.ShutdownTime)
			defer cancel()
			err = errors.Join(err, a.Shutdown(ctx))
		}
	}()
	a.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := os.MkdirAll(o.Config.DataDir, 0o700); err != nil {
		return a, err
	}
	if err := a.stores.open(ctx, o, a.metrics); err != nil {
		return a, err
	}
	if a.certs, err = LoadCertificates(o.Config, o.Log); err != nil {
		return a, err
	}
	if err := a.startCore(ctx); err != nil {
		return a, err
	}
	if o.Config.Memory.GiveBack {
		keeper := footprint.NewKeeper(a.metrics)
		a.background("giving memory back", func() error {
			keeper.Run(a.stopping)
			return nil
		})
	}
	return a, a.listen()
}

func (a *App) startCore(ctx context.Context) error {
	c := a.o.Config
	if len(c.Auth.Anonymous.Hosts) > 0 {
		a.stores.keepNoGuests()
	}
	secret, err := loadSecret(c.DataDir)
	if err != nil {
		return err
	}
	authenticator, err := auth.New(auth.Config{
		Users: a.stores.directory, Iterations: c.Auth.SCRAMIterations, Secret: secret,
		Digests: c.KeepsPasswords(), Anonymous: c.Auth.Anonymous.Hosts,
	})
	if err != nil {
		return err
	}
	a.srv, err = server.New(server.Config{
		Hosts: c.Hosts, Limits: c.Limits, Session: c.Session, StreamManagement: c.StreamManagement,
		Auth: authenticator, AuthAttempts: c.Auth.Attempts, Anonymous: c.Auth.Anonymous.Sessions,
		Log: a.o.Log, Metrics: a.metrics, Tap: a.o.Tap, Bus: a.stores.bus,
		Idle: idle(c.Modules.Ping),
	})
	if err != nil {
		return err
	}
	all := slices.Concat(modules(c, &a.stores), accountModules(c, &a.stores), a.o.Modules)
	if a.components, err = components(c); err != nil {
		return err
	}
	if a.components != nil {
		all = append(all, a.components)
	}
	if err := a.srv.Start(ctx, all...); err != nil {
		return err
	}
	a.background("watching the directory", func() error { return a.srv.Watch(a.stopping, a.stores.watcher) })
	if err := a.hearChanges(); err != nil {
		return err
	}
	return a.srv.Join(ctx)
}

// idle is after what silence clients are asked whether they are still there.
func idle(c conf.Ping) time.Duration {
	if !c.Enabled {
		return 0
	}
	return c.Interval
}

// background runs f until the App stops; its error is logged.
func (a *App) background(what string, f func() error) {
	a.work.Go(func() error {
		if err := f(); err != nil && a.stopping.Err() == nil {
			a.o.Log.Error(what, "err", err)
		}
		return nil
	})
}

func (a *App) listen() error {
	c := a.o.Config
	for _, l := range c.Listen.TCP {
		if err := a.listenTCP(l); err != nil {
			return err
		}
	}
	for _, l := range c.Listen.HTTP {
		if err := a.listenHTTP(l); err != nil {
			return err
		}
	}
	if err := a.listenComponents(); err != nil {
		return err
	}
	if c.Listen.Metrics != "" {
		if err := a.serveMetrics(); err != nil {
			return err
		}
	}
	if c.Listen.Profiles != "" {
		return a.serveProfiles()
	}
	return nil
}

func (a *App) serveMetrics() error {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{Registry: a.metrics}))
	ln, err := a.serveHTTP(a.o.Config.Listen.Metrics, site{rest: mux})
	if err != nil {
		return err
	}
	a.observed = ln.Addr()
	return nil
}

// listen listens on an address for connections that package link serves. It looks after
// peers that vanish in its own way: net's would be set before, four system calls for
// each connection.
func listen(address string) (net.Listener, error) {
	c := net.ListenConfig{KeepAlive: -1}
	return c.Listen(context.Background(), "tcp", address)
}

func (a *App) listenTCP(l conf.TCPListener) error {
	ln, err := listen(l.Address)
	if err != nil {
		return err
	}
	tc := tcp.Config{
		Listener: server.Listener{
			RequireTLS: l.RequireTLS, PlainWithoutTLS: l.PlainWithoutTLS, LegacyAuth: l.LegacyAuth,
			AdvertiseSession: true, NoPings: l.Bench,
		},
		Direct: l.TLS == conf.TLSDirect, Limits: a.o.Config.Limits, Log: a.o.Log,
	}
	switch l.TLS {
	case conf.TLSStartTLS:
		tc.TLS = a.certs.Config(a.o.Config.TLS)
	case conf.TLSDirect:
		// XEP-0368 section 3.
		tc.TLS = a.certs.Config(a.o.Config.TLS, "xmpp-client")
	}
	acceptor := tcp.New(a.srv, tc)
	a.closers = append(a.closers, closer{ln, acceptor.Close})
	a.tcp = append(a.tcp, ln.Addr())
	a.o.Log.Info("listening", "for", "xmpp", "address", ln.Addr().String(), "tls", string(l.TLS))
	a.background("accepting on "+ln.Addr().String(), func() error { return acceptor.Serve(ln) })
	return nil
}

// Addresses are where the listeners are, in the order of the configuration.
func (a *App) Addresses() (tcp, http []net.Addr) { return slices.Clone(a.tcp), slices.Clone(a.http) }

// ComponentAddresses are where components connect, in the order of the configuration.
func (a *App) ComponentAddresses() []net.Addr { return slices.Clone(a.foreign) }

// MetricsAddress is where the metrics are, or nil.
func (a *App) MetricsAddress() net.Addr { return a.observed }

// ProfilesAddress is where the profiles are, or nil.
func (a *App) ProfilesAddress() net.Addr { return a.profiled }

// Server is the core.
func (a *App) Server() *server.Server { return a.srv }

// Store is the embedded store, or nil when users and projects are elsewhere.
func (a *App) Store() *sqlite.Store { return a.stores.sqlite }

// Certificates are what TLS listeners present.
func (a *App) Certificates() *Certificates { return a.certs }

// Shutdown stops accepting, tells every client, runs the hooks, and closes the
// stores. It takes no longer than ctx allows.
func (a *App) Shutdown(ctx context.Context) error {
	var errs []error
	for _, c := range a.closers {
		if c.listener == nil {
			continue
		}
		if err := c.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if a.srv != nil {
		// What is left over is for the stores: other servers see at once who is gone.
		sessions, cancel := earlier(ctx, closeTime)
		errs = append(errs, a.srv.Shutdown(sessions))
		cancel()
	}
	for _, c := range a.closers {
		errs = append(errs, c.close(ctx))
	}
	a.closers = nil
	a.stop()
	errs = append(errs, a.work.Wait())
	return errors.Join(append(errs, a.stores.close(ctx, a.o.Log))...)
}

// earlier is ctx, ending so much earlier, or at half time when that is later.
func earlier(ctx context.Context, spare time.Duration) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(spare, time.Until(deadline)/2)))
}

// Run serves until ctx ends, then shuts down within the configured time.
func (a *App) Run(ctx context.Context) error {
	<-ctx.Done()
	limit := a.o.Config.Session.ShutdownTime
	a.o.Log.Info("shutting down", "limit", limit.String())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	start := time.Now()
	if err := a.Shutdown(ctx); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	a.o.Log.Info("stopped", "after", time.Since(start).String())
	return nil
}
