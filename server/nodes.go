package server

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server/cluster"
)

// What nodes tell each other. Everybody tells everybody of every bound connection, so
// that a stanza finds its way without asking (docs/adr/0008-routes-on-every-node.md); a
// node that may have missed something asks for a snapshot.
const (
	itemRoute       byte = iota + 1 // a connection is bound, or its availability changed
	itemGone                        // a connection ended
	itemSync                        // asks for a snapshot of the routes
	itemSnapshot                    // a part of it: routes
	itemSnapshotEnd                 // all of it was sent
	itemStanza                      // a stanza for one address
	itemEach                        // a stanza for many users
	itemOwn                         // a presence for the user's own resources
	itemOwnProbe                    // asks for the presence of the user's own resources
	itemPresence                    // a presence for one address
	itemModule                      // what a module tells itself
	itemResume                      // asks for a session to go on with a connection to the asking node
	itemResumed                     // the answer
	itemFromClient                  // what a client says whose session is at the other node
	itemToClient                    // what it is told
	itemClientGone                  // the end of its connection, as its node sees it
	itemSessionGone                 // the same, as the session's node sees it
)

// nodes is the core's side of the other nodes.
type nodes struct {
	srv     *Server
	routes  *routes
	cluster *cluster.Cluster // nil when the server runs alone
	peersOf atomic.Pointer[map[string]Peers]
	bounds  atomic.Uint64 // the greatest route.bound seen
	relays  relays

	stop    context.CancelFunc
	stopped chan struct{} // closed when the links are gone

	mu    sync.Mutex
	syncs map[*cluster.Peer]*nodeSync
}

// nodeSync is the state of the snapshots from one node.
type nodeSync struct {
	asked uint64        // number of the last one asked for
	first chan struct{} // closed at the end of the first
	done  bool
}

func newNodes(srv *Server) (*nodes, error) {
	n := &nodes{srv: srv, routes: newRoutes(), syncs: make(map[*cluster.Peer]*nodeSync)}
	n.peersOf.Store(&map[string]Peers{})
	if srv.cfg.Bus == nil {
		return n, nil
	}
	var err error
	n.cluster, err = cluster.New(cluster.Config{Bus: srv.cfg.Bus, Handler: n, Log: srv.log, Metrics: srv.cfg.Metrics})
	return n, err
}

func (srv *Server) changePeers(f func(map[string]Peers)) {
	srv.changing.Lock()
	defer srv.changing.Unlock()
	m := maps.Clone(*srv.nodes.peersOf.Load())
	f(m)
	srv.nodes.peersOf.Store(&m)
}

// joinTime bounds how long a new node waits for what the others know.
const joinTime = 3 * time.Second

// Join makes this node one of its community, and returns when it has heard who is
// connected to the other nodes, or after a few seconds: a node that does not answer
// then is one that was just killed. Listeners are opened after it. Without a Bus it
// does nothing.
func (srv *Server) Join(ctx context.Context) error {
	n := srv.nodes
	if n.cluster == nil {
		return nil
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop, n.stopped = stop, make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(n.stopped)
		err := n.cluster.Run(running)
		if err != nil {
			srv.log.Error("the bus between the nodes", "err", err)
		}
		failed <- err
	}()
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	select {
	case err := <-failed:
		return err
	case <-n.cluster.Ready():
	case <-ctx.Done():
		srv.log.Warn("the bus between the nodes is not ready")
		return context.Cause(ctx)
	}
	for _, p := range n.peers() {
		select {
		case <-n.syncOf(p).first:
		case <-ctx.Done():
			srv.log.Warn("a node does not say who is connected to it", "node", p.Name())
		}
	}
	return nil
}

