package app

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"rollcall/bosh"
	"rollcall/cmd/rollcall/demo"
	"rollcall/conf"
	"rollcall/server"
)

// headerTime bounds how slowly the header of a request may come.
const headerTime = 10 * time.Second

// bodyTime bounds how slowly a request's body may come, also one that nobody
// wants; BOSH sets times of its own.
const bodyTime = 10 * time.Second

// idleTime is how long a connection may wait for its next request: longer than
// BOSH clients pause between two.
const idleTime = 75 * time.Second

func (a *App) listenHTTP(l conf.HTTPListener) error {
	proxies, err := conf.Prefixes(l.TrustedProxies)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	var door *bosh.Handler
	if l.BOSH {
		b := a.o.Config.BOSH
		door = bosh.New(a.srv, server.Listener{PlainWithoutTLS: l.PlainWithoutTLS}, bosh.Config{
			Wait: b.Wait, Inactivity: b.Inactivity, MaxPause: b.MaxPause, Polling: b.Polling,
			Hold: b.Hold, Origins: b.Origins, TrustedProxies: proxies, Limits: a.o.Config.Limits, Log: a.o.Log,
		})
		mux.Handle("/http-bind", door)
		mux.Handle("/http-bind/{$}", door)
	}
	if l.Demo {
		mux.Handle("/", demo.Handler(demo.Config{
			Domain:      a.o.Config.Hosts[0],
			ServiceHost: conf.ServiceHost(a.o.Config.Modules.Projects.Host, a.o.Config.Hosts[0]),
			Transports:  []demo.Transport{{Kind: "bosh", URL: "/http-bind", Label: "BOSH"}},
			Users:       a.o.Users,
		}))
	}
	var secure *tls.Config
	if l.TLS == conf.TLSDirect {
		secure = a.certs.Config(a.o.Config.TLS, "http/1.1")
	}
	ln, err := a.serveHTTP(l.Address, mux, secure, door)
	if err != nil {
		return err
	}
	a.http = append(a.http, ln.Addr())
	a.o.Log.Info("listening", "for", "http", "address", ln.Addr().String(), "tls", string(l.TLS))
	return nil
}

// serveHTTP serves until Shutdown; door, if any, answers what it holds first.
func (a *App) serveHTTP(address string, h http.Handler, secure *tls.Config, door *bosh.Handler) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{
		Handler: h, TLSConfig: secure, ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, IdleTimeout: idleTime,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(a.o.Log.Handler(), slog.LevelDebug),
	}
	// The listener stays open while sessions end: their clients come to ask why.
	a.closers = append(a.closers, closer{close: func(ctx context.Context) error {
		if door != nil {
			if err := door.Shutdown(ctx); err != nil {
				return errors.Join(err, srv.Close())
			}
		}
		if err := srv.Shutdown(ctx); err != nil {
			return errors.Join(err, srv.Close())
		}
		return nil
	}})
	a.background("serving http on "+ln.Addr().String(), func() error {
		var err error
		if secure != nil {
			err = srv.ServeTLS(ln, "", "")
		} else {
			err = srv.Serve(ln)
		}
		if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
			return nil
		}
		return err
	})
	return ln, nil
}
