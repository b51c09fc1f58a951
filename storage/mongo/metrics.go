package mongo

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/storage"
)

// metrics are what is counted.
type metrics struct {
	operations *prometheus.HistogramVec // by kind and result
	cache      *prometheus.CounterVec   // by cache and how it answered
	told       *prometheus.CounterVec   // by kind of change
	flaws      *prometheus.CounterVec   // by what it is
	sweeps     *prometheus.HistogramVec // by collection
	streams    *prometheus.GaugeVec     // by collection
}

// newMetrics also registers what is asked for when somebody looks.
func newMetrics(r prometheus.Registerer, s *Store) (*metrics, error) {
	const of = "rollcall_mongo_"
	m := &metrics{
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: of + "operation_seconds", Help: "Time of operations on users and projects.",
			Buckets: []float64{.0005, .002, .005, .02, .1, .5, 2},
		}, []string{"operation", "result"}),
		cache: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: of + "cache_total", Help: "Answers about memberships: hit, miss, stale (read longer ago than wanted), failed.",
		}, []string{"cache", "answer"}),
		told: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: of + "changes_total", Help: "Changes of the directory that were noticed.",
		}, []string{"kind"}),
		flaws: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: of + "flaws_total", Help: "Documents, members and passwords that cannot be used.",
		}, []string{"what"}),
		sweeps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: of + "sweep_seconds", Help: "Time of comparing a whole collection.",
			Buckets: []float64{.01, .1, .5, 2, 10, 60},
		}, []string{"collection"}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: of + "streams", Help: "1 while a change stream tells of the collection.",
		}, []string{"collection"}),
	}
	if r == nil {
		return m, nil
	}
	number := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: of + name, Help: help}, f)
	}
	all := []prometheus.Collector{
		m.operations, m.cache, m.told, m.flaws, m.sweeps, m.streams,
		number("up", "1 while MongoDB answers.", func() float64 {
			if s.health.up() != nil {
				return 0
			}
			return 1
		}),
		number("cache_entries", "Entries in the caches of memberships.", func() float64 { n, _ := s.cached(); return float64(n) }),
		number("cache_bytes", "Bytes in the caches of memberships, about.", func() float64 { _, n := s.cached(); return float64(n) }),
	}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) operation(kind string, start time.Time, err error) {
	result := "ok"
	switch {
	case errors.Is(err, storage.ErrUnavailable):
		result = "unavailable"
	case err != nil:
		result = "ended"
	}
	m.operations.WithLabelValues(kind, result).Observe(time.Since(start).Seconds())
}

// kindName is a kind of change in a label.
func kindName(k storage.ChangeKind) string {
	switch k {
	case storage.MemberAdded:
		return "member-added"
	case storage.MemberRemoved:
		return "member-removed"
	case storage.UserRemoved:
		return "user-removed"
	case storage.UserChanged:
		return "user-changed"
	case storage.ProjectRemoved:
		return "project-removed"
	case storage.ProjectChanged:
		return "project-changed"
	}
	return "unknown"
}
