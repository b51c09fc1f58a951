package server

import (
	"slices"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
)

// Peers is what a module does about the other nodes of the community. Calls about
// one node come one at a time and in order; about different nodes they come at once.
// They run on goroutines that may wait for a moment. What they send through the Batch
// goes out when they return.
type Peers interface {
	// Joined says that a node lives, or that some of what it told may have been lost:
	// the module asks it for what it needs.
	Joined(b *Batch, node string)
	// Told brings what this module on another node sent with Host.Tell. data is valid
	// during the call.
	Told(b *Batch, node string, data []byte)
	// Left says that the node is dead, and everybody connected to it gone.
	Left(b *Batch, node string)
}

// Returner is a Peers that sends what does not come true again by itself.
type Returner interface {
	Peers
	// Returned brings back what this module sent with Host.Tell, and the node did not get
	// or nobody knows to have reached it. It may come at the same time as anything else
	// but another Returned. data is valid during the call.
	Returned(b *Batch, node string, data []byte)
}

// OnNodes makes p hear of other nodes. A module calls it once, in Start.
func (h *Host) OnNodes(p Peers) {
	h.srv.changePeers(func(m map[string]Peers) { m[h.module.Name()] = p })
	h.undo = append(h.undo, func() { h.srv.changePeers(func(m map[string]Peers) { delete(m, h.module.Name()) }) })
}

// Node is the name of this node; it is empty when the server runs alone.
func (h *Host) Node() string { return h.srv.nodes.name() }

// Nodes lists the other nodes that live, in order.
func (h *Host) Nodes() []string {
	var names []string
	for name := range h.srv.nodes.peers() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// NodesOf lists the other nodes where messages to a bare address are taken, as far as
// this one knows.
func (h *Host) NodesOf(bare jid.JID) (names []string) {
	for _, p := range h.srv.nodes.others(bare, (*route).takesBare) {
		names = append(names, p.Name())
	}
	return names
}

// Tell sends data, which is copied, to this module on another node: after everything
// posted to that node before, and with b's Flush. What cannot be handed over then comes
// back to a Returner, or is dropped; the node then hears Joined. False says that the node
// takes nothing.
func (h *Host) Tell(b *Batch, node string, data []byte) bool {
	p := h.srv.nodes.peer(node)
	if p == nil {
		return false
	}
	b.item = append(packed.AppendString(b.item[:0], h.module.Name()), data...)
	return b.post(p, itemModule)
}
