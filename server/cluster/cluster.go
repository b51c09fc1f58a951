// Package cluster keeps a link to each of the other nodes that serve the same users:
// what is posted to a node arrives there in order and at most once, many items in one
// message of the bus, and whatever is missing is noticed at both ends.
package cluster

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"rollcall/storage"
)

// Item is one thing that a node tells another.
type Item struct {
	Kind byte
	Data []byte // valid during the call that brings it
}

// Handler takes what happens on the links. Calls of Up, Received, Lost and Down about
// one node come one at a time and in order; about different nodes they come at once.
type Handler interface {
	// Up says that a node lives. What it knows is not known here.
	Up(p *Peer)
	// Received brings what the node posted.
	Received(p *Peer, items []Item)
	// Lost says that some of what the node posted did not arrive.
	Lost(p *Peer)
	// Down says that the process is gone; nothing more comes from it.
	Down(p *Peer)
	// Returned brings items that the node did not get, or that nobody knows to have
	// reached it. It may come at the same time as anything else but another Returned.
	Returned(p *Peer, items []Item)
}

// Config is what a Cluster is made of; every field is needed.
type Config struct {
	Bus     storage.Bus
	Handler Handler
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Cluster is this node's end of all links.
type Cluster struct {
	bus     storage.Bus
	handler Handler
	log     *slog.Logger
	metrics *metrics
	name    string
	epoch   uint64

	peers   atomic.Pointer[map[string]*Peer] // changed by the listening goroutine only
	ended   map[string]former                // by node; of the listening goroutine
	links   uint64                           // made so far; of the listening goroutine
	ready   chan struct{}
	missing sync.Mutex     // held while items are given back
	work    sync.WaitGroup // of the peers
}

// former is a node's process that is gone.
type former struct {
	epoch uint64          // what is still under way from it must not bring it back
	told  <-chan struct{} // closed when the handler knows
}

// New makes a Cluster; Run starts it.
func New(c Config) (*Cluster, error) {
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, err
	}
	cl := &Cluster{bus: c.Bus, handler: c.Handler, log: c.Log, metrics: m,
		ended: make(map[string]former), ready: make(chan struct{})}
	cl.name, cl.epoch = c.Bus.Node()
	cl.peers.Store(&map[string]*Peer{})
	return cl, nil
}

// Node is this node's name.
func (c *Cluster) Node() string { return c.name }

// Epoch is that of this process.
func (c *Cluster) Epoch() uint64 { return c.epoch }

// Ready is closed when Up was queued for every node that lived when this one began
// to listen.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

// Peer returns the link to a node that lives, or nil.
func (c *Cluster) Peer(node string) *Peer { return (*c.peers.Load())[node] }

// Peers returns the links to the nodes that live; the map must not be changed.
func (c *Cluster) Peers() map[string]*Peer { return *c.peers.Load() }

// Run listens until ctx ends; then it sends what waits, says good-bye and returns.
// It returns an error only when the bus can never work.
func (c *Cluster) Run(ctx context.Context) error {
	listening, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	listened := make(chan error, 1)
	go func() { listened <- c.bus.Listen(listening, c.take) }()
	var err error
	select {
	case err = <-listened:
	case <-ctx.Done():
		var farewell sync.WaitGroup
		for _, p := range c.Peers() {
			farewell.Go(p.leave)
		}
		farewell.Wait()
		stop()
		err = <-listened
	}
	for _, p := range c.Peers() {
		c.remove(p)
	}
	c.work.Wait()
	return err
}

// take handles an event of the bus.
func (c *Cluster) take(e storage.BusEvent) {
	switch e.Kind {
	case storage.BusMessage:
		c.message(e.Data)
	case storage.BusGap:
		c.metrics.gaps.Inc()
		for _, p := range c.Peers() {
			p.in.put(event{kind: lost})
		}
	case storage.NodeUp:
		if p := c.Peer(e.Node); p == nil || p.epoch < e.Epoch {
			c.add(e.Node, e.Epoch)
		}
	case storage.NodeDown:
		c.down(e.Node, e.Epoch)
	case storage.BusReady:
		close(c.ready)
	}
}

func (c *Cluster) message(data []byte) {
	env, err := readEnvelope(data)
	if err != nil {
		c.log.Error("a node's message cannot be read", "node", env.from, "err", err)
		return
	}
	p := c.Peer(env.from)
	switch {
	case p != nil && p.epoch > env.epoch || p == nil && env.epoch <= c.ended[env.from].epoch || env.from == c.name:
		return // of a process that is gone
	case p == nil || p.epoch < env.epoch:
		p = c.add(env.from, env.epoch)
	}
	if env.bye {
		c.down(env.from, env.epoch)
		return
	}
	if env.link < p.link || env.link == p.link && env.seq <= p.last {
		return // its items went back to who posted them, and were told anew since
	}
	if first := p.link == 0; env.link != p.link && !first || env.seq != p.last+1 {
		c.metrics.lost.Inc()
		p.in.put(event{kind: lost})
	}
	// When there is no room, the next one that fits shows that something is missing.
	if p.in.put(event{kind: received, items: env.items}) {
		p.link, p.last = env.link, env.seq
	}
}

// add makes the link to a node's process, instead of that to an earlier one.
func (c *Cluster) add(node string, epoch uint64) *Peer {
	if old := c.Peer(node); old != nil {
		c.remove(old)
	}
	before := c.ended[node]
	c.links++
	p := newPeer(c, node, epoch, c.links)
	p.gap = before.epoch == epoch // it may not know what it missed of the link before
	peers := maps.Clone(c.Peers())
	peers[node] = p
	c.peers.Store(&peers)
	p.in.put(event{kind: up})
	c.work.Go(p.publish)
	c.work.Go(func() { p.handle(before.told) })
	c.log.Info("node up", "node", node, "epoch", epoch)
	return p
}

func (c *Cluster) down(node string, epoch uint64) {
	if p := c.Peer(node); p != nil && p.epoch <= epoch {
		c.remove(p)
	}
	if was := c.ended[node]; was.epoch < epoch {
		c.ended[node] = former{epoch, was.told}
	}
}

func (c *Cluster) remove(p *Peer) {
	peers := maps.Clone(c.Peers())
	delete(peers, p.name)
	c.peers.Store(&peers)
	p.end()
	c.ended[p.name] = former{p.epoch, p.in.done}
	c.log.Info("node down", "node", p.name, "epoch", p.epoch)
}
