package test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"rollcall/conf"
	"rollcall/internal/redistest"
	"rollcall/internal/transcript"
)

// TestTranscriptsOverNodes plays every script over TCP with two servers on one Redis:
// connections go to one and the other in turn.
func TestTranscriptsOverNodes(t *testing.T) {
	redis := redistest.Start(t)
	tr := transports[0]
	transcript.RunDir(t, "../internal/transcript/testdata/core", tr.kind, func(t *testing.T, _ *transcript.Script) transcript.Target {
		if err := redis.Client(t).FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		node := func(name string) transcript.Target {
			return tr.of(start(t, options{config: func(c *conf.Config) {
				c.Storage.Presence, c.Storage.Redis.Addresses, c.Cluster.Node = conf.PresenceRedis, []string{redis.Addr()}, name
			}}))
		}
		one, two := node("one"), node("two")
		var connections atomic.Int64
		target := one
		target.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if connections.Add(1)%2 == 0 {
				address = two.Address
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		first, second := one.Actions["shutdown"], two.Actions["shutdown"]
		target.Actions = map[string]func(context.Context) error{"shutdown": func(ctx context.Context) error {
			return errors.Join(first(ctx), second(ctx))
		}}
		return target
	})
}
