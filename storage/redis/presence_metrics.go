package redis

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// presenceMetrics count what presence does in Redis.
type presenceMetrics struct {
	repaired                  *prometheus.CounterVec
	asserted, reaped, scripts prometheus.Counter
	pipelines                 prometheus.Histogram
}

func newPresenceMetrics(reg prometheus.Registerer) (*presenceMetrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_redis_" + name, Help: help})
	}
	m := &presenceMetrics{
		repaired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_redis_repaired_total", Help: "What the reconciler found wrong in Redis and put right.",
		}, []string{"kind"}),
		asserted: counter("asserted_total", "Users asserted again after Redis was away."),
		reaped:   counter("reaped_total", "Connections of dead nodes removed."),
		scripts:  counter("scripts_total", "Presence scripts sent."),
		pipelines: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "rollcall_redis_pipeline_seconds", Help: "Round trips of presence scripts.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
		}),
	}
	if reg == nil {
		return m, nil
	}
	var err error
	for _, c := range []prometheus.Collector{m.repaired, m.asserted, m.reaped, m.scripts, m.pipelines} {
		err = errors.Join(err, reg.Register(c))
	}
	return m, err
}
