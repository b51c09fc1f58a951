package server

import (
	"errors"
	"sync"
	"time"

	"rollcall/internal/packed"
	"rollcall/internal/xmlscan"
	"rollcall/server/cluster"
)

const (
	// resumeTime is how long a node may take to say whether a session goes on.
	resumeTime = 3 * time.Second
	// relayEndTime is how long a session's node may take to end a stream.
	relayEndTime = 5 * time.Second
	// aliveEvery is how often a session's node is told that a client is there which says
	// nothing.
	aliveEvery = 5 * time.Second
)

// relay joins a client to its session at another node: the end where the client is. Its
// lock is taken under the session's turn, and those of transports and links under it.
type relay struct {
	peer   *cluster.Peer
	nodes  *nodes
	number uint64
	shell  *Session // the session that the client's connection began with

	answered chan struct{} // closed when state is not asking any more
	room     chan struct{} // has room for one; filled when flow or state changed
	heard    time.Duration // when the session's node was told last that the client is there; of shell's turn

	mu      sync.Mutex
	state   relayState
	outcome resumption
	flow    flow
	gap     bool        // the client's connection did not take something, and gets nothing after it
	timer   *time.Timer // while the session's node is to end the stream
}

type relayState uint8

const (
	asking  relayState = iota // if the session goes on
	passing                   // everything, in both directions
	leaving                   // the session's node has to end the stream, and only writes
	over
)

// resumption is the answer to itemResume.
type resumption struct {
	accepted bool
	known    bool   // whether h is
	h        uint32 // how much of the stream, which has ended, was handled
	close    *Close // for a client that is wrong
}

func (s *Session) relay() *relay { return s.rare.Load().relay }

// resumeAt makes this session's connection that of a session at another node, if that
// says so.
func (s *Session) resumeAt(t *Turn, p *cluster.Peer, id string, h uint32) {
	r := &relay{
		peer: p, nodes: s.srv.nodes, shell: s, heard: s.srv.now(),
		answered: make(chan struct{}), room: make(chan struct{}, 1),
	}
	s.srv.nodes.relays.addHere(r)
	info := s.transport.Info()
	t.item = packed.AppendUint(t.item[:0], r.number)
	t.item = packed.AppendString(t.item, id)
	t.item = packed.AppendString(t.item, s.jid.String())
	t.item = packed.AppendUint(t.item, uint64(h))
	t.item = packed.AppendString(t.item, info.Remote)
	t.item = packed.AppendBool(t.item, info.Secure)
	t.item = packed.AppendUint(t.item, uint64(s.traits))
	if t.post(p, itemResume) && !s.srv.closing.Load() {
		p.Flush()
		r.await()
	}
	switch answer := r.settle(&t.Batch); {
	case answer.accepted:
		s.scarce().relay = r
		s.phase = relaying
		s.grown()
		s.srv.metrics.resumptions.WithLabelValues("relayed").Inc()
		s.srv.log.Info("relayed", "jid", s.jid.String(), "conn", s.conn,
			"transport", info.Kind, "remote", info.Remote, "node", p.Name())
	case answer.close != nil:
		s.close(t, *answer.close)
	default:
		s.endedAt(t, answer.h, answer.known)
	}
}

// await waits for the answer, but not for long.
func (r *relay) await() {
	timer := time.NewTimer(resumeTime)
	defer timer.Stop()
	select {
	case <-r.answered:
	case <-timer.C:
	case <-r.nodes.srv.ctx.Done():
	}
}

// settle returns the answer. One that did not come is taken for a refusal, and the other
// node told that the client is gone.
func (r *relay) settle(b *Batch) resumption {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == asking {
		r.state = over
		r.nodes.relays.removeHere(r)
		b.postEnd(r.peer, itemClientGone, r.number, Close{Reason: ReasonLost})
	}
	return r.outcome
}

// answer takes what the other node says to itemResume.
func (r *relay) answer(rd *packed.Reader) error {
	var o resumption
	if o.accepted = rd.Bool(); !o.accepted {
		o.known, o.h = rd.Bool(), uint32(rd.Uint())
		if rd.Bool() {
			c := readClose(rd)
			o.close = &c
		}
	}
	if err := rd.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != asking {
		return nil
	}
	r.outcome = o
	if r.state = passing; !o.accepted {
		r.state = over
		r.nodes.relays.removeHere(r)
	}
	close(r.answered)
	return nil
}

// asks reports whether there is no answer yet.
func (r *relay) asks() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == asking
}

