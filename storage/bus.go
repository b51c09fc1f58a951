package storage

import (
	"context"
	"errors"
)

// ErrNobody says that a node does not listen: nothing was delivered.
var ErrNobody = errors.New("storage: nobody listens")

// BusEventKind says what a BusEvent is.
type BusEventKind int

// The kinds of event.
const (
	// BusMessage brings Data that another node published for this one.
	BusMessage BusEventKind = iota + 1
	// BusGap says that messages from any node may be missing before the next one.
	BusGap
	// NodeUp says that another node lives: its name and the epoch of its process.
	NodeUp
	// NodeDown says that a node that was up is dead: its lease ran out, it said
	// good-bye, or a new process took its name (NodeUp with the new epoch follows).
	NodeDown
	// BusReady comes once, when this node listens and NodeUp has been told for every
	// node that lived by then.
	BusReady
)

// BusEvent is something that happened on a Bus.
type BusEvent struct {
	Kind  BusEventKind
	Node  string // of NodeUp and NodeDown
	Epoch uint64 // of NodeUp and NodeDown
	Data  []byte // of BusMessage; not kept by the Bus
}

// Bus joins the processes, called nodes, that serve the same users.
type Bus interface {
	// Node is the name of this node, and the epoch of this process: a later process
	// of that name has a greater one.
	Node() (name string, epoch uint64)
	// Publish hands data to another node. What one goroutine publishes arrives in
	// order, each message at most once. It returns ErrNobody when the node does not
	// listen; after any other error the message may have arrived. It fails with
	// ErrUnavailable within a second when the Bus cannot be reached.
	Publish(ctx context.Context, node string, data []byte) error
	// Listen makes this node known to others and calls f for every event, one at a
	// time, until ctx ends; then it says good-bye and returns nil. It may be called
	// once. An error ends it only when it can never work.
	Listen(ctx context.Context, f func(BusEvent)) error
}
