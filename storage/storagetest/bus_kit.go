package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/storage"
)

// busPatience is how long anything may take that has no time of its own.
const busPatience = 20 * time.Second

// busCommunity joins a node.
type busCommunity func(t *testing.T, name string) storage.Bus

// busNode is a node that listens and remembers what it is told.
type busNode struct {
	bus   storage.Bus
	name  string
	epoch uint64
	end   context.CancelFunc
	ended chan error // what Listen returned

	mu     sync.Mutex
	events []storage.BusEvent
	also   func(storage.BusEvent)
}

// listen joins a node and lets it listen until the test ends.
func (open busCommunity) listen(t *testing.T, name string) *busNode {
	t.Helper()
	n := &busNode{bus: open(t, name), name: name, ended: make(chan error, 1)}
	_, n.epoch = n.bus.Node()
	ctx, cancel := context.WithCancel(context.Background())
	n.end = cancel
	var calls atomic.Int32
	go func() {
		n.ended <- n.bus.Listen(ctx, func(e storage.BusEvent) {
			if calls.Add(1) > 1 {
				t.Errorf("%s: two calls at a time", name)
			}
			defer calls.Add(-1)
			n.mu.Lock()
			n.events = append(n.events, e)
			also := n.also
			n.mu.Unlock()
			if also != nil {
				also(e)
			}
		})
	}()
	t.Cleanup(func() { n.leave(t) })
	return n
}

// leave ends Listen and waits for its return.
func (n *busNode) leave(t *testing.T) {
	t.Helper()
	n.end()
	select {
	case err := <-n.ended:
		if err != nil {
			t.Errorf("%s: Listen: %v, want nil", n.name, err)
		}
		n.ended <- nil // for the next call
	case <-time.After(busPatience):
		t.Fatalf("%s: Listen does not return", n.name)
	}
}

// on has f called for every event from now on.
func (n *busNode) on(f func(storage.BusEvent)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.also = f
}

func (n *busNode) all() []storage.BusEvent {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.events)
}

func (n *busNode) up() storage.BusEvent {
	return storage.BusEvent{Kind: storage.NodeUp, Node: n.name, Epoch: n.epoch}
}

func (n *busNode) down() storage.BusEvent {
	return storage.BusEvent{Kind: storage.NodeDown, Node: n.name, Epoch: n.epoch}
}

func (n *busNode) await(t *testing.T, e storage.BusEvent) {
	t.Helper()
	busUntil(t, fmt.Sprintf("%s is told %v", n.name, e), func() bool { return indexOf(n.all(), e) >= 0 })
}

// ready waits for BusReady, which comes once.
func (n *busNode) ready(t *testing.T) {
	t.Helper()
	n.await(t, storage.BusEvent{Kind: storage.BusReady})
	times := 0
	for _, e := range n.all() {
		if e.Kind == storage.BusReady {
			times++
		}
	}
	if times != 1 {
		t.Errorf("%s: BusReady came %d times", n.name, times)
	}
}

func (n *busNode) publish(t *testing.T, to *busNode, data string) {
	t.Helper()
	busOK(t, n.bus.Publish(t.Context(), to.name, []byte(data)))
}

// messages waits for that many messages and wants no more.
func (n *busNode) messages(t *testing.T, want int) []string {
	t.Helper()
	var got []string
	busUntil(t, fmt.Sprintf("%s has %d messages", n.name, want), func() bool {
		got = nil
		for _, e := range n.all() {
			if e.Kind == storage.BusMessage {
				got = append(got, string(e.Data))
			}
		}
		return len(got) >= want
	})
	if len(got) > want {
		t.Fatalf("%s has %d messages, want %d", n.name, len(got), want)
	}
	return got
}

// busPair joins two nodes that know each other.
func busPair(t *testing.T, open busCommunity, name string) (a, b *busNode) {
	t.Helper()
	a, b = open.listen(t, name+"-a"), open.listen(t, name+"-b")
	a.ready(t)
	b.ready(t)
	a.await(t, b.up())
	b.await(t, a.up())
	return a, b
}

// busTogether runs f for every key at the same time.
func busTogether[K comparable, V any](t *testing.T, of map[K]V, f func(K, V) error) {
	t.Helper()
	var wg sync.WaitGroup
	for k, v := range of {
		wg.Go(func() {
			if err := f(k, v); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func busUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for late := time.Now().Add(busPatience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("not in %v: %s", busPatience, what)
		}
	}
}

func busOK(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sameEvent(a, b storage.BusEvent) bool {
	return a.Kind == b.Kind && a.Node == b.Node && a.Epoch == b.Epoch && bytes.Equal(a.Data, b.Data)
}

func indexOf(events []storage.BusEvent, e storage.BusEvent) int {
	return slices.IndexFunc(events, func(x storage.BusEvent) bool { return sameEvent(x, e) })
}

func isMessage(e storage.BusEvent) bool { return e.Kind == storage.BusMessage }

func number(i int) string { return fmt.Sprintf("%06d", i) }

func endedContext(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
