package server

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// NodeHandler answers service discovery (XEP-0030) about a node: with the items of the
// node or with what it is, as iq.Space says. ok is false when it does not know the node.
type NodeHandler func(ctx context.Context, iq *IQ, node string) (payload Payload, ok bool, err error)

// nodeTable holds who knows nodes of service discovery.
type nodeTable struct {
	mu   sync.Mutex // of writers
	list atomic.Pointer[[]*NodeHandler]
}

func (t *nodeTable) change(f func([]*NodeHandler) []*NodeHandler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*NodeHandler
	if p := t.list.Load(); p != nil {
		list = slices.Clone(*p)
	}
	list = f(list)
	t.list.Store(&list)
}

// HandleNode answers discovery about nodes of virtual hosts and of the sender's own
// account.
func (h *Host) HandleNode(f NodeHandler) {
	h.srv.discoNodes.change(func(list []*NodeHandler) []*NodeHandler { return append(list, &f) })
	h.undo = append(h.undo, func() {
		h.srv.discoNodes.change(func(list []*NodeHandler) []*NodeHandler {
			return slices.DeleteFunc(list, func(x *NodeHandler) bool { return x == &f })
		})
	})
}

// AboutNode asks who knows a node, for the module that answers discovery.
func (h *Host) AboutNode(ctx context.Context, iq *IQ, node string) (payload Payload, ok bool, err error) {
	list := h.srv.discoNodes.list.Load()
	if list == nil {
		return nil, false, nil
	}
	for _, f := range *list {
		if payload, ok, err = (*f)(ctx, iq, node); ok || err != nil {
			return payload, true, err
		}
	}
	return nil, false, nil
}

// Identity is what a virtual host or an account is (XEP-0030 section 3.1).
type Identity struct{ Category, Type, Name string }

// Identity returns what those of one scope are.
func (h *Host) Identity(scope Scope) Identity {
	if scope == ToServer {
		return Identity{"server", "im", "rollcall"}
	}
	return Identity{"account", "registered", ""}
}
