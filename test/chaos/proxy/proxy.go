// Package proxy is a network that goes wrong: real TCP proxies between clients and
// a server that delay, reorder, repeat and cut what passes, as a seed says. HTTP
// knows requests, for BOSH; Relay knows bytes only, for WebSocket.
package proxy

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault is something that goes wrong.
type Fault string

// Faults are chances between 0 and 1; what is left of 1 goes well.
type Faults map[Fault]float64

// choose picks at most one fault.
func (f Faults) choose(rnd *rand.Rand) Fault {
	x := rnd.Float64()
	for _, k := range slices.Sorted(maps.Keys(f)) {
		if x -= f[k]; x < 0 {
			return k
		}
	}
	return None
}

// Times are the same faults with other chances.
func (f Faults) Times(factor float64) Faults {
	more := make(Faults, len(f))
	for k, chance := range f {
		more[k] = chance * factor
	}
	return more
}

// None is when nothing goes wrong.
const None Fault = "none"

// Counts are how often each fault came about.
type Counts map[Fault]int

func (c Counts) String() string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(c)) {
		all = append(all, fmt.Sprintf("%s %d", k, c[k]))
	}
	return strings.Join(all, ", ")
}

// base accepts connections and knows what is open.
type base struct {
	ln     net.Listener
	target string
	seed   uint64
	ctx    context.Context // until Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	counts Counts
	conns  map[net.Conn]struct{}
	calm   bool
}

func listen(target string, seed uint64) (*base, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &base{ln: ln, target: target, seed: seed, counts: Counts{}, conns: make(map[net.Conn]struct{})}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b, nil
}

// accept calls serve with each connection and its number, on a goroutine of its
// own, and closes the connection after that.
func (b *base) accept(serve func(c *net.TCPConn, number uint64)) {
	b.work.Go(func() {
		for number := uint64(0); ; number++ {
			nc, err := b.ln.Accept()
			if err != nil {
				return // closed
			}
			if !b.track(nc) {
				return
			}
			b.work.Go(func() {
				defer b.untrack(nc)
				serve(nc.(*net.TCPConn), number)
			})
		}
	})
}

// dial connects to the server. The caller untracks the connection.
func (b *base) dial() (*net.TCPConn, error) {
	var d net.Dialer
	nc, err := d.DialContext(b.ctx, "tcp", b.target)
	if err != nil {
		return nil, err
	}
	if !b.track(nc) {
		return nil, net.ErrClosed
	}
	return nc.(*net.TCPConn), nil
}

func (b *base) track(nc net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		nc.Close()
		return false
	}
	b.conns[nc] = struct{}{}
	return true
}

func (b *base) untrack(nc net.Conn) {
	nc.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, nc)
}

func (b *base) count(f Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[f]++
}

// rand is the chance of one connection's n-th decision.
func (b *base) rand(connection, n uint64) *rand.Rand {
	return rand.New(rand.NewPCG(b.seed, connection<<32|n))
}

func (b *base) isCalm() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calm
}

// pause lets time pass, unless the proxy is closed.
func (b *base) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.ctx.Done():
	}
}

// Addr is where clients connect to.
func (b *base) Addr() string { return b.ln.Addr().String() }

// Counts tells what has gone wrong so far.
func (b *base) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.counts)
}

// Calm has nothing go wrong from now on; what has gone wrong stays so.
func (b *base) Calm() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calm = true
}

// Close cuts everything and waits until nothing is left.
func (b *base) Close() {
	b.cancel()
	b.ln.Close()
	b.mu.Lock()
	for nc := range b.conns {
		nc.Close()
	}
	b.mu.Unlock()
	b.work.Wait()
}

// upTo is a random time.
func upTo(rnd *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rnd.Int64N(int64(d) + 1))
}

// cut closes a connection with a reset (RST) or in an orderly way (FIN).
func cut(nc *net.TCPConn, reset bool) {
	if reset {
		// If this fails the connection is gone already.
		_ = nc.SetLinger(0)
	}
	nc.Close()
}
