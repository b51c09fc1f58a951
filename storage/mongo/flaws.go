package mongo

import (
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// flawsLogged is how many are logged one by one; all are counted.
const flawsLogged = 1000

// flaws reports what cannot be used in the product's documents, each once.
type flaws struct {
	log     *slog.Logger
	counter *prometheus.CounterVec

	mu   sync.Mutex
	seen map[[3]string]struct{}
}

func (f *flaws) note(what, id, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	flaw := [3]string{what, id, why}
	if _, had := f.seen[flaw]; had || len(f.seen) > flawsLogged {
		return
	}
	f.seen[flaw] = struct{}{}
	f.counter.WithLabelValues(what).Inc()
	if len(f.seen) > flawsLogged {
		f.log.Warn("more of the product's documents cannot be used; no more of them are logged", "logged", flawsLogged)
		return
	}
	f.log.Warn("left out: "+why, "what", what, "id", id)
}
