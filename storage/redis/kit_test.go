package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"rollcall/internal/redistest"
	"rollcall/storage"
	"rollcall/storage/redis"
)

// node is a store that listens and remembers what it is told.
type node struct {
	*redis.Store
	name  string
	epoch uint64
	end   context.CancelFunc
	ended chan error // what Listen returned

	mu     sync.Mutex
	events []storage.BusEvent
	hold   chan struct{}          // while it is open, messages wait
	take   func(storage.BusEvent) // takes events instead, if set
}

// listen opens a store and lets it listen; it is ready.
func listen(t testing.TB, c redis.Config) *node {
	t.Helper()
	n := &node{Store: open(t, c), ended: make(chan error, 1)}
	n.name, n.epoch = n.Node()
	ctx, cancel := context.WithCancel(context.Background())
	n.end = cancel
	go func() { n.ended <- n.Listen(ctx, n.tell) }()
	t.Cleanup(func() {
		cancel()
		if err := n.wait(t); err != nil && !errors.Is(err, redis.ErrName) {
			t.Errorf("%s: Listen: %v", n.name, err)
		}
	})
	n.await(t, "BusReady", func(e storage.BusEvent) bool { return e.Kind == storage.BusReady })
	return n
}

func (n *node) tell(e storage.BusEvent) {
	n.mu.Lock()
	hold, take := n.hold, n.take
	if take == nil {
		n.events = append(n.events, e)
	}
	n.mu.Unlock()
	if take != nil {
		take(e)
		return
	}
	if hold != nil && e.Kind == storage.BusMessage {
		<-hold
	}
}

// wait waits for the end of Listen.
func (n *node) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-n.ended:
		n.ended <- err
		return err
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: Listen does not return", n.name)
		return nil
	}
}

func (n *node) all() []storage.BusEvent {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.events)
}

func (n *node) count(f func(storage.BusEvent) bool) (times int) {
	for _, e := range n.all() {
		if f(e) {
			times++
		}
	}
	return times
}

func (n *node) await(t testing.TB, what string, f func(storage.BusEvent) bool) {
	t.Helper()
	redistest.Until(t, n.name+" is told "+what, func() bool { return n.count(f) > 0 })
}

// forget starts the list of events anew.
func (n *node) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = nil
}

func isGap(e storage.BusEvent) bool  { return e.Kind == storage.BusGap }
func isDown(e storage.BusEvent) bool { return e.Kind == storage.NodeDown }

func isUp(o *node) func(storage.BusEvent) bool {
	return func(e storage.BusEvent) bool {
		return e.Kind == storage.NodeUp && e.Node == o.name && e.Epoch == o.epoch
	}
}

func isDownOf(name string, epoch uint64) func(storage.BusEvent) bool {
	return func(e storage.BusEvent) bool { return isDown(e) && e.Node == name && e.Epoch == epoch }
}

func isData(data string) func(storage.BusEvent) bool {
	return func(e storage.BusEvent) bool { return e.Kind == storage.BusMessage && string(e.Data) == data }
}

// pair opens two nodes that know each other.
func pair(t testing.TB, s *redistest.Server, change ...func(*redis.Config)) (a, b *node) {
	t.Helper()
	ca, cb := config(t, s, "a"), config(t, s, "b")
	for _, f := range change {
		f(&ca)
		f(&cb)
	}
	a, b = listen(t, ca), listen(t, cb)
	a.await(t, "b", isUp(b))
	b.await(t, "a", isUp(a))
	a.forget()
	b.forget()
	return a, b
}

// reaches waits until a message from one node comes to another.
func (n *node) reaches(t testing.TB, o *node) {
	t.Helper()
	try, last := 0, error(nil)
	redistest.Until(t, fmt.Sprintf("%s reaches %s", n.name, o.name), func() bool {
		try++
		data := fmt.Sprintf("%s to %s, try %d", n.name, o.name, try)
		if last = n.Publish(t.Context(), o.name, []byte(data)); last != nil {
			return false
		}
		for late := time.Now().Add(time.Second); time.Now().Before(late); time.Sleep(time.Millisecond) {
			if o.count(isData(data)) > 0 {
				return true
			}
		}
		return false
	})
}

// unavailableSoon wants ErrUnavailable within a second from a publisher.
func (n *node) unavailableSoon(t testing.TB, to string) {
	t.Helper()
	start := time.Now()
	err := n.Publish(t.Context(), to, []byte("x"))
	if took := time.Since(start); !errors.Is(err, storage.ErrUnavailable) || took > time.Second {
		t.Errorf("Publish: %v after %v, want ErrUnavailable within a second", err, took)
	}
}

// wire carries connections to a server, until it falls silent.
type wire struct {
	addr string

	mu    sync.Mutex
	to    string // where new connections go
	pairs []*pairOfConns
}

type pairOfConns struct {
	mu     sync.Mutex
	silent bool
	ends   [2]net.Conn
}

func newWire(t testing.TB, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: l.Addr().String(), to: to}
	var carriers sync.WaitGroup
	carriers.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // the end of the test
			}
			w.mu.Lock()
			to := w.to
			w.mu.Unlock()
			server, err := net.Dial("tcp", to)
			if err != nil {
				t.Error(errors.Join(err, client.Close()))
				return
			}
			p := &pairOfConns{ends: [2]net.Conn{client, server}}
			w.mu.Lock()
			w.pairs = append(w.pairs, p)
			w.mu.Unlock()
			carriers.Go(func() { p.carry(0, 1) })
			carriers.Go(func() { p.carry(1, 0) })
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		w.mu.Lock()
		for _, p := range w.pairs {
			p.close()
		}
		w.mu.Unlock()
		carriers.Wait()
	})
	return w
}

// silence lets nothing pass any more on the connections there are.
func (w *wire) silence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pairs {
		p.mu.Lock()
		p.silent = true
		p.mu.Unlock()
	}
}

// move lets new connections go to another server.
func (w *wire) move(to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = to
}

func (p *pairOfConns) carry(from, to int) {
	buf := make([]byte, 64<<10)
	for {
		n, err := p.ends[from].Read(buf)
		p.mu.Lock()
		silent := p.silent
		p.mu.Unlock()
		if silent && err == nil {
			continue // it is lost
		}
		if err == nil {
			_, err = p.ends[to].Write(buf[:n])
		}
		if err != nil {
			if !silent {
				p.close()
			}
			return
		}
	}
}

func (p *pairOfConns) close() {
	for _, c := range p.ends {
		_ = c.Close() // the other direction may have closed it
	}
}
