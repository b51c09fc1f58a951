package bosh

import (
	"bytes"
	"compress/flate"
	"io"
	"sync"
	"time"
)

// Replies are kept for clients that ask again (XEP-0124 section 14.3), mostly until the
// session has something to say the next time: in an idle session the last word of a
// presence storm is most of its memory. It rarely is asked for, so that it is kept
// compressed: 7.5 KB of presence become 0.7, in 0.1 ms.

const (
	// packDelay is how old a reply is that is kept compressed: those of a busy session
	// are forgotten before. It is so short that footprint.Keeper finds the garbage.
	packDelay = time.Second
	// minPacked is how long a body is that is worth it, in bytes.
	minPacked = 2 << 10
)

// text is the whole body.
func (r *reply) text() []byte {
	if r.packed == 0 {
		return r.body
	}
	all := make([]byte, r.packed)
	// It was packed here, from memory to memory: there is nothing that could fail.
	_, _ = io.ReadFull(flate.NewReader(bytes.NewReader(r.body)), all)
	return all
}

// size is how long the whole body is.
func (r *reply) size() int { return max(len(r.body), int(r.packed)) }

// rested is the body of a reply that was made long ago.
type rested struct {
	rid  int64
	body []byte
}

// resting returns the bodies that are worth packing of replies made by a time and not
// being written. later says that there are others.
func (w *window[R]) resting(by time.Duration) (all []rested, later bool) {
	for i := range w.slots {
		s := &w.slots[i]
		switch {
		case s.state != answered || s.reply.packed > 0 || len(s.reply.body) < minPacked:
		case s.reply.at > by || w.isWritten(s.rid):
			later = true
		default:
			all = append(all, rested{s.rid, s.reply.body})
		}
	}
	return all, later
}

// pack replaces a body, if it is still there.
func (w *window[R]) pack(old rested, packed []byte) {
	s := w.find(old.rid)
	if s == nil || s.state != answered || &s.reply.body[0] != &old.body[0] {
		return
	}
	s.reply.packed, s.reply.body = int32(len(old.body)), packed
}

// packer compresses the replies of all sessions, one after the other: compressors take
// 1.2 MB each.
type packer struct {
	now func() time.Duration

	mu        sync.Mutex // a leaf
	queue     []packing  // in the order of time
	timer     *time.Timer
	busy      bool      // somebody works off the queue
	deflaters sync.Pool // of *deflater; one is enough for a storm, and none for the time after it
}

// packing is when to look for replies of a session.
type packing struct {
	s  *session
	at time.Duration
}

// add has somebody look at a session in a while.
func (p *packer) add(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, packing{s, p.now() + packDelay})
	if len(p.queue) == 1 && !p.busy {
		p.arm()
	}
}

// arm sets the timer. The caller has the lock.
func (p *packer) arm() {
	p.busy = false
	if len(p.queue) == 0 {
		p.queue = nil
		return
	}
	d := p.queue[0].at - p.now()
	if p.timer == nil {
		p.timer = time.AfterFunc(d, p.work)
		return
	}
	p.timer.Reset(d)
}

// work packs whatever is due.
func (p *packer) work() {
	d, ok := p.deflaters.Get().(*deflater)
	if !ok {
		d = new(deflater)
	}
	defer p.deflaters.Put(d)
	for s := p.next(); s != nil; s = p.next() {
		s.pack(d)
	}
}

// next takes the next session that is due from the queue. When there is none, the timer is
// set.
func (p *packer) next() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = true
	if len(p.queue) == 0 || p.queue[0].at > p.now() {
		p.arm()
		return nil
	}
	s := p.queue[0].s
	p.queue[0].s = nil
	p.queue = p.queue[1:]
	return s
}

type deflater struct {
	w   *flate.Writer
	out bytes.Buffer
}

// deflate returns a text compressed.
func (d *deflater) deflate(text []byte) (packed []byte, err error) {
	d.out.Reset()
	if d.w == nil {
		d.w, err = flate.NewWriter(&d.out, flate.BestSpeed)
	} else {
		d.w.Reset(&d.out)
	}
	if err == nil {
		_, err = d.w.Write(text)
	}
	if err == nil {
		err = d.w.Close()
	}
	return bytes.Clone(d.out.Bytes()), err
}

// rests has a reply packed in a while, if it is worth it. The caller has the lock.
func (s *session) rests(r *reply) {
	if len(r.body) >= minPacked && !s.packs {
		s.packs = true
		s.h.packer.add(s)
	}
}

// pack packs the replies that have rested.
func (s *session) pack(d *deflater) {
	by := s.h.now() - packDelay
	s.mu.Lock()
	defer s.mu.Unlock()
	rested, later := s.win.resting(by)
	for _, one := range rested {
		s.mu.Unlock() // others go on meanwhile: the body does not change
		packed, err := d.deflate(one.body)
		s.mu.Lock()
		if err == nil { // as memory takes everything
			s.win.pack(one, packed)
		}
	}
	if s.packs = later; later {
		s.h.packer.add(s)
	}
}
