package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"rollcall/storage"
)

// keeperPool is the size of the keeper's own pool: looks, and a word beside them.
const keeperPool = 2

// newClient makes a client that connects when it is first used.
func newClient(c Config) redis.UniversalClient { return newPool(c, 0, newConns()) }

// newPool makes a client with so many connections at most, 0 for the library's number.
// Nothing is tried twice behind the caller's back: a message would arrive twice, and a
// server that is gone would hold up its callers for as many time-outs. Few connections
// stay idle: those on which nothing passes any more are found out one time-out after
// another. cs are its connections.
func newPool(c Config, most int, cs *conns) redis.UniversalClient {
	// The library would write a line of its own to stderr for every vain try.
	logging.Disable()
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: c.Addresses, MasterName: c.MasterName, DB: c.Database,
		Username: c.Username, Password: c.Password,
		SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword,
		TLSConfig: c.TLS, Dialer: cs.dialer(c), ClientName: "rollcall-" + c.Node,
		DialTimeout: c.Timeout, ReadTimeout: c.Timeout, WriteTimeout: c.Timeout, PoolTimeout: c.Timeout,
		// Without it a deadline is not obeyed while the server stands still.
		ContextTimeoutEnabled: true,
		MaxRetries:            -1, DialerRetries: 1,
		PoolSize: most, MaxIdleConns: 8,
		// Nothing here needs what RESP3 adds; pipelines need no pool of their own.
		Protocol: 2, DisableIdentity: true, PipelinePoolSize: -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// unavailable wraps an error of a command so that callers know it as
// storage.ErrUnavailable; nil stays nil.
func unavailable(err error) error {
	if err == nil || errors.Is(err, storage.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: redis: %w", storage.ErrUnavailable, err)
}

// outage says whether an error means that Redis cannot be written now: no
// connection, no answer in time, or a server that is loading, read-only, or full.
// Other errors are the command's own.
func outage(err error) bool {
	if err == nil || errors.Is(err, redis.Nil) || errors.Is(err, context.Canceled) {
		return false
	}
	var reply redis.Error
	if !errors.As(err, &reply) {
		return true
	}
	for _, p := range []string{"READONLY", "LOADING", "MASTERDOWN", "MISCONF", "OOM", "NOREPLICAS", "TRYAGAIN", "BUSY", "UNKILLABLE"} {
		if strings.HasPrefix(reply.Error(), p+" ") {
			return true
		}
	}
	return false
}
