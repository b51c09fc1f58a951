package server

import (
	"sync"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/packed"
	"rollcall/internal/xmlscan"
	"rollcall/server/cluster"
)

// relayKind is what a connection to another node is called.
const relayKind = "relay"

// maxRemoteIn bounds what a client at another node said and was not taken, apart from the
// last element. Nodes that keep to relayWindow do not come near it.
const maxRemoteIn = 4 << 20

// What an element may have grown by at its client's node: the declarations that it needs.
const (
	moreBytes = 4 << 10
	moreAttrs = 16
)

// maxKeptItem is how much memory a remote holds on to for what it sends, in bytes.
const maxKeptItem = 1 << 10

// remote is the Transport of a session whose client is connected to another node: the end
// of a relay where the session is. Its lock is taken under all but those of links.
type remote struct {
	remoteKey
	nodes   *nodes
	info    Info
	carrier *Session // nil until the session is resumed; of who runs

	mu      sync.Mutex
	running bool // somebody takes what came
	flow    flow
	in      []byte // elements that were not taken yet
	gone    *Close // of the client's connection, after in
	out     []byte // packed elements that wait until the other node takes more
	end     *Close // of the stream here, after out
	over    bool   // nothing goes out any more
	waiting bool   // until a moment has passed in which much waits for the node
	item    []byte
}

var _ Transport = (*remote)(nil)

// takeResume begins a relay for a client of another node. What has to wait for the
// session does not keep the link waiting.
func (n *nodes) takeResume(p *cluster.Peer, number uint64, rd *packed.Reader) error {
	id := rd.String()
	user, err := jid.Parse(rd.String())
	h := uint32(rd.Uint())
	r := &remote{remoteKey: remoteKey{p, number}, nodes: n, running: true}
	r.info = Info{Kind: relayKind, Remote: rd.String(), Secure: rd.Bool(), Manageable: true}
	listener := traits(rd.Uint())
	if rd.Err() != nil || err != nil {
		return err
	}
	n.relays.addThere(r)
	go r.resume(id, user, h, listener)
	return nil
}

// resume puts a stream on this connection, if its client may have it.
func (r *remote) resume(id string, user jid.JID, h uint32, listener traits) {
	srv := r.nodes.srv
	m := srv.claim(id, user)
	if m != nil && m.covers(h) && m.lacks(h) {
		m.session.forsake()
		m = nil
	}
	if m == nil {
		handled, known := srv.streams.ended(id, user)
		r.refuse(resumption{h: handled, known: known})
		return
	}
	if !m.covers(h) {
		m.session.mu.Unlock()
		c := m.tooHigh(h)
		r.refuse(resumption{close: &c})
		return
	}
	if !r.accept() {
		m.session.mu.Unlock()
		return
	}
	// Like the session that a connection here began with, once the stream is on it.
	on := &Session{srv: srv, transport: r, conn: srv.nextConn(), traits: listener, jid: user, phase: closed}
	on.scarce().managed.Store(m)
	srv.metrics.opened(relayKind)
	r.carrier = on
	func() {
		turn := m.session.turn()
		defer turn.End()
		defer turn.Guard("resumption")
		turn.from = on
		m.session.resumed(turn, m, on, h)
	}()
	r.run()
}

// refuse answers that the client cannot have the stream.
func (r *remote) refuse(o resumption) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.item = packed.AppendUint(r.item[:0], r.number)
	r.item = packed.AppendBool(r.item, false)
	r.item = packed.AppendBool(r.item, o.known)
	r.item = packed.AppendUint(r.item, uint64(o.h))
	if r.item = packed.AppendBool(r.item, o.close != nil); o.close != nil {
		r.item = appendClose(r.item, *o.close)
	}
	r.finish(itemResumed)
}

// accept answers that the client has the stream, unless it is gone already.
func (r *remote) accept() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone != nil {
		return false
	}
	r.item = packed.AppendBool(packed.AppendUint(r.item[:0], r.number), true)
	return r.post(itemResumed)
}

// post sends r.item; mu is held.
func (r *remote) post(kind byte) bool {
	ok := r.peer.Post(kind, r.item)
	r.peer.Flush()
	if cap(r.item) > maxKeptItem {
		r.item = nil
	}
	if !ok {
		r.lose()
	}
	return ok
}

// finish sends r.item as the last there is; mu is held.
func (r *remote) finish(kind byte) {
	r.peer.Post(kind, r.item)
	r.peer.Flush()
	r.finished()
}

func (r *remote) finished() {
	r.over, r.out = true, nil
	r.nodes.relays.removeThere(r)
}

// lose makes it a lost connection; mu is held.
func (r *remote) lose() {
	r.finished()
	if r.gone == nil {
		r.gone = &Close{Reason: ReasonLost, Cause: errNodeLost}
	}
	r.start()
}

// drop is lose from outside, and tells the client's node as well.
func (r *remote) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.cut()
	}
}

// cut is lose, and tells the client's node as well; mu is held.
func (r *remote) cut() {
	r.item = appendClose(packed.AppendUint(r.item[:0], r.number), Close{Reason: ReasonLost, Cause: errNodeLost, Cut: true})
	r.peer.Post(itemSessionGone, r.item)
	r.peer.Flush()
	r.lose()
}