// leave says good-bye to the other nodes.
func (n *nodes) leave(ctx context.Context) error {
	if n.stop == nil {
		return nil
	}
	n.stop()
	select {
	case <-n.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *nodes) name() string {
	if n.cluster == nil {
		return ""
	}
	return n.cluster.Node()
}

func (n *nodes) peer(node string) *cluster.Peer { return n.peers()[node] }

// peers returns the links to the nodes that live; the map must not be changed.
func (n *nodes) peers() map[string]*cluster.Peer {
	if n.cluster == nil {
		return nil
	}
	return n.cluster.Peers()
}

func (n *nodes) syncOf(p *cluster.Peer) *nodeSync {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.syncs[p]
	if s == nil {
		s = &nodeSync{first: make(chan struct{})}
		n.syncs[p] = s
	}
	return s
}

// act runs what was caused by another node, and survives its panic.
func (n *nodes) act(doing string, p *cluster.Peer, f func(b *Batch)) {
	b := &Batch{srv: n.srv}
	defer b.Flush()
	defer func() {
		if r := recover(); r != nil {
			n.srv.panicked(doing, r, "node", p.Name())
		}
	}()
	f(b)
}

func (n *nodes) eachModule(doing string, p *cluster.Peer, f func(m Peers, b *Batch)) {
	for name, m := range *n.peersOf.Load() {
		n.act(doing+" "+name, p, func(b *Batch) { f(m, b) })
	}
}

// Up implements cluster.Handler.
func (n *nodes) Up(p *cluster.Peer) { n.resync(p, false) }

// Lost implements cluster.Handler: what the node had asked may be lost as well.
func (n *nodes) Lost(p *cluster.Peer) {
	n.relays.lost(p, false)
	n.resync(p, true)
}

// resync asks a node for everything; with both the node does the same.
func (n *nodes) resync(p *cluster.Peer, both bool) {
	n.act("asking a node", p, func(b *Batch) {
		s := n.syncOf(p)
		s.asked++
		b.item = packed.AppendBool(packed.AppendUint(b.item[:0], s.asked), both)
		b.post(p, itemSync)
	})
	n.eachModule("node joined", p, func(m Peers, b *Batch) { m.Joined(b, p.Name()) })
}

// Down implements cluster.Handler.
func (n *nodes) Down(p *cluster.Peer) {
	n.mu.Lock()
	s := n.syncs[p]
	delete(n.syncs, p)
	n.mu.Unlock()
	if s != nil && !s.done {
		close(s.first)
	}
	n.relays.lost(p, true)
	if n.srv.closing.Load() {
		return
	}
	n.act("node down", p, func(b *Batch) {
		n.forgetAll(b, p, func(*route) bool { return true })
	})
	n.eachModule("node left", p, func(m Peers, b *Batch) { m.Left(b, p.Name()) })
}

// Received implements cluster.Handler.
func (n *nodes) Received(p *cluster.Peer, items []cluster.Item) {
	b := &Batch{srv: n.srv}
	defer b.Flush()
	for _, it := range items {
		n.item(b, p, it)
	}
}

func (n *nodes) item(b *Batch, p *cluster.Peer, it cluster.Item) {
	defer func() {
		if r := recover(); r != nil {
			n.srv.panicked("a node's item", r, "node", p.Name(), "kind", it.Kind)
		}
	}()
	r := packed.NewReader(it.Data)
	var err error
	switch it.Kind {
	case itemRoute, itemSnapshot:
		err = n.takeRoutes(b, p, r)
	case itemGone:
		err = n.takeGone(b, p, r)
	case itemSync:
		n.snapshot(b, p, r.Uint())
		if r.Bool() {
			n.resync(p, false)
		}
	case itemSnapshotEnd:
		n.snapshotEnd(b, p, r.Uint())
	case itemStanza:
		err = n.takeStanza(b, r)
	case itemEach:
		err = n.takeEach(b, r)
	case itemOwn:
		err = n.takeOwn(b, p, r)
	case itemOwnProbe:
		err = n.takeOwnProbe(b, p, r)
	case itemPresence:
		err = n.takePresence(b, p, r)
	case itemModule:
		if m := (*n.peersOf.Load())[r.String()]; m != nil {
			m.Told(b, p.Name(), r.Rest())
		}
	case itemResume, itemResumed, itemFromClient, itemToClient, itemClientGone, itemSessionGone:
		err = n.takeRelayed(b, p, it.Kind, r)
	default:
		n.srv.log.Warn("a node tells what this version does not know", "node", p.Name(), "kind", it.Kind)
	}
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		n.srv.log.Error("a node's item cannot be read", "node", p.Name(), "kind", it.Kind, "err", err)
	}
}

// Returned implements cluster.Handler: stanzas go elsewhere or back to their senders,
// modules see to what is theirs, clients of sessions at that node lose their connections,
// all else is told again when the node is reached.
func (n *nodes) Returned(p *cluster.Peer, items []cluster.Item) {
	if n.srv.closing.Load() {
		return
	}
	n.act("returned items", p, func(b *Batch) {
		for _, it := range items {
			var err error
			switch r := packed.NewReader(it.Data); it.Kind {
			case itemStanza:
				err = n.returned(b, p, r)
			case itemModule:
				if m, ok := (*n.peersOf.Load())[r.String()].(Returner); ok {
					m.Returned(b, p.Name(), r.Rest())
				}
			case itemResume, itemResumed, itemFromClient, itemToClient, itemClientGone, itemSessionGone:
				err = n.relays.returned(p, it.Kind, r)
			}
			if err != nil {
				n.srv.log.Error("an own item cannot be read", "err", err)
			}
		}
	})
}

// post queues b.item for another node.
func (b *Batch) post(p *cluster.Peer, kind byte) bool {
	ok := p.Post(kind, b.item)
	if !slices.Contains(b.peers, p) {
		b.peers = append(b.peers, p)
	}
	return ok
}

// postAll queues b.item for every other node.
func (b *Batch) postAll(kind byte) {
	for _, p := range b.srv.nodes.peers() {
		b.post(p, kind)
	}
}

// nextBound orders a bind after every one that this node knows of.
func (n *nodes) nextBound() uint64 {
	for {
		was := n.bounds.Load()
		next := max(uint64(time.Now().UnixMicro()), was+1)
		if n.bounds.CompareAndSwap(was, next) {
			return next
		}
	}
}

func (n *nodes) sawBound(bound uint64) {
	for was := n.bounds.Load(); bound > was; was = n.bounds.Load() {
		if n.bounds.CompareAndSwap(was, bound) {
			return
		}
	}
}

// later reports whether a connection that was bound then on a node is newer than one
// of this node.
func (n *nodes) later(r *route, s *Session) bool {
	if r.bound != s.bound {
		return r.bound > s.bound
	}
	return r.peer.Name() > n.name()
}

// others returns the nodes where a user has connections that fit, in no order.
func (n *nodes) others(bare jid.JID, fits func(*route) bool) (peers []*cluster.Peer) {
	for _, r := range n.routes.of(bare) {
		if fits(&r) && !slices.Contains(peers, r.peer) {
			peers = append(peers, r.peer)
		}
	}
	return peers
}
