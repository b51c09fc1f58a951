package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Keys are the names of what is kept in Redis. The first two are read by the
// product's web application; docs/redis-keys.md describes them all.
type Keys struct {
	OnlineUsers string // before a project's id; "" means "wt_proj_online_users:"
	Presence    string // before a user's id; "" means "wt_user_presence:"
	Prefix      string // before everything else; "" means "wt_"
}

// Config says where Redis is and who this process is.
type Config struct {
	// Addresses holds "host:port" of the server, or of the Sentinels when
	// MasterName says which master they watch.
	Addresses  []string
	MasterName string

	Username, Password                 string
	SentinelUsername, SentinelPassword string
	Database                           int
	TLS                                *tls.Config   // nil: none; it serves Sentinels too
	Timeout                            time.Duration // to dial, to read, to write; 0: 500 ms

	Keys Keys
	// Node is this node's name: 1 to 64 letters, digits, dots, dashes and underscores.
	Node string
	// Lease is how long a node counts as alive after its last sign of life; 0: 30 s.
	// It is renewed, and other nodes are looked at, each sixth of it.
	Lease time.Duration
	// Reconcile is how often the sets are compared with the rows; 0: 5 minutes.
	Reconcile time.Duration

	Log     *slog.Logger          // nil: nothing is logged
	Metrics prometheus.Registerer // nil: nothing is registered

	pauses pauses // shorter in tests
}

// withDefaults fills in what is not set and checks the rest.
func (c Config) withDefaults() (Config, error) {
	fill(&c.Keys.OnlineUsers, "wt_proj_online_users:")
	fill(&c.Keys.Presence, "wt_user_presence:")
	fill(&c.Keys.Prefix, "wt_")
	fill(&c.Timeout, 500*time.Millisecond)
	fill(&c.Lease, 30*time.Second)
	fill(&c.Reconcile, 5*time.Minute)
	fill(&c.pauses, pauses{time.Second, 100 * time.Millisecond})
	fill(&c.Log, slog.New(slog.DiscardHandler))
	switch {
	case len(c.Addresses) == 0:
		return c, errors.New("redis: no address")
	case len(c.Addresses) > 1 && c.MasterName == "":
		return c, errors.New("redis: several addresses, but no name of the master that these Sentinels watch; " +
			"Redis Cluster is not supported, see docs/redis-keys.md")
	case c.Timeout < 0, c.Lease < 0, c.Reconcile < 0:
		return c, errors.New("redis: a time is negative")
	case !regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`).MatchString(c.Node):
		return c, fmt.Errorf("redis: node name %q: want 1 to 64 letters, digits, dots, dashes and underscores", c.Node)
	}
	return c, c.Keys.apart()
}

func fill[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}