// pass hands an element of the client on, as soon as the session's node takes more.
func (r *relay) pass(t *Turn, el *xmlscan.Element) Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.state == passing && (!r.flow.open() || r.peer.Crowded()) {
		r.wait()
	}
	if r.state != passing {
		return Done
	}
	r.heard = r.nodes.srv.now()
	t.item = r.appendHead(t.item[:0], true)
	before := len(t.item)
	t.item = appendWhole(t.item, el)
	r.flow.sent += uint64(len(t.item) - before)
	if !t.post(r.peer, itemFromClient) {
		go r.drop(Close{Reason: ReasonLost, Cause: errNodeLost, Cut: true})
		return Done
	}
	return More
}

// wait waits for a moment in which more can be sent, or for the end. mu is held.
func (r *relay) wait() {
	var late <-chan time.Time
	if r.flow.open() {
		late = time.After(crowdedTime)
	}
	r.mu.Unlock()
	defer r.mu.Lock()
	r.peer.Flush()
	select {
	case <-r.room:
	case <-late:
	}
}

// appendHead begins an itemFromClient; there says that the client gave a sign of life.
func (r *relay) appendHead(dst []byte, there bool) []byte {
	dst = packed.AppendUint(dst, r.number)
	dst = r.flow.tell(dst)
	return packed.AppendBool(dst, there)
}

// appendWhole appends an element with the declarations that it needs where only those of
// a stream are in force.
func appendWhole(dst []byte, el *xmlscan.Element) []byte {
	bare := len(el.Space) == 0 && el.Attr("xmlns") == nil
	if len(el.Outer) == 0 && !bare {
		return append(dst, el.Raw...)
	}
	name := len("<") + len(el.Local)
	if len(el.Prefix) > 0 {
		name += len(el.Prefix) + len(":")
	}
	dst = append(dst, el.Raw[:name]...)
	for _, a := range el.Outer {
		dst = appendRawAttr(dst, a)
	}
	if bare {
		dst = append(dst, " xmlns=''"...)
	}
	return append(dst, el.Raw[name:]...)
}

// alive tells the session's node now and then that the client is there.
func (r *relay) alive(t *Turn) {
	now := r.nodes.srv.now()
	if now-r.heard < aliveEvery {
		return
	}
	r.heard = now
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == passing {
		t.item = r.appendHead(t.item[:0], true)
		t.post(r.peer, itemFromClient)
	}
}

// write takes an itemToClient.
func (r *relay) write(b *Batch, rd *packed.Reader) error {
	acked := rd.Uint()
	elements := rd.Rest()
	if err := rd.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != passing && r.state != leaving {
		return nil
	}
	r.flow.ack(acked)
	r.changed()
	var full error
	for each := packed.NewReader(elements); !each.Done() && !r.gap; {
		el := each.Bytes()
		if err := each.Err(); err != nil {
			return err
		}
		full = r.shell.transport.Write(el)
		r.gap = full != nil
	}
	r.shell.transport.Flush()
	if r.flow.took(len(elements)) {
		b.item = r.appendHead(b.item[:0], false)
		b.post(r.peer, itemFromClient)
	}
	if full != nil {
		r.shell.Kick(Close{Reason: ReasonSlowReader, Cause: full})
	}
	return nil
}

// changed wakes who waits.
func (r *relay) changed() {
	select {
	case r.room <- struct{}{}:
	default:
	}
}

// close ends the connection for a reason that shows here, during shell's turn. What is
// the end of the session is left to its node.
func (r *relay) close(t *Turn, c Close) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == over {
		return // finish sees to it
	}
	if !c.passing() && c.Reason != ReasonShutdown {
		if r.state == passing {
			r.state = leaving
			t.postEnd(r.peer, itemClientGone, r.number, c)
			r.timer = time.AfterFunc(relayEndTime, func() { r.finish(c) })
		}
		return
	}
	r.end()
	lost := c
	if !lost.passing() {
		lost = Close{Reason: ReasonLost, Cause: errors.New("the client's node stops")}
	}
	t.postEnd(r.peer, itemClientGone, r.number, lost)
	c.Cut = true
	r.shell.end(t, c)
}

// end makes it over; mu is held.
func (r *relay) end() {
	if r.state == asking {
		close(r.answered)
	}
	r.state = over
	r.changed()
	if r.timer != nil {
		r.timer.Stop()
	}
	r.nodes.relays.removeHere(r)
}

// finish closes the client's connection as its session's node says.
func (r *relay) finish(c Close) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.state
	if was == over {
		return
	}
	r.end()
	if was == asking {
		return // whoever asked goes on
	}
	go func() {
		turn := r.shell.Turn()
		defer turn.End()
		if r.shell.phase == relaying {
			r.shell.end(turn, c)
		}
	}()
}

// drop ends it from outside, and tells the session's node as well.
func (r *relay) drop(c Close) {
	r.finish(c)
	b := &Batch{srv: r.nodes.srv}
	defer b.Flush()
	b.postEnd(r.peer, itemClientGone, r.number, Close{Reason: ReasonLost, Cause: c.Cause})
}
