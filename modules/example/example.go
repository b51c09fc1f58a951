// Package example is the template of a module: copy this folder, rename it, and
// replace what it does. It greets everybody who becomes available, and says how
// many it has greeted.
//
// A module knows three things: the server package, the interfaces of package
// storage, and what is below internal. It never imports another module, a
// transport or a back end; what it needs of those comes in through its Options.
//
// To turn a new module on, list it in cmd/rollcall and give it a section in
// package conf. README.md has the steps.
package example

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// Namespace is that of the module's own requests. A protocol that others are to
// speak deserves an entry in package ns and a page in docs.
const Namespace = "urn:rollcall:example:1"

// maxGreeting bounds what everybody gets who logs in, in bytes.
const maxGreeting = 1000

// Options are what a Module is made of: settings, and stores where it needs
// some. There are no defaults here, they belong to package conf.
type Options struct {
	// Greeting is the body of the message.
	Greeting string
}

// Module implements server.Module. What belongs to the whole server lives in
// its fields. Hooks and requests of different sessions run at the same time, so
// what they change needs a lock or, as here, an atomic.
type Module struct {
	o       Options
	host    *server.Host
	domains map[string]jid.JID
	greeted atomic.Uint64
	counter prometheus.Counter
}

// These lines fail to compile when a method is missing or misspelt. Validator
// and Stopper are for modules that need them; Name and Start are all that a
// module must have.
var (
	_ server.Module    = (*Module)(nil)
	_ server.Validator = (*Module)(nil)
	_ server.Stopper   = (*Module)(nil)
)

// New makes the module. It does nothing yet, so that a configuration can be
// checked without starting anything.
func New(o Options) *Module { return &Module{o: o} }

// Name implements server.Module. It is the name in logs, in metrics and in the
// configuration.
func (m *Module) Name() string { return "example" }

// Validate implements server.Validator: what the options alone show to be wrong.
func (m *Module) Validate() error {
	switch {
	case strings.TrimSpace(m.o.Greeting) == "":
		return errors.New("the greeting is empty")
	case len(m.o.Greeting) > maxGreeting:
		return fmt.Errorf("the greeting has %d bytes, more than %d", len(m.o.Greeting), maxGreeting)
	}
	return nil
}

// priorityGreet is the place among the handlers of user_available: lower ones
// run first.
const priorityGreet = 200

// Start implements server.Module. Everything that is registered with the host is
// undone by the host, when the module stops or when Start fails: a module never
// unregisters anything itself.
func (m *Module) Start(h *server.Host) error {
	m.host = h
	m.domains = make(map[string]jid.JID)
	for _, name := range h.Domains() {
		domain, err := jid.New("", name, "")
		if err != nil {
			return err
		}
		m.domains[name] = domain
	}
	m.counter = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "rollcall_example_greetings_total", Help: "Greetings sent.",
	})
	if err := h.Metrics(m.counter); err != nil {
		return err
	}
	// A hook: the contract of each is in server/hooks.go.
	h.OnUserAvailable(priorityGreet, m.greet)
	// A request of the module's own. Its namespace is listed among the features
	// of the scope, here the virtual hosts, so clients find it (XEP-0030).
	if err := h.HandleIQ(server.ToServer, Namespace, "greeted", m.count); err != nil {
		return err
	}
	// A feature that is no request is listed by itself.
	h.Feature(server.ToServer, Namespace+"#greets")
	return nil
}

// Stop implements server.Stopper. No hook and no request comes any more; what is
// left to do is what the module began itself: goroutines, timers, files. This
// one only takes its leave. Whatever waits here must end when ctx does.
func (m *Module) Stop(context.Context) error {
	m.host.Log().Info("stopped greeting", "greeted", m.greeted.Load())
	return nil
}

// greet runs on the turn of the session that became available. What it sends
// through the event's Batch reaches the client when the turn ends. It must not
// wait for long: only this one user would, but would.
func (m *Module) greet(_ context.Context, e *server.UserAvailable) {
	to := e.Session.JID()
	e.Batch.Send(e.Session, message(m.domains[to.Domain()], to, m.o.Greeting))
	m.greeted.Add(1)
	m.counter.Inc()
}

// message is a headline: it says something now and is kept nowhere (RFC 6121
// section 5.2.2). Everything that goes out is in jabber:client, has its
// attributes in single quotes, and is escaped: from and to come from clients.
func message(from, to jid.JID, body string) []byte {
	b := []byte("<message xmlns='" + ns.Client + "' from='")
	b = xmlscan.AppendAttr(b, from.String())
	b = append(b, "' to='"...)
	b = xmlscan.AppendAttr(b, to.String())
	b = append(b, "' type='headline'><body>"...)
	b = xmlscan.AppendText(b, body)
	return append(b, "</body></message>"...)
}

// count answers <greeted xmlns='urn:rollcall:example:1'/>. A handler returns the
// child of the result, or an error: one made by server.Error goes to the client,
// any other is logged and becomes internal-server-error. A store's error needs
// no handling more than that.
func (m *Module) count(_ context.Context, iq *server.IQ) (server.Payload, error) {
	if iq.Set() {
		return nil, server.Error(stanza.NotAllowed, "the number of greetings cannot be set")
	}
	n := strconv.FormatUint(m.greeted.Load(), 10)
	return server.Raw("<greeted xmlns='" + Namespace + "' count='" + n + "'/>"), nil
}
