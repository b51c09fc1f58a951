package server

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the core's counters. Labels come from closed lists: transports,
// reasons, conditions, hooks and modules.
type metrics struct {
	connections *prometheus.GaugeVec   // open, by transport
	sessions    *prometheus.GaugeVec   // bound, by transport
	closes      *prometheus.CounterVec // by transport and reason
	auths       *prometheus.CounterVec // by outcome
	hooks       *prometheus.HistogramVec
	detached    prometheus.Gauge
	resumptions *prometheus.CounterVec // by outcome
	acks        prometheus.Counter
	panics      prometheus.Counter
	out         prometheus.Counter
	in          [len(kinds)]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rollcall_connections", Help: "Client connections, logged in or not.",
		}, []string{"transport"}),
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rollcall_sessions", Help: "Sessions with a bound resource.",
		}, []string{"transport"}),
		closes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_closes_total", Help: "Ended connections by reason.",
		}, []string{"transport", "reason"}),
		auths: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_authentications_total", Help: "SASL exchanges by outcome.",
		}, []string{"outcome"}),
		hooks: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rollcall_hook_seconds", Help: "Time spent in hook handlers.",
			Buckets: []float64{1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10},
		}, []string{"hook", "module"}),
		detached: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rollcall_detached_sessions", Help: "Sessions that wait for their clients to resume them.",
		}),
		resumptions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_resumptions_total", Help: "Sessions resumed, or taken over from a living connection, or not found, or expired; relayed: resumed here at another node.",
		}, []string{"outcome"}),
		acks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rollcall_acks_total", Help: "Acknowledgements from clients.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rollcall_panics_total", Help: "Panics that were caught; each is a defect.",
		}),
		out: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rollcall_elements_out_total", Help: "Elements queued for clients.",
		}),
	}
	in := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rollcall_stanzas_in_total", Help: "Stanzas from clients.",
	}, []string{"kind"})
	for k, name := range kinds {
		m.in[k] = in.WithLabelValues(name)
	}
	for _, c := range []prometheus.Collector{m.connections, m.sessions, m.closes, m.auths, m.hooks, m.detached, m.resumptions, m.acks, m.panics, m.out, in} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) opened(transport string) { m.connections.WithLabelValues(transport).Inc() }

func (m *metrics) bound(transport string) { m.sessions.WithLabelValues(transport).Inc() }

func (m *metrics) disconnected(transport string, r Reason) {
	m.connections.WithLabelValues(transport).Dec()
	m.closes.WithLabelValues(transport, r.String()).Inc()
}

func (m *metrics) unbound(transport string) { m.sessions.WithLabelValues(transport).Dec() }

// moved notes that a session went from one connection to another.
func (m *metrics) moved(from, to string) {
	if from != to {
		m.unbound(from)
		m.bound(to)
	}
}

func (m *metrics) auth(outcome string) { m.auths.WithLabelValues(outcome).Inc() }
