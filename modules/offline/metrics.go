package offline

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the module counts.
type metrics struct {
	kept, secured, delivered, errors prometheus.Counter
	refused                          *prometheus.CounterVec
}

func newMetrics() metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_offline_" + name + "_total", Help: help})
	}
	return metrics{
		kept:      counter("kept", "Messages kept for users who were not there."),
		secured:   counter("secured", "Messages stored because a client had not acknowledged them yet and their sender wanted to know that they are safe."),
		delivered: counter("delivered", "Kept messages that a client has acknowledged."),
		errors:    counter("errors", "Calls of the store of kept messages that failed."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_offline_refused_total",
			Help: "Messages worth keeping that were not kept, and whose sender was told: the user has too many (full), or the store failed (store).",
		}, []string{"reason"}),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.kept, m.secured, m.delivered, m.errors, m.refused}
}

// outageEvery is how often failures of the store are logged: a busy server would say it
// thousands of times in a second.
const outageEvery = 10 * time.Second

// outage keeps the log readable while the store fails. Its zero value is ready.
type outage struct {
	mu     sync.Mutex
	next   time.Time // not logged before
	silent int       // failures that were not logged
}

// failed notes that a call of the store failed.
func (m *Module) failed(what string, err error, about ...any) {
	m.metrics.errors.Inc()
	o, now := &m.outage, time.Now()
	o.mu.Lock()
	if now.Before(o.next) {
		o.silent++
		o.mu.Unlock()
		return
	}
	silent := o.silent
	o.silent, o.next = 0, now.Add(outageEvery)
	o.mu.Unlock()
	m.host.Log().Error(what, append(about, "err", err, "before", silent)...)
}
