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
