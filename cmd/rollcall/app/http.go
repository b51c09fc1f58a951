package app

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"rollcall/bosh"
	"rollcall/c2s/websocket"
	"rollcall/cmd/rollcall/demo"
	"rollcall/conf"
	"rollcall/internal/front"
	"rollcall/internal/hostmeta"
	"rollcall/server"
)

// headerTime bounds how slowly the header of a request may come.
const headerTime = 10 * time.Second

// bodyTime bounds how slowly a request's body may come, also one that nobody wants.
const bodyTime = bosh.BodyTime

// lastCall is how long a client whose session ends with the server may take to ask
// why.
const lastCall = 50 * time.Millisecond

// headerBytes is how long the header of a request may be.
const headerBytes = 64 << 10

// idleTime is how long a connection may wait for its next request: longer than
// BOSH clients pause between two.
const idleTime = 75 * time.Second

// Where clients find what a listener serves.
const (
	boshPath      = "/http-bind"
	prebindPath   = "/prebind"
	websocketPath = "/xmpp-websocket"
)

func (a *App) listenHTTP(l conf.HTTPListener) error {
	proxies, err := conf.Prefixes(l.TrustedProxies)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	s := site{rest: mux}
	if l.BOSH {
		if s.held, err = a.serveBOSH(mux, l, proxies); err != nil {
			return err
		}
		s.enders = append(s.enders, s.held.Shutdown)
	}
	if l.WebSocket {
		acceptor := a.serveWebSocket(mux, l, proxies)
		s.upgraders = map[string]front.Upgrader{websocketPath: acceptor, websocketPath + "/": acceptor}
		s.enders = append(s.enders, acceptor.Close)
	}
	if l.HostMeta {
		h := hostmeta.Handler(hostMeta(l, proxies))
		mux.Handle(hostmeta.XMLPath, h)
		mux.Handle(hostmeta.JSONPath, h)
	}
	if l.Demo {
		mux.Handle("/", a.demo(l))
	}
	if l.TLS == conf.TLSDirect {
		s.secure = a.certs.Config(a.o.Config.TLS, "http/1.1")
	}
	ln, err := a.serveHTTP(l.Address, s)
	if err != nil {
		return err
	}
	a.http = append(a.http, ln.Addr())
	a.o.Log.Info("listening", "for", "http", "address", ln.Addr().String(), "tls", string(l.TLS))
	return nil
}

// httpListener is what holds for the sessions of a listener.
func httpListener(l conf.HTTPListener) server.Listener {
	return server.Listener{PlainWithoutTLS: l.PlainWithoutTLS, LegacyAuth: l.LegacyAuth, NoPings: l.Bench}
}

// serveBOSH serves BOSH, and what leads there.
func (a *App) serveBOSH(mux *http.ServeMux, l conf.HTTPListener, proxies []netip.Prefix) (*bosh.Handler, error) {
	c := a.o.Config
	b := c.BOSH
	door := bosh.New(a.srv, httpListener(l), bosh.Config{
		Wait: b.Wait, Inactivity: b.Inactivity, MaxPause: b.MaxPause, Polling: b.Polling,
		Hold: b.Hold, Requests: b.Requests, Coalesce: b.Coalesce, Gzip: b.Compression, Origins: b.Origins,
		TrustedProxies: proxies, Limits: c.Limits, Log: a.o.Log,
	})
	mux.Handle(boshPath, door)
	mux.Handle(boshPath+"/{$}", door)
	if !l.Prebind {
		return door, nil
	}
	key, err := c.PrebindKey(a.o.getenv(conf.PrebindKeyVariable))
	if err != nil {
		return nil, err
	}
	mux.Handle(prebindPath, door.Prebind(bosh.PrebindConfig{Domain: c.Hosts[0], Key: key, Attempts: c.Auth.Attempts}))
	return door, nil
}

func (a *App) serveWebSocket(mux *http.ServeMux, l conf.HTTPListener, proxies []netip.Prefix) *websocket.Acceptor {
	c := a.o.Config
	w := c.WebSocket
	acceptor := websocket.New(a.srv, httpListener(l), websocket.Config{
		Origins: w.Origins, TrustedProxies: proxies, PingInterval: w.PingInterval, PingTimeout: w.PingTimeout,
		SeeOtherURI: w.SeeOtherURI, Compression: w.Compression, Bench: l.Bench, Limits: c.Limits, Log: a.o.Log,
	})
	mux.Handle(websocketPath, acceptor)
	mux.Handle(websocketPath+"/{$}", acceptor)
	return acceptor
}

// hostMeta describes what a listener serves.
func hostMeta(l conf.HTTPListener, proxies []netip.Prefix) hostmeta.Config {
	c := hostmeta.Config{PublicURL: l.PublicURL, Proxies: proxies}
	if l.BOSH {
		c.BOSH = boshPath
	}
	if l.WebSocket {
		c.WebSocket = websocketPath
	}
	return c
}

func (a *App) demo(l conf.HTTPListener) http.Handler {
	host := a.o.Config.Hosts[0]
	c := demo.Config{
		Domain: host, ServiceHost: conf.ServiceHost(a.o.Config.Modules.Projects.Host, host), Users: a.o.Users,
	}
	if l.BOSH {
		c.Transports = append(c.Transports, demo.Transport{Kind: "bosh", URL: boshPath, Label: "BOSH"})
	}
	if l.WebSocket {
		c.Transports = append(c.Transports, demo.Transport{Kind: "websocket", URL: websocketPath, Label: "WebSocket"})
	}
	return demo.Handler(c)
}

// ender ends what was accepted on a listener, within the time of a context.
type ender func(context.Context) error

// site is what an HTTP listener serves.
type site struct {
	rest      http.Handler
	held      *bosh.Handler             // nil for none
	upgraders map[string]front.Upgrader // by path
	secure    *tls.Config               // nil for none
	enders    []ender                   // called before the listener closes
}

// serveHTTP serves a site until Shutdown.
func (a *App) serveHTTP(address string, s site) (net.Listener, error) {
	ln, err := listen(address)
	if err != nil {
		return nil, err
	}
	c := front.Config{
		TLS: s.secure, Rest: s.rest, Upgraders: s.upgraders,
		HeaderTime: headerTime, BodyTime: bodyTime, ReplyTime: bosh.ReplyTime, IdleTime: idleTime, LastCall: lastCall,
		HeaderBytes: headerBytes, Log: a.o.Log,
	}
	if s.held != nil {
		c.Held, c.Paths = s.held, []string{boshPath, boshPath + "/"}
	}
	f := front.New(c)
	// The listener stays open while sessions end: their clients come to ask why.
	a.closers = append(a.closers, closer{close: func(ctx context.Context) error {
		var errs []error
		for _, end := range s.enders {
			errs = append(errs, end(ctx))
		}
		return errors.Join(append(errs, f.Shutdown(ctx))...)
	}})
	a.background("serving http on "+ln.Addr().String(), func() error { return f.Serve(ln) })
	return ln, nil
}
