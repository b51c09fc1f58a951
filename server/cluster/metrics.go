package cluster

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/storage"
)

type metrics struct {
	envelopes                                    *prometheus.CounterVec
	posted, refused, returned, items, lost, gaps prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_cluster_" + name, Help: help})
	}
	m := &metrics{
		envelopes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_cluster_envelopes_total", Help: "Messages of the bus to other nodes, by outcome.",
		}, []string{"outcome"}),
		posted:   counter("items_out_total", "Items queued for other nodes."),
		refused:  counter("items_refused_total", "Items for which there was no room, or whose node was gone."),
		returned: counter("items_returned_total", "Items that could not be handed to their node."),
		items:    counter("items_in_total", "Items that came from other nodes."),
		lost:     counter("lost_total", "Times that a message of another node was missing."),
		gaps:     counter("gaps_total", "Times that the bus itself may have lost messages."),
	}
	for _, c := range []prometheus.Collector{m.envelopes, m.posted, m.refused, m.returned, m.items, m.lost, m.gaps} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) published(err error) {
	outcome := "sent"
	switch {
	case errors.Is(err, storage.ErrNobody):
		outcome = "nobody"
	case err != nil:
		outcome = "failed"
	}
	m.envelopes.WithLabelValues(outcome).Inc()
}
