// Package component lets programs of one's own answer for hosts of their own, over
// connections that they make (XEP-0114, jabber:component:accept). Each has a name and a
// secret; what it sends must come from its own host. While it is not connected, whoever
// writes to it is told that the service is unavailable.
//
// A component connects to one node; the others hand it what is for it.
package component

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/link"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// Component is who may connect.
type Component struct {
	Name   string // a domain in canonical form, of no other host
	Secret string // never empty
}

// Options are what a Module is made of; all are needed.
type Options struct {
	Components []Component
	// HandshakeTime is how long a component has to say who it is.
	HandshakeTime time.Duration
	// Element bounds what comes.
	Element xmlscan.Limits
	// OutboxBytes bounds what waits for a component; one that needs more is
	// disconnected.
	OutboxBytes int
}

// maxHandshake bounds what comes before the handshake, in bytes.
const maxHandshake = 4 << 10

// Module implements server.Module. Its Acceptors serve the listeners.
type Module struct {
	o          Options
	host       *server.Host
	components map[string]*component
	connected  prometheus.Gauge
}

var (
	_ server.Module    = (*Module)(nil)
	_ server.Validator = (*Module)(nil)
	_ server.Foreign   = (*component)(nil)
	_ server.Returner  = (*Module)(nil)
	_ link.Handler     = (*conn)(nil)
)

// New makes the module.
func New(o Options) *Module {
	m := &Module{
		o: o, components: make(map[string]*component),
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rollcall_components", Help: "Components that are connected to this node.",
		}),
	}
	for _, c := range o.Components {
		m.components[c.Name] = &component{m: m, Component: c}
	}
	return m
}

// Name implements server.Module.
func (m *Module) Name() string { return "component" }

// Validate implements server.Validator.
func (m *Module) Validate() error {
	if len(m.components) < len(m.o.Components) {
		return errors.New("two components have the same name")
	}
	for _, c := range m.o.Components {
		if c.Secret == "" {
			return fmt.Errorf("%s has no secret", c.Name)
		}
	}
	if m.o.HandshakeTime <= 0 || m.o.OutboxBytes <= 0 || m.o.Element.Bytes <= 0 {
		return errors.New("a limit is missing")
	}
	return nil
}

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host = h
	h.Declare(server.Protocol{
		Number: "XEP-0114", Title: "Jabber Component Protocol", Version: "1.6",
		Notes: "components connect to the server; each on a listener of its own or together",
	})
	h.OnNodes(m)
	for _, c := range m.components {
		if err := h.ServeForeign(c.Name, c); err != nil {
			return err
		}
	}
	return h.Metrics(m.connected)
}

// Acceptor serves listeners for some of the components. Its methods are safe for
// concurrent use.
type Acceptor struct {
	m     *Module
	names []string
	pool  *link.Pool
}

// Accept returns an Acceptor for the components named. It may be used after the module
// has started.
func (m *Module) Accept(names ...string) *Acceptor {
	return &Acceptor{m: m, names: slices.Clone(names), pool: link.New(link.Config{
		OutboxBytes: m.o.OutboxBytes, HandshakeTime: m.o.HandshakeTime, Log: m.host.Log(),
	})}
}

// Serve accepts connections until the Acceptor or ln is closed, and then returns nil.
func (a *Acceptor) Serve(ln net.Listener) error { return a.pool.Serve(ln, a.take) }

// Close stops accepting, tells every component, and waits until all are gone or ctx
// ends; those that are left then are cut, and the error says how many.
func (a *Acceptor) Close(ctx context.Context) error { return a.pool.Close(ctx) }

// take starts to serve a connection.
func (a *Acceptor) take(nc net.Conn) {
	c := &conn{a: a}
	c.scan.Reset()
	c.link.Init(a.pool, nc, c)
	c.mu.Lock() // the clock does not find a connection without its timer
	c.timer = time.AfterFunc(a.m.o.HandshakeTime, c.tooLate)
	c.mu.Unlock()
	c.link.Start(nil)
}

// component is one that may connect: what the core sees of it.
type component struct {
	m *Module
	Component

	// telling is held while at changes and other nodes are told: they hear in order.
	telling sync.Mutex

	mu    sync.Mutex // taken under telling
	at    *conn      // nil while it is not connected here
	there []string   // other nodes that it is connected to, the latest one last
}

// Receive implements server.Foreign.
func (c *component) Receive(b *server.Batch, el []byte) bool {
	c.mu.Lock()
	at, there := c.at, ""
	if n := len(c.there); n > 0 {
		there = c.there[n-1]
	}
	c.mu.Unlock()
	switch {
	case at != nil:
		at.send(el)
	case there != "":
		return c.m.host.Tell(b, there, c.item(itemStanza, el))
	default:
		return false
	}
	return true
}

// enter connects the component, unless it is connected already. The connection that it
// has is tried then: if its peer is gone, the next attempt succeeds.
func (c *component) enter(at *conn) bool {
	had := c.put(at)
	if had != nil {
		had.send([]byte(" ")) // which may end it
	}
	return had == nil
}

// put is enter; it returns the connection that there is.
func (c *component) put(at *conn) (had *conn) {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.mu.Lock()
	had = c.at
	if had == nil {
		c.at = at
	}
	c.mu.Unlock()
	if had == nil {
		c.m.connected.Inc()
		c.tellNodes(itemUp)
	}
	return had
}

// leave ends the connection of the component, if it is this one.
func (c *component) leave(at *conn) {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.mu.Lock()
	was := c.at == at
	if was {
		c.at = nil
	}
	c.mu.Unlock()
	if was {
		c.m.connected.Dec()
		c.tellNodes(itemDown)
	}
}
