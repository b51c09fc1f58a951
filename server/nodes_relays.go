package server

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"rollcall/internal/packed"
	"rollcall/server/cluster"
)

// A client that lost its connection may come back at any node (XEP-0198 section 5). Its
// session stays where it is, with all that modules know of it; the node where the client
// is now passes on what both say (docs/adr/0012-resumption-at-any-node.md). relay is the
// client's end of this, remote the session's.

const (
	// relayWindow bounds what is on its way from one end to the other and was not taken
	// there, in bytes, apart from the last element.
	relayWindow = 64 << 10
	// relayChunk is about how much of it goes into one item, so that clients take turns.
	relayChunk = 16 << 10
	// crowdedTime is how long what can wait does when much waits for a node.
	crowdedTime = 50 * time.Millisecond
	// maxIDLength bounds what nodes are asked for.
	maxIDLength = 64
)

// flow counts, at one end of a relay, the bytes on their way in each direction.
type flow struct {
	sent, acked uint64 // to the other end, and taken there
	taken, told uint64 // from the other end, and what of that it was told
}

// open reports whether more may be sent.
func (f *flow) open() bool { return f.sent-f.acked < relayWindow }

// ack takes the other end's word for how much it took.
func (f *flow) ack(acked uint64) { f.acked = min(acked, f.sent) }

// took notes that n bytes were taken, and reports whether the other end should know.
func (f *flow) took(n int) bool {
	f.taken += uint64(n)
	return f.taken-f.told >= relayWindow/2
}

// tell appends how much was taken.
func (f *flow) tell(dst []byte) []byte {
	f.told = f.taken
	return packed.AppendUint(dst, f.taken)
}

// streamID makes an id for resumption. It is unguessable, and ends with the mark of the
// process that has the stream.
func (n *nodes) streamID() string {
	if n.cluster == nil {
		return newID()
	}
	return newID() + "-" + markOf(n.cluster.Node(), n.cluster.Epoch())
}

// markOf tells processes apart, and nothing about them to those who do not know them.
func markOf(node string, epoch uint64) string {
	sum := sha256.Sum256(packed.AppendString(packed.AppendUint(nil, epoch), node))
	return base32.StdEncoding.EncodeToString(sum[:5])
}

// ownerOf is the node that has, or had, the stream of an id; nil when it is none of the
// others that live.
func (n *nodes) ownerOf(id string) *cluster.Peer {
	secret, mark, ok := strings.Cut(id, "-")
	if !ok || len(secret) > maxIDLength {
		return nil
	}
	for _, p := range n.peers() {
		if markOf(p.Name(), p.Epoch()) == mark {
			return p
		}
	}
	return nil
}

// relays are the relays of which this node has one end.
type relays struct {
	mu    sync.Mutex
	count uint64 // of relays made here so far
	here  map[uint64]*relay
	there map[remoteKey]*remote
}

// remoteKey is what a relay is called by the node where its client is.
type remoteKey struct {
	peer   *cluster.Peer
	number uint64
}

func (a *relays) addHere(r *relay) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.here == nil {
		a.here = make(map[uint64]*relay)
	}
	a.count++
	r.number = a.count
	a.here[r.number] = r
}

func (a *relays) addThere(r *remote) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.there == nil {
		a.there = make(map[remoteKey]*remote)
	}
	a.there[r.remoteKey] = r
}

func (a *relays) removeHere(r *relay) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.here, r.number)
}

func (a *relays) removeThere(r *remote) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.there, r.remoteKey)
}

func (a *relays) find(p *cluster.Peer, number uint64) (here *relay, there *remote) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if here = a.here[number]; here != nil && here.peer != p {
		here = nil
	}
	return here, a.there[remoteKey{p, number}]
}

func (a *relays) all() (here []*relay, there []*remote) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.here)), slices.Collect(maps.Values(a.there))
}

// lost ends the relays over a link of which something is missing, or all. Where something
// is, an answer may still come, and all that follows it.
func (a *relays) lost(p *cluster.Peer, all bool) {
	here, there := a.all()
	for _, r := range here {
		if r.peer == p && (all || !r.asks()) {
			drop(r, nil)
		}
	}
	for _, r := range there {
		if r.peer == p {
			drop(nil, r)
		}
	}
}

