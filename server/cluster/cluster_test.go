package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/server/cluster"
	"rollcall/storage"
	"rollcall/storage/memory"
)

// node is one node's end, whose handler writes down what happens.
type node struct {
	*cluster.Cluster
	stop func()

	mu       sync.Mutex
	log      []string
	envelope int // the most items that came at once
	hold     chan struct{}
}

func start(t *testing.T, bus storage.Bus) *node {
	t.Helper()
	n := new(node)
	var err error
	n.Cluster, err = cluster.New(cluster.Config{Bus: bus, Handler: n,
		Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(n.stop)
	<-n.Ready()
	return n
}

func (n *node) note(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, what)
}

// took returns what happened since the last call.
func (n *node) took() []string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	log := n.log
	n.log = nil
	return log
}

func (n *node) Up(p *cluster.Peer)   { n.note("up " + p.Name()) }
func (n *node) Lost(p *cluster.Peer) { n.note("lost " + p.Name()) }
func (n *node) Down(p *cluster.Peer) { n.note("down " + p.Name()) }

func (n *node) Received(p *cluster.Peer, items []cluster.Item) {
	n.mu.Lock()
	hold := n.hold
	n.envelope = max(n.envelope, len(items))
	n.mu.Unlock()
	if hold != nil {
		<-hold
	}
	for _, it := range items {
		n.note(fmt.Sprintf("%s %d %s", p.Name(), it.Kind, it.Data[:min(len(it.Data), 20)]))
	}
}

func (n *node) Returned(p *cluster.Peer, items []cluster.Item) {
	for _, it := range items {
		n.note("returned " + string(it.Data[:min(len(it.Data), 20)]))
	}
}

func (n *node) post(to string, items ...string) {
	p := n.Peer(to)
	for i, it := range items {
		p.Post(byte(i+1), []byte(it))
	}
	p.Flush()
}

func expect(t *testing.T, n *node, want ...string) {
	t.Helper()
	if got := n.took(); !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %q\nwant %q", n.Node(), got, want)
	}
}

// pair starts two nodes that know each other.
func pair(t *testing.T, hub *memory.Hub) (a, b *node) {
	t.Helper()
	a, b = start(t, hub.Bus("a")), start(t, hub.Bus("b"))
	expect(t, a, "up b")
	expect(t, b, "up a")
	return a, b
}

func TestItemsArriveInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, memory.NewHub())
		a.post("b", "one", "two")
		expect(t, b, "a 1 one", "a 2 two")
		if b.envelope != 2 {
			t.Errorf("%d items at once", b.envelope)
		}
		a.stop()
		expect(t, b, "down a")
	})
}

// What is posted while a message is under way goes out in one; nothing larger than
// an envelope, unless it is one item.
func TestItemsShareEnvelopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := memory.NewHub()
		var sizes []int
		hub.Fail(func(_, _ string, data []byte) memory.Fault {
			sizes = append(sizes, len(data))
			return memory.Fine
		})
		a, b := pair(t, hub)
		for i := range 3000 {
			a.Peer("b").Post(1, append([]byte(strconv.Itoa(i)+"."), make([]byte, 400)...))
		}
		a.Peer("b").Post(1, make([]byte, 300<<10))
		a.Peer("b").Flush()
		got := b.took()
		if len(got) != 3001 {
			t.Fatalf("%d items", len(got))
		}
		for i, g := range got[:3000] {
			if !bytes.HasPrefix([]byte(g), []byte("a 1 "+strconv.Itoa(i)+".")) {
				t.Fatalf("item %d is %q", i, g)
			}
		}
		for _, size := range sizes[:len(sizes)-1] {
			if size > 257<<10 {
				t.Errorf("an envelope of %d bytes", size)
			}
		}
		if n := len(sizes); n != 6 {
			t.Errorf("%d envelopes: %d", n, sizes)
		}
	})
}

// A loss is noticed at the next envelope, and by itself when nothing else is posted
// after a failure.
func TestLossesAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := memory.NewHub()
		a, b := pair(t, hub)
		hub.Fail(func(string, string, []byte) memory.Fault { return memory.Lost })
		a.post("b", "vanishes")
		expect(t, b)
		hub.Fail(nil)
		a.post("b", "comes")
		expect(t, b, "lost a", "a 1 comes")
		hub.Fail(func(string, string, []byte) memory.Fault { return memory.Unreachable })
		a.post("b", "back", "too")
		expect(t, a, "returned back", "returned too")
		hub.Fail(nil)
		for got := b.took(); !slices.Equal(got, []string{"lost a"}); got = b.took() {
			if len(got) > 0 {
				t.Fatal(got)
			}
			time.Sleep(time.Second) // of the bubble
		}
		expect(t, a)
		hub.Gap("b")
		expect(t, b, "lost a")
		a.post("b", "fine")
		expect(t, b, "a 1 fine")
	})
}

func TestProcessesOfANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := memory.NewHub()
		a, b := pair(t, hub)
		hub.Kill("b")
		a.post("b", "nobody")
		expect(t, a, "returned nobody")
		hub.Expire("b")
		expect(t, a, "down b")
		if a.Peer("b") != nil {
			t.Error("the dead node still has a link")
		}
		again := start(t, hub.Bus("b"))
		expect(t, a, "up b")
		again.post("a", "hello")
		expect(t, a, "b 1 hello")
		// A third process takes the name before the second is found dead.
		hub.Kill("b")
		third := start(t, hub.Bus("b"))
		expect(t, a, "down b", "up b")
		third.post("a", "third")
		expect(t, a, "b 1 third")
		_ = b
	})
}

