package footprint

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const mib = 1 << 20

// process is a heap in a synctest bubble.
type process struct {
	mu    sync.Mutex
	heap  Heap
	takes time.Duration // giving back
	given []time.Duration
	start time.Time
}

func (p *process) giveBack() {
	p.given = append(p.given, time.Since(p.start))
	time.Sleep(p.takes)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heap.Released += p.heap.Objects - p.heap.Live + p.heap.Free
	p.heap.Objects, p.heap.Free = p.heap.Live, 0
}

func (p *process) read(h *Heap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*h = p.heap
}

// alloc makes garbage, part of which is collected.
func (p *process) alloc(n, collected uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heap.Objects += n - collected
	p.heap.Allocated += n
}

// count is the value of a counter.
func count(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// keep runs a keeper for p while f runs, which sees it half a second after a look.
func keep(t *testing.T, p *process, f func()) *Keeper {
	t.Helper()
	k := NewKeeper(prometheus.NewRegistry())
	k.read, k.giveBack, k.processors = p.read, p.giveBack, 2
	synctest.Test(t, func(t *testing.T) {
		p.start = time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			k.Run(ctx)
			close(ended)
		}()
		time.Sleep(look / 2)
		f()
		cancel()
		<-ended
	})
	return k
}

func TestKeeperAfterAStorm(t *testing.T) {
	p := &process{heap: Heap{Objects: 10 * mib, Live: 8 * mib}, takes: 5 * time.Millisecond}
	k := keep(t, p, func() {
		for range 10 {
			p.alloc(10*mib, 0)
			time.Sleep(look)
		}
		time.Sleep(time.Hour)
	})
	// The last second of the storm is the tenth; then there are two quiet ones.
	if len(p.given) != 1 || p.given[0] != 12*time.Second {
		t.Errorf("given back at %v", p.given)
	}
	if n := count(t, k.bytes); n != 102*mib {
		t.Errorf("%v bytes counted", n)
	}
	if n, s := count(t, k.times), count(t, k.seconds); n != 1 || s != 0.005 {
		t.Errorf("%v times and %v s counted", n, s)
	}
}

// Garbage is collected amid a storm too, when much is in use that soon is not. Then
// one look at it is worth while, and no second one.
func TestKeeperAfterAStormWithoutGarbage(t *testing.T) {
	p := &process{heap: Heap{Objects: 40 * mib, Live: 40 * mib, Unused: 10 * mib}, takes: time.Millisecond}
	keep(t, p, func() {
		p.alloc(49*mib, 49*mib)
		time.Sleep(time.Hour)
		if len(p.given) != 0 {
			t.Errorf("given back at %v", p.given)
		}
		p.alloc(mib, mib)
		time.Sleep(time.Hour)
	})
	if len(p.given) != 1 {
		t.Errorf("given back at %v", p.given)
	}
}

func TestKeeperWhatIsNotWorthIt(t *testing.T) {
	for name, h := range map[string]Heap{
		"little":              {Objects: 2 * mib, Live: 7 * mib / 4, Free: mib / 8},
		"a tenth":             {Objects: 90 * mib, Live: 90 * mib, Free: 10 * mib},
		"between objects":     {Objects: 50 * mib, Live: 50 * mib, Unused: 50 * mib},
		"given back already":  {Objects: 50 * mib, Live: 50 * mib, Released: 500 * mib},
		"fewer than was live": {Objects: 10 * mib, Live: 50 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			p := &process{heap: h}
			keep(t, p, func() { time.Sleep(time.Hour) })
			if len(p.given) != 0 {
				t.Errorf("given back at %v", p.given)
			}
		})
	}
}

// A busy process keeps what it will need at once.
func TestKeeperWhileBusy(t *testing.T) {
	p := &process{heap: Heap{Objects: 100 * mib, Live: 20 * mib, Free: 40 * mib}}
	keep(t, p, func() {
		for range 3600 {
			p.alloc(10*mib, 10*mib)
			time.Sleep(look)
		}
	})
	if len(p.given) != 0 {
		t.Errorf("given back at %v", p.given)
	}
}

// Where giving back takes long it is rare, so that it costs little.
func TestKeeperCost(t *testing.T) {
	p := &process{heap: Heap{Objects: 100 * mib, Live: 20 * mib}, takes: time.Second}
	keep(t, p, func() {
		for range 3600 {
			p.alloc(mib, 0)
			time.Sleep(look)
		}
	})
	if n := len(p.given); n < 5 || n > 9 { // 200 times as long as two processors worked
		t.Errorf("%d times in an hour: %v", n, p.given)
	}
}

// The runtime has the metrics, and gives memory back when asked.
func TestKeeperOfThisProcess(t *testing.T) {
	k := NewKeeper(prometheus.NewRegistry())
	garbage := make([]byte, 64*mib)
	for i := range garbage {
		garbage[i] = 1
	}
	var before, after Heap
	k.read(&before)
	if before.Objects < 64*mib || before.Allocated < 64*mib {
		t.Errorf("64 MiB are in use, and the heap is %+v", before)
	}
	garbage[0]++
	garbage = nil
	if took := k.give(&after); took <= 0 {
		t.Errorf("it took %v", took)
	}
	if after.Objects >= before.Objects-60*mib || after.Free > 4*mib || after.Live == 0 {
		t.Errorf("afterwards the heap is %+v", after)
	}
	if n := count(t, k.bytes); n < 60*mib {
		t.Errorf("%v bytes were given back", n)
	}
}

func TestLookAllocatesNothing(t *testing.T) {
	read := reader()
	var h Heap
	if n := testing.AllocsPerRun(100, func() { read(&h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLook(b *testing.B) {
	read := reader()
	var h Heap
	b.ReportAllocs()
	for b.Loop() {
		read(&h)
	}
}
