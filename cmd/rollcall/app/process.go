package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"

	"rollcall/conf"
	"rollcall/internal/footprint"
)

// SetUp sets up what holds for the whole process, and therefore is not for Start: a
// program calls it once.
func SetUp(c *conf.Config, getenv func(string) string, log *slog.Logger) {
	if c.Listen.Profiles == "" {
		runtime.MemProfileRate = 0 // nobody can ask for what it collects
	}
	t := footprint.Tune(footprint.Settings{
		Percent: c.Memory.GCPercent, Limit: int64(c.Memory.Limit), System: os.DirFS("/"), Getenv: getenv,
	})
	log.Info("memory", "gc_percent", t.Percent, "limit", t.Limit)
}

// serveProfiles serves what Go's tools ask for. net/http/pprof also registers itself
// with http.DefaultServeMux, which nothing here serves.
func (a *App) serveProfiles() error {
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		mux.Handle("/debug/pprof/"+path, h)
	}
	ln, err := net.Listen("tcp", a.o.Config.Listen.Profiles)
	if err != nil {
		return err
	}
	// A profile takes as long as is asked for. Nobody waits for it at the end.
	s := &http.Server{Handler: mux, ReadHeaderTimeout: headerTime, ErrorLog: slog.NewLogLogger(a.o.Log.Handler(), slog.LevelDebug)}
	a.closers = append(a.closers, closer{close: func(context.Context) error { return s.Close() }})
	a.profiled = ln.Addr()
	a.o.Log.Info("listening", "for", "profiles", "address", ln.Addr().String())
	a.background("serving profiles", func() error {
		if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}