// take takes an itemFromClient.
func (r *remote) take(rd *packed.Reader) error {
	acked, alive := rd.Uint(), rd.Bool()
	el := rd.Rest()
	if err := rd.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flow.ack(acked)
	r.pump()
	if r.over || r.gone != nil {
		return nil
	}
	if len(r.in) > maxRemoteIn {
		r.cut()
		return nil
	}
	r.in = append(r.in, el...)
	switch {
	case len(el) > 0:
		r.start()
	case alive && !r.running && r.carrier != nil:
		r.carrier.managed().session.Touch()
	}
	return nil
}

// clientGone takes the end of the client's connection.
func (r *remote) clientGone(c Close) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone == nil {
		r.gone = &c
	}
	if c.passing() {
		r.finished() // the other end has forgotten it
	}
	r.start()
}

// start has somebody take what came; mu is held.
func (r *remote) start() {
	if !r.running {
		r.running = true
		go r.run()
	}
}

// run takes what came, and the end of it.
func (r *remote) run() {
	for {
		r.mu.Lock()
		in, gone := r.in, r.gone
		if r.in = nil; len(in) == 0 {
			r.running = gone != nil // for good
			r.mu.Unlock()
			if gone != nil {
				turn := r.carrier.Begin()
				turn.Close(*gone)
				turn.End()
			}
			return
		}
		r.mu.Unlock()
		r.feed(in)
		r.mu.Lock()
		if r.flow.took(len(in)) && !r.over {
			r.item = r.flow.tell(packed.AppendUint(r.item[:0], r.number))
			r.post(itemToClient)
		}
		r.mu.Unlock()
	}
}

// feed runs the session's turn over elements of the client.
func (r *remote) feed(data []byte) {
	limits := &r.nodes.srv.cfg.Limits
	var scan xmlscan.Scanner
	var el xmlscan.Element
	scan.Scope([]xmlscan.Attr{
		{Name: []byte("xmlns"), Value: []byte(ns.Client), Quote: '\''}, streamScope()[0],
	})
	turn := r.carrier.Begin()
	defer turn.End()
	defer turn.Guard("input")
	for len(data) > 0 {
		scan.SetLimits(xmlscan.Limits{
			Bytes: turn.MaxElement() + moreBytes, Depth: limits.Depth, Attrs: limits.Attributes + moreAttrs,
		})
		n, err := scan.Next(data, &el)
		if err != nil {
			turn.Close(BadXML(err))
			return
		}
		if turn.Element(&el) == Done {
			return
		}
		data = data[n:]
	}
}

// Info implements Transport.
func (r *remote) Info() Info { return r.info }

// Open implements Transport. There is no stream header here: the client's node has
// answered it.
func (r *remote) Open(StreamHeader) {}

// Write implements Transport.
func (r *remote) Write(el []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := int(r.nodes.srv.cfg.Limits.OutboxBytes)
	switch {
	case r.over || r.end != nil:
		return nil
	case len(r.out) > limit/32 && len(r.out)+len(el) > limit:
		return ErrOutboxFull
	}
	r.out = packed.AppendBytes(r.out, el)
	if len(r.out) >= relayChunk {
		r.pump()
	}
	return nil
}

// Flush implements Transport.
func (r *remote) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pump()
}

// Close implements Transport.
func (r *remote) Close(c Close) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.end != nil {
		return
	}
	if c.Cut {
		r.out = nil
	}
	r.end = &c
	r.pump()
	if !r.over {
		time.AfterFunc(relayEndTime, r.giveUp)
	}
}

// pump sends what waits, as far as the client's node takes it, and then the end; mu is
// held.
func (r *remote) pump() {
	for !r.over && len(r.out) > 0 {
		if closing := r.nodes.srv.closing.Load(); !closing && !r.flow.open() {
			return
		} else if !closing && r.peer.Crowded() {
			r.later()
			return
		}
		n := firstElements(r.out)
		r.item = r.flow.tell(packed.AppendUint(r.item[:0], r.number))
		r.item = append(r.item, r.out[:n]...)
		r.flow.sent += uint64(n)
		if r.out = r.out[n:]; len(r.out) == 0 {
			r.out = nil
		}
		r.post(itemToClient)
	}
	if !r.over && r.end != nil {
		r.item = appendClose(packed.AppendUint(r.item[:0], r.number), *r.end)
		r.finish(itemSessionGone)
	}
}

// later has pump run again in a moment; mu is held.
func (r *remote) later() {
	if !r.waiting {
		r.waiting = true
		time.AfterFunc(crowdedTime, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.waiting = false
			r.pump()
		})
	}
}

// giveUp ends what the client's node does not take.
func (r *remote) giveUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out = nil
	r.pump()
}

// firstElements returns how many bytes of packed elements go into the next item.
func firstElements(data []byte) (n int) {
	for r := packed.NewReader(data); !r.Done() && n < relayChunk; {
		r.Bytes()
		n = len(data) - r.Left()
	}
	return n
}
