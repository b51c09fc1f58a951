package servertest

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/transcript"
	"rollcall/server"
	"rollcall/storage"
)

// Host is the virtual host of a Server whose Options name none.
const Host = "example.com"

// Options are what a Server is made of. The zero value is a server without
// users and modules.
type Options struct {
	Hosts     []string // virtual hosts; Host alone when empty
	Directory *Directory
	Modules   []server.Module
	Limits    *conf.Limits  // the defaults when nil
	Session   *conf.Session // the defaults when nil, but presence never waits for more
	// StreamManagement is for connections that are Manageable; the defaults when nil.
	StreamManagement *conf.StreamManagement
	Log              *slog.Logger // the test's own log when nil
	Tap              func(server.TapEvent)
	// Bus makes the server a node of a community; it joins after its modules started.
	Bus storage.Bus
	// Beside is another node: both servers' clients know each other's addresses.
	Beside *Server
	// NoDigests says that the store keeps no passwords, as auth.Config.Digests does.
	NoDigests bool
	// Anonymous is how many users without an account may be connected at a time.
	Anonymous int
	// Panics says that the test expects the core to catch panics.
	Panics bool
	// Patience is how long a client waits for what comes later; ten seconds when
	// zero.
	Patience time.Duration
}

// Server is a server core with clients in the test.
type Server struct {
	*server.Server
	Directory *Directory
	Metrics   *prometheus.Registry

	t         testing.TB
	hosts     []string
	patience  time.Duration
	vars      transcript.Vars   // what holes captured, and users' latest addresses
	addresses map[string]string // by "{user/resource}", escaped
	stop      func()
}

// New starts a server that stops with the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{
		Directory: o.Directory, Metrics: prometheus.NewRegistry(),
		t: t, hosts: o.Hosts, patience: o.Patience, vars: make(transcript.Vars),
		addresses: make(map[string]string),
	}
	if s.Directory == nil {
		s.Directory = NewDirectory()
	}
	if len(s.hosts) == 0 {
		s.hosts = []string{Host}
	}
	if s.patience == 0 {
		s.patience = 10 * time.Second
	}
	if o.Beside != nil {
		s.vars, s.addresses = o.Beside.vars, o.Beside.addresses
	}
	srv, err := server.New(s.config(o))
	if err != nil {
		t.Fatal(err)
	}
	s.Server = srv
	s.watch()
	if err := srv.Start(t.Context(), o.Modules...); err != nil {
		s.stop()
		t.Fatal(err)
	}
	if err := srv.Join(t.Context()); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if n := s.Metric("rollcall_panics_total"); n > 0 && !o.Panics {
			t.Errorf("the core caught %v panics", n)
		}
	})
	return s
}

func (s *Server) config(o Options) server.Config {
	s.t.Helper()
	defaults := conf.Default()
	cfg := server.Config{
		Hosts: s.hosts, Limits: defaults.Limits, Session: defaults.Session, StreamManagement: defaults.StreamManagement,
		AuthAttempts: defaults.Auth.Attempts, Log: o.Log, Metrics: s.Metrics, Tap: o.Tap, Bus: o.Bus,
	}
	if o.Limits != nil {
		cfg.Limits = *o.Limits
	}
	cfg.Session.Coalesce = 0 // tests look at what arrived once a turn is over
	if o.Session != nil {
		cfg.Session = *o.Session
	}
	if o.StreamManagement != nil {
		cfg.StreamManagement = *o.StreamManagement
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(s.t.Output(), nil))
	}
	with := auth.Config{
		Users: s.Directory, Iterations: auth.MinIterations, Secret: []byte(strings.Repeat("s", 32)),
		Digests: !o.NoDigests,
	}
	if cfg.Anonymous = o.Anonymous; o.Anonymous > 0 {
		with.Anonymous = s.hosts
	}
	a, err := auth.New(with)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg.Auth = a
	return cfg
}

// watch starts the server's watch over the directory and returns once it is
// told of every change.
func (s *Server) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	w := watcher{s.Directory, make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- s.Server.Watch(ctx, w) }()
	<-w.started
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("watch: %v", err)
		}
	}
}

// watcher is a Directory that says when somebody watches it.
type watcher struct {
	*Directory
	started chan struct{}
}

func (w watcher) Watch(ctx context.Context, f func(storage.Change)) error {
	stop := w.watch(f)
	defer stop()
	close(w.started)
	<-ctx.Done()
	return nil
}

// Stop shuts the server down and ends its watch. It is called at the end of the
// test; further calls do nothing.
func (s *Server) Stop() {
	s.t.Helper()
	if s.stop == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		s.t.Errorf("shutdown: %v", err)
	}
	s.stop()
	s.stop = nil
}

// Metric is the sum of a counter or gauge over its labels.
func (s *Server) Metric(name string) float64 {
	s.t.Helper()
	families, err := s.Metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}
