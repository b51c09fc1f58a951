package cluster

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxQueue bounds what waits for one node, in bytes.
	maxQueue = 16 << 20
	// maxInbox bounds what came from one node and was not handled yet, in bytes.
	maxInbox = 64 << 20
	// pokeTime is how often a node that could not be reached is tried when nothing is
	// posted to it.
	pokeTime = time.Second
)

// Peer is the link to one process of a node. Its methods are safe for concurrent use.
type Peer struct {
	c     *Cluster
	name  string
	epoch uint64
	in    inbox
	own   uint64 // number of this link

	// Of the last envelope that came; of the listening goroutine.
	link, last uint64

	mu     sync.Mutex
	queue  []byte // items
	gap    bool   // something was not even queued
	ended  bool
	failed atomic.Bool // the last time that something was sent
	wake   chan struct{}
	ending chan struct{} // closed by end
	stop   sync.Once
	leaves chan struct{} // closed by leave
	gone   chan struct{} // closed when nothing is sent any more
}

func newPeer(c *Cluster, name string, epoch, number uint64) *Peer {
	return &Peer{
		c: c, name: name, epoch: epoch, in: newInbox(), own: number,
		wake: make(chan struct{}, 1), ending: make(chan struct{}),
		leaves: make(chan struct{}), gone: make(chan struct{}),
	}
}

// Name is the node's name.
func (p *Peer) Name() string { return p.name }

// Epoch is that of the node's process.
func (p *Peer) Epoch() uint64 { return p.epoch }

// Crowded reports whether so much waits to be sent that what can wait should.
func (p *Peer) Crowded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue) > maxQueue/4
}

// Failing reports whether the node was out of reach when something was sent to it last.
func (p *Peer) Failing() bool { return p.failed.Load() }

// Post queues an item, which is copied; Flush sends it. False says that there is no
// room or that the node is gone: the item is lost.
func (p *Peer) Post(kind byte, data []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || len(p.queue)+len(data) > maxQueue {
		p.gap = true
		p.c.metrics.refused.Inc()
		return false
	}
	p.queue = appendItem(p.queue, kind, data)
	p.c.metrics.posted.Inc()
	return true
}

// Flush sends what was posted, soon.
func (p *Peer) Flush() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// end lets nothing more in or out.
func (p *Peer) end() {
	p.stop.Do(func() {
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		close(p.ending)
		p.in.put(event{kind: down})
	})
}

// leave sends what waits and the good-bye.
func (p *Peer) leave() {
	close(p.leaves)
	<-p.gone
}

// publish sends what is posted until the link ends.
func (p *Peer) publish() {
	defer close(p.gone)
	s := sender{p: p, poke: time.NewTimer(pokeTime)}
	s.poke.Stop()
	defer s.poke.Stop()
	for {
		select {
		case <-p.wake:
			s.sendAll()
		case <-s.poke.C:
			if !s.send(nil) {
				s.missed(nil)
			}
		case <-p.leaves:
			s.sendAll()
			s.bye = true
			s.send(nil)
			return
		case <-p.ending:
			s.missed(p.take())
			return
		}
	}
}

// take empties the queue.
func (p *Peer) take() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	items := p.queue
	p.queue = nil
	return items
}

// sender is the state of a link's publishing goroutine.
type sender struct {
	p    *Peer
	seq  uint64
	buf  []byte
	bye  bool
	poke *time.Timer
}

func (s *sender) sendAll() {
	for items := s.p.take(); len(items) > 0; {
		n := firstItems(items)
		if !s.send(items[:n]) {
			// What comes after a loss is not worth another wait; the next that is posted
			// tries again.
			s.missed(items)
			return
		}
		items = items[n:]
	}
}

// send publishes one envelope. One that fails leaves a gap in the numbers, so that
// the node asks for what it missed as soon as one gets through.
func (s *sender) send(items []byte) bool {
	p := s.p
	p.mu.Lock()
	if p.gap {
		p.gap = false
		s.seq++
	}
	p.mu.Unlock()
	s.seq++
	env := envelope{bye: s.bye, from: p.c.name, epoch: p.c.epoch, link: p.own, seq: s.seq, items: items}
	s.buf = env.append(s.buf[:0])
	err := p.c.bus.Publish(context.Background(), p.name, s.buf)
	if cap(s.buf) > maxEnvelope {
		s.buf = nil
	}
	p.c.metrics.published(err)
	if err != nil {
		if !s.bye {
			s.poke.Reset(pokeTime)
		}
		if !p.failed.Load() && !s.bye {
			p.c.log.Warn("a node cannot be reached", "node", p.name, "err", err)
		}
		return false
	}
	if p.failed.Swap(false) {
		p.c.log.Info("a node is reached again", "node", p.name)
	}
	s.poke.Stop()
	return true
}

// missed gives back what the node did not get. One link at a time, so that when several
// fail at once the last knows of the others: see Peer.Failing.
func (s *sender) missed(data []byte) {
	s.p.c.missing.Lock()
	defer s.p.c.missing.Unlock()
	s.p.failed.Store(true)
	items, err := readItems(data)
	if err != nil {
		s.p.c.log.Error("own items cannot be read", "err", err)
	}
	s.p.c.metrics.returned.Add(float64(len(items)))
	if len(items) > 0 {
		s.p.c.handler.Returned(s.p, items)
	}
}

// handle tells the handler what comes, after the end of the process before this one.
func (p *Peer) handle(after <-chan struct{}) {
	defer close(p.in.done)
	if after != nil {
		<-after
	}
	h := p.c.handler
	for {
		e := p.in.next()
		switch e.kind {
		case up:
			h.Up(p)
		case lost:
			h.Lost(p)
		case down:
			h.Down(p)
			return
		case received:
			items, err := readItems(e.items)
			if err != nil {
				p.c.log.Error("a node's items cannot be read", "node", p.name, "err", err)
				h.Lost(p)
			}
			p.c.metrics.items.Add(float64(len(items)))
			h.Received(p, items)
		}
	}
}

// eventKind says what happened on a link.
type eventKind uint8

const (
	up eventKind = iota
	received
	lost
	down
)

type event struct {
	kind  eventKind
	items []byte
}

// inbox is what happened on a link and was not told yet.
type inbox struct {
	mu    sync.Mutex
	queue []event
	bytes int
	wake  chan struct{}
	done  chan struct{} // closed when everything was told
}

func newInbox() inbox {
	return inbox{wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// put adds an event. Messages that do not fit are refused.
func (in *inbox) put(e event) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if e.kind == received && in.bytes > 0 && in.bytes+len(e.items) > maxInbox {
		return false
	}
	n := len(in.queue)
	if e.kind == lost && n > 0 && in.queue[n-1].kind == lost {
		return true
	}
	in.queue = append(in.queue, e)
	in.bytes += len(e.items)
	select {
	case in.wake <- struct{}{}:
	default:
	}
	return true
}

// next waits for an event.
func (in *inbox) next() event {
	for {
		in.mu.Lock()
		if len(in.queue) > 0 {
			e := in.queue[0]
			in.queue[0] = event{}
			in.queue = in.queue[1:]
			in.bytes -= len(e.items)
			in.mu.Unlock()
			return e
		}
		in.mu.Unlock()
		<-in.wake
	}
}
