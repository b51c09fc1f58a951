// Package ping answers pings (XEP-0199), and pings clients that have been silent
// for long: whoever does not answer is gone, and the connection is closed, or the session
// detached from it where the client can resume it. Any sign of life counts as an answer.
// Clients of listeners without pings are spared, and sessions without a connection.
package ping

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/server"
)

// Options are what a Module is made of.
type Options struct {
	// Interval is how long a client may be silent before it is pinged; 0 for
	// ever. Pings and closes come up to a quarter of it late.
	Interval time.Duration
	// Timeout is how long after the ping the connection is closed.
	Timeout time.Duration
}

// Module implements server.Module.
type Module struct {
	o       Options
	host    *server.Host
	domains map[string]jid.JID
	sent    uint64 // for ids of pings
	pings   prometheus.Counter
	stop    context.CancelFunc
	stopped chan struct{}
}

var (
	_ server.Module    = (*Module)(nil)
	_ server.Validator = (*Module)(nil)
	_ server.Stopper   = (*Module)(nil)
)

// New makes the module.
func New(o Options) *Module { return &Module{o: o} }

// Name implements server.Module.
func (m *Module) Name() string { return "ping" }

// Validate implements server.Validator.
func (m *Module) Validate() error {
	switch {
	case m.o.Interval < 0:
		return fmt.Errorf("interval of %s", m.o.Interval)
	case m.o.Interval > 0 && (m.o.Timeout <= 0 || m.o.Timeout >= m.o.Interval):
		return fmt.Errorf("the timeout of %s is not between 0 and the interval of %s", m.o.Timeout, m.o.Interval)
	}
	return nil
}

// Start implements server.Module.
func (m *Module) Start(h *server.Host) error {
	m.host = h
	h.Declare(server.Protocol{
		Number: "XEP-0199", Title: "XMPP Ping", Version: "2.0.1", Notes: "in both directions",
		Features: []string{ns.Ping},
	})
	if err := h.HandleIQ(server.ToServer|server.ToSelf|server.FromForeign, ns.Ping, "ping", pong); err != nil {
		return err
	}
	if m.o.Interval == 0 {
		return nil
	}
	m.pings = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "rollcall_pings_total", Help: "Pings sent to silent clients.",
	})
	if err := h.Metrics(m.pings); err != nil {
		return err
	}
	m.domains = make(map[string]jid.JID)
	for _, name := range h.Domains() {
		domain, err := jid.New("", name, "")
		if err != nil {
			return err
		}
		m.domains[name] = domain
	}
	ctx, cancel := context.WithCancel(h.Context())
	m.stop, m.stopped = cancel, make(chan struct{})
	go func() {
		defer close(m.stopped)
		m.run(ctx)
	}()
	return nil
}

// Stop implements server.Stopper.
func (m *Module) Stop(ctx context.Context) error {
	if m.stop == nil {
		return nil
	}
	m.stop()
	select {
	case <-m.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func pong(context.Context, *server.IQ) (server.Payload, error) { return nil, nil }

// run looks after the connections until ctx ends.
func (m *Module) run(ctx context.Context) {
	ticker := time.NewTicker(max(m.o.Interval/4, time.Millisecond))
	defer ticker.Stop()
	var pinged map[string]time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			pinged = m.round(time.Now(), pinged)
		}
	}
}

// flushEvery bounds how many connections wait for their pings to be flushed.
const flushEvery = 256

// round pings whoever is silent and closes whoever stayed silent since the last
// ping. pinged says when a ping went to a connection that had not answered yet;
// the result is what pinged is for the next round.
func (m *Module) round(now time.Time, pinged map[string]time.Time) map[string]time.Time {
	waiting := make(map[string]time.Time)
	batch := m.host.NewBatch()
	for s := range m.host.All() {
		if now.Sub(s.Seen()) < m.o.Interval || !s.Pingable() {
			continue
		}
		at, asked := pinged[s.Conn()]
		switch {
		case !asked || s.Seen().After(at):
			m.ping(batch, s)
			waiting[s.Conn()] = now
			if len(waiting)%flushEvery == 0 {
				batch.Flush()
			}
		case now.Sub(at) >= m.o.Timeout:
			s.Kick(server.Close{Reason: server.ReasonPing})
		default:
			waiting[s.Conn()] = at
		}
	}
	batch.Flush()
	return waiting
}

// ping sends the request of XEP-0199 section 4.1.
func (m *Module) ping(b *server.Batch, s *server.Session) {
	m.sent++
	id := "ping-" + strconv.FormatUint(m.sent, 36)
	b.Send(s, server.AppendIQ(nil, "get", id, m.domains[s.JID().Domain()], s.JID(), []byte("<ping xmlns='"+ns.Ping+"'/>")))
	m.pings.Inc()
}
