package cluster_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/server/cluster"
	"rollcall/storage"
)

// FuzzMessage takes anything for a node's message.
func FuzzMessage(f *testing.F) {
	f.Add([]byte("\x01\x00\x01x\x09\x01\x02\x01\x03abc"))
	f.Add([]byte("\x01\x01\x01x\x09\x01\x02"))
	f.Add([]byte("\x01\x00\x01x\x09\x01\x02\x01\x09cut"))
	f.Fuzz(func(t *testing.T, data []byte) {
		bus := &fake{events: make(chan storage.BusEvent)}
		n := new(node)
		var err error
		n.Cluster, err = cluster.New(cluster.Config{Bus: bus, Handler: n, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		bus.events <- storage.BusEvent{Kind: storage.BusMessage, Data: data}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
