package footprint

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// look is how often the keeper looks. A look takes 1 us.
const look = time.Second

// calm is how long what is given back should not be needed again, at the rate at which
// memory was allocated lately. While it would be, the garbage collector does better.
const calm = 30 * time.Second

// least is what is not worth the trouble, in bytes.
const least = 1 << 19

// share of the heap that has to be spare. With gc_percent at 50 it is never a third,
// and after 5,000 logins it was a fifth: 3 MB.
const share = 8

// rest is how many times as long as giving back took the processors, the keeper leaves
// them alone: half a percent of one.
const rest = 200

// Heap is the state of the process's heap, in bytes.
type Heap struct {
	Objects   uint64 // in use, or garbage that was not found yet
	Live      uint64 // in use when garbage was last collected
	Free      uint64 // pages that the process holds for what it will need
	Unused    uint64 // between objects, on pages that are in use
	Released  uint64 // pages that the system has back
	Allocated uint64 // ever
}

// worth reports whether it makes sense to give memory back when since bytes were
// allocated since the last time, and rate bytes are between two looks.
func (h Heap) worth(since, rate uint64) bool {
	spare := h.Free + h.Objects - min(h.Objects, h.Live)
	all := h.Objects + h.Free + h.Unused
	if since >= all {
		// A storm has passed over all of it. What was in use amid the storm need not be
		// any more, which cannot be seen without looking.
		spare = max(spare, all/share)
	}
	return spare >= least && spare >= all/share && spare >= rate*uint64(calm/look)
}

// Keeper gives memory back to the system when there is much of it and the process is
// quiet. By itself the runtime collects garbage when enough was made, or after two
// minutes, and then keeps the pages for minutes.
type Keeper struct {
	read       func(*Heap)
	giveBack   func()
	processors int // which collect garbage

	times, bytes, seconds prometheus.Counter
}

// NewKeeper returns a keeper of this process that counts in r.
func NewKeeper(r prometheus.Registerer) *Keeper {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "rollcall_memory_given_back_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	return &Keeper{
		read: reader(), giveBack: giveBack, processors: runtime.GOMAXPROCS(0),
		times:   counter("times_total", "How often memory was given back to the system after a storm."),
		bytes:   counter("bytes_total", "How much memory was given back to the system after a storm."),
		seconds: counter("seconds_total", "Time spent on giving memory back to the system."),
	}
}

// Run works until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	var h, was Heap
	var given, lately uint64 // Heap.Allocated when memory was given back last, and what came before the last look
	var next time.Time
	for k.read(&was); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		k.read(&h)
		rate := h.Allocated - was.Allocated
		// The process has to be quiet for two looks.
		if h.worth(h.Allocated-given, max(rate, lately)) && !time.Now().Before(next) {
			next = time.Now().Add(rest * time.Duration(k.processors) * k.give(&h))
			given = h.Allocated
		}
		was, lately = h, rate
	}
}

// giveBack gives all free pages to the system. What a sync.Pool holds is garbage only
// when garbage is collected for the second time.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

// give gives memory back, leaves the state of the heap afterwards in h, and returns how
// long it took.
func (k *Keeper) give(h *Heap) time.Duration {
	released, start := h.Released, time.Now()
	k.giveBack()
	took := time.Since(start)
	k.read(h)
	k.times.Inc()
	k.seconds.Add(took.Seconds())
	if h.Released > released { // somebody else may have needed it meanwhile
		k.bytes.Add(float64(h.Released - released))
	}
	return took
}

// reader reads the runtime's metrics, which stops nothing and allocates nothing.
func reader() func(*Heap) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
	}
	return func(h *Heap) {
		metrics.Read(samples)
		for i, field := range []*uint64{&h.Objects, &h.Live, &h.Free, &h.Unused, &h.Released, &h.Allocated} {
			*field = samples[i].Value.Uint64()
		}
	}
}
