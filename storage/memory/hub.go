package memory

import (
	"context"
	"errors"
	"slices"
	"sync"

	"rollcall/storage"
)

// Hub joins several nodes within one process, for tests of what they do together.
type Hub struct {
	mu    sync.Mutex
	epoch uint64
	nodes map[string]*node // that listen, or listened and were not found dead yet
	fault func(from, to string, data []byte) Fault
}

// Fault is what goes wrong with a message.
type Fault int

// The faults.
const (
	Fine        Fault = iota
	Lost              // it vanishes: the publisher is told that it was delivered
	Unreachable       // the publisher is told that the bus is unavailable
)

// NewHub makes a Hub without nodes.
func NewHub() *Hub { return &Hub{nodes: make(map[string]*node)} }

// Fail makes f decide the fate of each message from now on; nil makes all well.
func (h *Hub) Fail(f func(from, to string, data []byte) Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fault = f
}

// Gap tells a node that messages may be missing.
func (h *Hub) Gap(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.nodes[name]; n != nil {
		n.put(storage.BusEvent{Kind: storage.BusGap})
	}
}

// Kill cuts a node off: it neither sends nor gets anything any more. Others are told
// by Expire.
func (h *Hub) Kill(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.nodes[name]; n != nil {
		n.dead = true
	}
}

// Expire tells the others that a killed node is dead.
func (h *Hub) Expire(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.nodes[name]; n != nil {
		h.leave(n)
	}
}

// leave takes a node out and tells the others.
func (h *Hub) leave(n *node) {
	if h.nodes[n.name] != n {
		return
	}
	delete(h.nodes, n.name)
	for _, other := range h.nodes {
		other.put(storage.BusEvent{Kind: storage.NodeDown, Node: n.name, Epoch: n.epoch})
	}
}

// Bus returns a new process of the node of that name.
func (h *Hub) Bus(name string) storage.Bus {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epoch++
	return &node{hub: h, name: name, epoch: h.epoch, wake: make(chan struct{}, 1)}
}

// node is one process on a Hub. What changes is under the Hub's lock.
type node struct {
	hub   *Hub
	name  string
	epoch uint64
	queue []storage.BusEvent
	wake  chan struct{}
	taken bool // Listen was called
	dead  bool
}

var _ storage.Bus = (*node)(nil)

// Node implements storage.Bus.
func (n *node) Node() (name string, epoch uint64) { return n.name, n.epoch }

// Publish implements storage.Bus.
func (n *node) Publish(ctx context.Context, to string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h := n.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if n.dead {
		return storage.ErrUnavailable
	}
	if h.fault != nil {
		switch h.fault(n.name, to, data) {
		case Fine:
		case Lost:
			return nil
		case Unreachable:
			return storage.ErrUnavailable
		}
	}
	target := h.nodes[to]
	if target == nil || target.dead {
		return storage.ErrNobody
	}
	target.put(storage.BusEvent{Kind: storage.BusMessage, Data: slices.Clone(data)})
	return nil
}

// Listen implements storage.Bus.
func (n *node) Listen(ctx context.Context, f func(storage.BusEvent)) error {
	if err := n.hub.join(n); err != nil {
		return err
	}
	for ctx.Err() == nil {
		select {
		case <-n.wake:
		case <-ctx.Done():
			continue
		}
		n.hub.mu.Lock()
		events := n.queue
		n.queue = nil
		n.hub.mu.Unlock()
		for _, e := range events {
			if ctx.Err() == nil {
				f(e)
			}
		}
	}
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	if !n.dead {
		n.hub.leave(n)
	}
	return nil
}

var errListened = errors.New("memory: Listen was called before")

// join makes a node known to all others, and them to it.
func (h *Hub) join(n *node) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n.taken {
		return errListened
	}
	n.taken = true
	if old := h.nodes[n.name]; old != nil {
		h.leave(old)
	}
	for _, other := range h.nodes {
		other.put(storage.BusEvent{Kind: storage.NodeUp, Node: n.name, Epoch: n.epoch})
		n.put(storage.BusEvent{Kind: storage.NodeUp, Node: other.name, Epoch: other.epoch})
	}
	h.nodes[n.name] = n
	n.put(storage.BusEvent{Kind: storage.BusReady})
	return nil
}

func (n *node) put(e storage.BusEvent) {
	if n.dead {
		return
	}
	n.queue = append(n.queue, e)
	select {
	case n.wake <- struct{}{}:
	default:
	}
}
