package test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/conf"
	"rollcall/internal/redistest"
	"rollcall/internal/transcript"
	"rollcall/server"
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
		var hosts []*hostOf
		node := func(name string) transcript.Target {
			hosts = append(hosts, new(hostOf))
			return tr.of(start(t, options{modules: []server.Module{hosts[len(hosts)-1]}, config: func(c *conf.Config) {
				c.Storage.Presence, c.Storage.Redis.Addresses, c.Cluster.Node = conf.PresenceRedis, []string{redis.Addr()}, name
			}}))
		}
		one, two := node("one"), node("two")
		var connections atomic.Int64
		target := one
		trace := target.Trace
		target.Trace = func(out bool, text string) {
			if out {
				known(hosts)
			}
			if trace != nil {
				trace(out, text)
			}
		}
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

// hostOf is a module that lets a test see what a node knows.
type hostOf struct{ *server.Host }

// Name implements server.Module.
func (*hostOf) Name() string { return "host-of" }

// Start implements server.Module.
func (m *hostOf) Start(h *server.Host) error {
	m.Host = h
	return nil
}

// known waits until each node has heard of who is connected to the other, as people do
// who type: a script goes on at once. It gives up after a while.
func known(hosts []*hostOf) {
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		missing := false
		for i, here := range hosts {
			for s := range hosts[1-i].All() {
				missing = missing || !here.IsConnected(s.JID().Bare())
			}
		}
		if !missing {
			return
		}
	}
}
