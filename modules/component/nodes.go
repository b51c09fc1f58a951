package component

import (
	"slices"

	"rollcall/internal/packed"
	"rollcall/server"
)

// What nodes tell each other of a component.
const (
	itemAsk    = iota // which are connected to you?
	itemUp            // it is connected to me
	itemDown          // it is not any more
	itemStanza        // a stanza for it
)

// item encodes what is told of the component.
func (c *component) item(kind uint64, el []byte) []byte {
	return append(packed.AppendString(packed.AppendUint(nil, kind), c.Name), el...)
}

// tellNodes tells every other node.
func (c *component) tellNodes(kind uint64) {
	b := c.m.host.NewBatch()
	defer b.Flush()
	for _, node := range c.m.host.Nodes() {
		c.m.host.Tell(b, node, c.item(kind, nil))
	}
}

// Joined implements server.Peers.
func (m *Module) Joined(b *server.Batch, node string) {
	m.Left(b, node)
	m.host.Tell(b, node, packed.AppendUint(nil, itemAsk))
}

// Left implements server.Peers.
func (m *Module) Left(_ *server.Batch, node string) {
	for _, c := range m.components {
		c.notAt(node)
	}
}

// notAt forgets that the component is connected to a node.
func (c *component) notAt(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.there = slices.DeleteFunc(c.there, func(name string) bool { return name == node })
}

// Told implements server.Peers.
func (m *Module) Told(b *server.Batch, node string, data []byte) {
	r := packed.NewReader(data)
	kind := r.Uint()
	if kind == itemAsk && r.Err() == nil {
		m.tellConnected(b, node)
		return
	}
	c := m.components[r.String()]
	el := r.Rest()
	if err := r.Err(); err != nil || c == nil {
		// A node with another configuration may have components that this one has not.
		m.host.Log().Warn("another node tells of an unknown component", "node", node, "err", err)
		return
	}
	switch kind {
	case itemUp:
		c.notAt(node)
		c.mu.Lock()
		c.there = append(c.there, node)
		c.mu.Unlock()
	case itemDown:
		c.notAt(node)
	case itemStanza:
		c.take(b, node, el)
	}
}

// Returned implements server.Returner: a stanza goes to the component if it is here by
// now, or back to its sender. All else is told again when the node is reached.
func (m *Module) Returned(b *server.Batch, node string, data []byte) {
	r := packed.NewReader(data)
	kind, name := r.Uint(), r.String()
	el := r.Rest()
	if c := m.components[name]; c != nil && kind == itemStanza && r.Err() == nil {
		c.take(b, node, el)
	}
}

// take takes a stanza from another node, or back from it. The component may have left just
// now, while itemDown is on its way there.
func (c *component) take(b *server.Batch, node string, el []byte) {
	c.mu.Lock()
	at := c.at
	c.mu.Unlock()
	if at != nil {
		at.send(el)
	} else if err := c.m.host.NotConnected(b, el); err != nil {
		c.m.host.Log().Error("a stanza for a component cannot be read", "node", node, "name", c.Name, "err", err)
	}
}

// tellConnected tells a node which components are connected here.
func (m *Module) tellConnected(b *server.Batch, node string) {
	for _, c := range m.components {
		c.tellConnected(b, node)
	}
}

func (c *component) tellConnected(b *server.Batch, node string) {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.mu.Lock()
	here := c.at != nil
	c.mu.Unlock()
	if here {
		c.m.host.Tell(b, node, c.item(itemUp, nil))
	}
}
