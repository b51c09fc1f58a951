package proxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// What goes wrong with connections, besides HalfOpen.
const (
	Reset Fault = "reset" // both sides get a reset (RST), perhaps in the middle of a frame
	Fin   Fault = "fin"   // both sides get an orderly end (FIN), perhaps in the middle of a frame
	Stall Fault = "stall" // nothing passes for a while
)

// RelayConfig is how a proxy for bytes behaves.
type RelayConfig struct {
	Target string // host:port of the server
	Seed   uint64
	// Faults are the chances of each connection. After a stall they are taken
	// again.
	Faults Faults
	// Life is the longest time, and Bytes the greatest number of bytes in both
	// directions together, after which it goes wrong.
	Life  time.Duration
	Bytes int64
	// MaxStall is the longest stall.
	MaxStall time.Duration
}

// Relay is a proxy that knows bytes only.
type Relay struct {
	*base
	cfg RelayConfig
	// hoses are the connections under way; guarded by base.mu.
	hoses map[*hose]struct{}
}

// ListenRelay starts a proxy on a free port of the loopback interface.
func ListenRelay(c RelayConfig) (*Relay, error) {
	b, err := listen(c.Target, c.Seed)
	if err != nil {
		return nil, err
	}
	r := &Relay{base: b, cfg: c, hoses: make(map[*hose]struct{})}
	b.accept(r.serve)
	return r, nil
}

// Freeze has every connection that is open now pass nothing any more. Neither
// side is told, whatever the other does.
func (r *Relay) Freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h := range r.hoses {
		h.freeze()
	}
}

// hose is one connection through the proxy.
type hose struct {
	r              *Relay
	client, server *net.TCPConn
	done           chan struct{} // closed when both sides have ended

	mu     sync.Mutex
	turned *sync.Cond // blocked or frozen changes
	// blocked says that nothing passes for now; frozen that nothing does for ever.
	blocked, frozen bool
	bytes           int64         // that may pass before it goes wrong; negative for any number
	spent           chan struct{} // closed when they have
}

func (r *Relay) serve(client *net.TCPConn, number uint64) {
	server, err := r.dial()
	if err != nil {
		r.count(Broken)
		return
	}
	defer r.untrack(server)
	h := &hose{r: r, client: client, server: server, done: make(chan struct{}), bytes: -1, spent: make(chan struct{})}
	h.turned = sync.NewCond(&h.mu)
	r.mu.Lock()
	r.hoses[h] = struct{}{}
	r.mu.Unlock()
	var pumps sync.WaitGroup
	pumps.Go(func() { h.pump(server, client) })
	pumps.Go(func() { h.pump(client, server) })
	r.work.Go(func() {
		pumps.Wait()
		close(h.done)
	})
	for n := uint64(0); h.suffer(r.rand(number, n)); n++ {
	}
	<-h.done
	r.mu.Lock()
	delete(r.hoses, h)
	r.mu.Unlock()
}

// suffer has one thing go wrong, after some time or some bytes, and reports
// whether more may.
func (h *hose) suffer(rnd *rand.Rand) bool {
	fault := h.r.cfg.Faults.choose(rnd)
	spent := h.plan(1 + rnd.Int64N(max(h.r.cfg.Bytes, 1)))
	life := time.NewTimer(upTo(rnd, h.r.cfg.Life))
	defer life.Stop()
	select {
	case <-life.C:
	case <-spent:
	case <-h.done:
		return false
	}
	if h.r.isCalm() || h.isFrozen() {
		fault = None
	}
	if fault != None {
		h.r.count(fault)
	}
	switch fault {
	case Reset, Fin:
		cut(h.server, fault == Reset)
		cut(h.client, fault == Reset)
		h.plan(-1)
		return false
	case HalfOpen:
		h.freeze()
		return false
	case Stall:
		h.block()
		h.r.pause(upTo(rnd, h.r.cfg.MaxStall))
		return true
	}
	h.plan(-1)
	return false
}

// plan lets a number of bytes pass; then nothing does, and the channel is closed.
func (h *hose) plan(bytes int64) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes, h.blocked, h.spent = bytes, false, make(chan struct{})
	h.turned.Broadcast()
	return h.spent
}

func (h *hose) block() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blocked = true
}

func (h *hose) freeze() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frozen = true
	h.turned.Broadcast()
}

func (h *hose) isFrozen() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.frozen
}

// grant waits until anything may pass and tells how many of n bytes may; frozen
// says that nothing ever will.
func (h *hose) grant(n int) (now int, frozen bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.blocked && !h.frozen {
		h.turned.Wait()
	}
	if h.frozen || h.bytes < 0 {
		return n, h.frozen
	}
	now = int(min(int64(n), h.bytes))
	if h.bytes -= int64(now); h.bytes == 0 && now > 0 {
		h.blocked = true
		close(h.spent)
	}
	return now, false
}

// pump carries what one side says to the other. What the side of a frozen
// connection says is swallowed, and so is its end.
func (h *hose) pump(to, from *net.TCPConn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			now, frozen := h.grant(len(rest))
			if !frozen {
				// A side that is gone says so itself.
				_, _ = to.Write(rest[:now])
			}
			rest = rest[now:]
		}
		if err == nil {
			continue
		}
		switch _, frozen := h.grant(0); {
		case frozen:
		case errors.Is(err, io.EOF):
			// Fails if it is closed already.
			_ = to.CloseWrite()
		default:
			cut(to, true)
		}
		return
	}
}