// stop takes the clients of other nodes' sessions off their connections: they can go on
// elsewhere, if they are not told that the stream ends.
func (a *relays) stop() {
	here, _ := a.all()
	for _, r := range here {
		r.drop(Close{Reason: ReasonShutdown, Cut: true})
	}
}

// errNodeLost is why a client loses its connection that has lost nothing itself.
var errNodeLost = errors.New("what the session's node says is lost")

// returned ends the relay of an own item that did not reach its node.
func (a *relays) returned(p *cluster.Peer, kind byte, r *packed.Reader) error {
	here, there := a.find(p, r.Uint())
	switch kind {
	case itemResume, itemFromClient, itemClientGone:
		there = nil
	default:
		here = nil
	}
	drop(here, there)
	return r.Err()
}

// drop makes one end of a relay, if there is one, a lost connection.
func drop(here *relay, there *remote) {
	if here != nil {
		here.drop(Close{Reason: ReasonLost, Cause: errNodeLost, Cut: true})
	}
	if there != nil {
		there.drop()
	}
}

// takeRelayed takes what another node says of a relay. What cannot be read is the end of
// it, like what did not come.
func (n *nodes) takeRelayed(b *Batch, p *cluster.Peer, kind byte, r *packed.Reader) error {
	number := r.Uint()
	here, there := n.relays.find(p, number)
	var err error
	switch kind {
	case itemResume:
		return n.takeResume(p, number, r)
	case itemResumed, itemToClient, itemSessionGone:
		there, err = nil, takeHere(b, p, kind, number, here, r)
	default:
		here, err = nil, takeThere(b, p, kind, number, there, r)
	}
	if err != nil {
		drop(here, there)
	}
	return err
}

// takeHere takes what a session's node says. About a relay that is not known any more it
// is told so: it may have missed the end.
func takeHere(b *Batch, p *cluster.Peer, kind byte, number uint64, here *relay, r *packed.Reader) error {
	switch {
	case here == nil && kind == itemToClient:
		b.postEnd(p, itemClientGone, number, Close{Reason: ReasonLost})
	case here == nil:
	case kind == itemResumed:
		return here.answer(r)
	case kind == itemToClient:
		return here.write(b, r)
	default:
		c := readClose(r)
		if r.Err() == nil {
			here.finish(c)
		}
	}
	return r.Err()
}

// takeThere is takeHere of what a client's node says.
func takeThere(b *Batch, p *cluster.Peer, kind byte, number uint64, there *remote, r *packed.Reader) error {
	switch {
	case there == nil && kind == itemFromClient:
		b.postEnd(p, itemSessionGone, number, Close{Reason: ReasonLost, Cut: true})
	case there == nil:
	case kind == itemFromClient:
		return there.take(r)
	default:
		c := readClose(r)
		if r.Err() == nil {
			there.clientGone(c)
		}
	}
	return r.Err()
}

// postEnd tells the other end of a relay that it is over.
func (b *Batch) postEnd(p *cluster.Peer, kind byte, number uint64, c Close) {
	b.item = appendClose(packed.AppendUint(b.item[:0], number), c)
	b.post(p, kind)
}

func appendClose(dst []byte, c Close) []byte {
	dst = packed.AppendString(dst, c.Reason.String())
	dst = packed.AppendString(dst, c.Err.Err)
	text := ""
	if len(c.Err.Text) > 0 {
		text = c.Err.Text[0].Value
	}
	dst = packed.AppendString(dst, text)
	dst = packed.AppendString(dst, c.Detail)
	cause := ""
	if c.Cause != nil {
		cause = c.Cause.Error()
	}
	dst = packed.AppendString(dst, cause)
	return packed.AppendBool(dst, c.Cut)
}

func readClose(r *packed.Reader) (c Close) {
	c.Reason = ReasonLost // one that only a later version knows
	name := r.String()
	for i := range reasons {
		if reasons[i].name == name && name != "" {
			c.Reason = Reason(i)
		}
	}
	c.Err.Err = r.String()
	if text := r.String(); text != "" {
		c.Err.Text = append(c.Err.Text, struct{ Lang, Value string }{Value: text})
	}
	c.Detail = r.String()
	if cause := r.String(); cause != "" {
		c.Cause = errors.New(cause)
	}
	c.Cut = r.Bool()
	return c
}