// A process that speaks before the bus tells of it is taken for new; one that is
// known to be gone is not heard.
func TestStragglers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{events: make(chan storage.BusEvent)}
		n := start(t, f)
		f.events <- f.message(7, 1, "early")
		expect(t, n, "up x", "x 1 early")
		f.events <- storage.BusEvent{Kind: storage.NodeUp, Node: "x", Epoch: 7}
		expect(t, n)
		f.events <- f.message(6, 1, "of an earlier process")
		expect(t, n)
		f.events <- storage.BusEvent{Kind: storage.NodeDown, Node: "x", Epoch: 7}
		expect(t, n, "down x")
		f.events <- f.message(7, 6, "late")
		expect(t, n)
		f.events <- f.message(8, 1, "new")
		expect(t, n, "up x", "x 1 new")
		f.events <- f.message(9, 1, "newer")
		expect(t, n, "down x", "up x", "x 1 newer")
		f.events <- storage.BusEvent{Kind: storage.NodeDown, Node: "x", Epoch: 8}
		expect(t, n)
		f.events <- storage.BusEvent{Kind: storage.BusMessage, Data: []byte("\x01\x00\x01")}
		f.events <- storage.BusEvent{Kind: storage.BusMessage, Data: []byte("\x09")}
		expect(t, n)
		f.events <- storage.BusEvent{Kind: storage.BusMessage, Data: []byte("\x01\x00\x01x\x09\x01\x02\x01\x09cut")}
		expect(t, n, "lost x")
	})
}

// What was given back to its poster, or belongs to an earlier link, comes too late.
func TestLateMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{events: make(chan storage.BusEvent)}
		n := start(t, f)
		f.events <- f.messageOf(7, 1, 1, "one")
		f.events <- f.messageOf(7, 1, 3, "three")
		expect(t, n, "up x", "x 1 one", "lost x", "x 1 three")
		f.events <- f.messageOf(7, 1, 2, "two")
		f.events <- f.messageOf(7, 1, 3, "again")
		expect(t, n)
		f.events <- f.messageOf(7, 1, 4, "four")
		expect(t, n, "x 1 four")
		// The node took this one for dead in between, and numbers anew.
		f.events <- f.messageOf(7, 2, 5, "five")
		f.events <- f.messageOf(7, 1, 6, "of the earlier link")
		f.events <- f.messageOf(7, 2, 6, "six")
		expect(t, n, "lost x", "x 1 five", "x 1 six")
	})
}

// told is a bus that can be made to tell more.
type told struct {
	storage.Bus
	tell func(storage.BusEvent)
}

func (b *told) Listen(ctx context.Context, f func(storage.BusEvent)) error {
	b.tell = f
	return b.Bus.Listen(ctx, f)
}

// A process that was taken for dead learns that it missed something, even when nothing
// had reached it before.
func TestAgainAfterDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := memory.NewHub()
		bus := &told{Bus: hub.Bus("a")}
		a := start(t, bus)
		other := hub.Bus("b")
		b := start(t, other)
		expect(t, b, "up a")
		hub.Fail(func(string, string, []byte) memory.Fault { return memory.Unreachable })
		a.post("b", "answer")
		expect(t, a, "up b", "returned answer")
		_, epoch := other.Node()
		bus.tell(storage.BusEvent{Kind: storage.NodeDown, Node: "b", Epoch: epoch})
		bus.tell(storage.BusEvent{Kind: storage.NodeUp, Node: "b", Epoch: epoch})
		expect(t, a, "down b", "up b")
		hub.Fail(nil)
		a.post("b", "news")
		expect(t, b, "lost a", "a 1 news")
	})
}

// A node that does not keep up loses messages, not memory, and is told so.
func TestSlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, memory.NewHub())
		b.mu.Lock()
		b.hold = make(chan struct{})
		b.mu.Unlock()
		for range 300 {
			a.post("b", string(bytes.Repeat([]byte{'x'}, 256<<10)))
			synctest.Wait()
		}
		b.mu.Lock()
		close(b.hold)
		b.hold = nil
		b.mu.Unlock()
		first := len(b.took())
		if first < 200 || first > 270 {
			t.Errorf("%d of 300 messages were kept", first)
		}
		a.post("b", "next")
		expect(t, b, "lost a", "a 1 next")
	})
}

func TestFullQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, memory.NewHub())
		fits := 0
		for range 100 {
			if a.Peer("b").Post(1, make([]byte, 256<<10)) {
				fits++
			}
		}
		if fits < 60 || fits > 64 {
			t.Errorf("%d items of 256 KiB fit", fits)
		}
		a.Peer("b").Flush()
		if got := b.took(); len(got) != fits+1 || got[0] != "lost a" {
			t.Errorf("%d events, first %q", len(got), got[0])
		}
	})
}

// fake is a bus whose events the test makes.
type fake struct{ events chan storage.BusEvent }

func (f *fake) Node() (string, uint64) { return "n", 1 }

func (f *fake) Publish(context.Context, string, []byte) error { return errors.New("deaf") }

func (f *fake) Listen(ctx context.Context, take func(storage.BusEvent)) error {
	take(storage.BusEvent{Kind: storage.BusReady})
	for {
		select {
		case e := <-f.events:
			take(e)
		case <-ctx.Done():
			return nil
		}
	}
}

// message is an envelope of the first link of the node x.
func (f *fake) message(epoch, seq byte, item string) storage.BusEvent {
	return f.messageOf(epoch, 1, seq, item)
}

func (f *fake) messageOf(epoch, link, seq byte, item string) storage.BusEvent {
	data := []byte{1, 0, 1, 'x', epoch, link, seq, 1, byte(len(item))}
	return storage.BusEvent{Kind: storage.BusMessage, Data: append(data, item...)}
}
