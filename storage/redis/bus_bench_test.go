package redis_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

// BenchmarkBus publishes 300 bytes at a time from one node to another.
func BenchmarkBus(b *testing.B) {
	s := redistest.Start(b)
	from, to := pair(b, s)
	var came atomic.Int64
	to.mu.Lock()
	to.take = func(storage.BusEvent) { came.Add(1) }
	to.mu.Unlock()
	data := make([]byte, 300)
	for _, publishers := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d publishers per CPU", publishers), func(b *testing.B) {
			came.Store(0)
			b.SetParallelism(publishers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := from.Publish(b.Context(), to.name, data); err != nil {
						b.Error(err)
						return
					}
				}
			})
			redistest.Until(b, "all have come", func() bool { return came.Load() == int64(b.N) })
		})
	}
}
