package redis

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type nodeMetrics struct {
	up, nodes prometheus.Gauge
	outages   prometheus.Counter
}

func newNodeMetrics(reg prometheus.Registerer) (nodeMetrics, error) {
	m := nodeMetrics{
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rollcall_redis_up", Help: "Whether Redis can be written.",
		}),
		nodes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rollcall_redis_nodes", Help: "Other nodes that are alive.",
		}),
		outages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rollcall_redis_outages_total", Help: "Times that Redis could not be written any more.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.up), reg.Register(m.nodes), reg.Register(m.outages))
}

// registered remembers what it registered, so that an Open that failed leaves nothing.
type registered struct {
	prometheus.Registerer
	all []prometheus.Collector
}

// Register implements prometheus.Registerer.
func (r *registered) Register(c prometheus.Collector) error {
	err := r.Registerer.Register(c)
	if err == nil {
		r.all = append(r.all, c)
	}
	return err
}

func (r *registered) undo() {
	for _, c := range r.all {
		r.Unregister(c)
	}
}
