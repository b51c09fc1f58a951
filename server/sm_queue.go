package server

import (
	"bytes"

	"rollcall/internal/xmlscan"
)

// queue is what a client was sent and has not acknowledged (XEP-0198), oldest first.
type queue struct {
	list []entry
	// count is how many stanzas that are, and gaps how many of them are not kept; bytes is
	// the size of the others.
	count, gaps, bytes int
	// thinned is how many entries at the beginning thin has looked at.
	thinned int
}

// entry is a stanza that a client has not acknowledged, or was not sent.
type entry struct {
	data []byte
	kept *kept  // nil when nobody wants to know
	gaps uint32 // how many stanzas were forgotten here; 0 where there is one
}

func newEntry(el []byte, d *delivery) entry {
	e := entry{data: bytes.Clone(el)}
	if d != nil {
		e.kept = d.keep(e.data)
	}
	return e
}

// stanzas is how many the entry stands for.
func (e *entry) stanzas() int { return max(1, int(e.gaps)) }

func (q *queue) add(e entry) {
	q.list = append(q.list, e)
	q.count++
	q.bytes += len(e.data)
}

// drop removes the first n stanzas, and returns what somebody wants to know of.
func (q *queue) drop(n int) (gotten []*kept) {
	q.count -= n
	i := 0
	for ; n > 0; i++ {
		e := &q.list[i]
		if gaps := int(e.gaps); gaps > n {
			e.gaps -= uint32(n)
			q.gaps -= n
			break
		}
		n -= e.stanzas()
		q.gaps -= int(e.gaps)
		q.bytes -= len(e.data)
		if e.kept != nil {
			gotten = append(gotten, e.kept)
		}
	}
	q.thinned = max(0, q.thinned-i)
	q.shrink(copy(q.list, q.list[i:]))
	return gotten
}

// shrink keeps the first n entries.
func (q *queue) shrink(n int) {
	clear(q.list[n:])
	q.list = q.list[:n]
	if n == 0 && cap(q.list) > maxIdleQueue {
		q.list = nil
	}
}

// maxIdleQueue is how many entries a queue has room for while it is empty.
const maxIdleQueue = 16

// lacks reports whether stanzas after the first n are not kept.
func (q *queue) lacks(n int) bool {
	if q.gaps == 0 {
		return false
	}
	for i := range q.list {
		e := &q.list[i]
		if n -= e.stanzas(); n < 0 && e.gaps > 0 {
			return true
		}
	}
	return false
}

// thin forgets what is worth the least, presence and answers, until so much is kept that
// enough is satisfied. Whoever calls it wants much less than there is: nothing is looked
// at twice.
func (q *queue) thin(enough func() bool) {
	if q.thinned == len(q.list) {
		return
	}
	to := max(0, q.thinned-1) // gaps may go on where they ended
	from := to
	for ; from < len(q.list) && !enough(); from++ {
		e := q.list[from]
		if e.gaps == 0 && fleeting(e.data) {
			q.gaps++
			q.bytes -= len(e.data)
			e = entry{gaps: 1}
		}
		if e.gaps > 0 && to > 0 && q.list[to-1].gaps > 0 {
			q.list[to-1].gaps += e.gaps
			continue
		}
		q.list[to] = e
		to++
	}
	q.thinned = to
	q.shrink(to + copy(q.list[to:], q.list[from:]))
}

// fleeting reports whether nobody is told when a stanza that the server sent gets lost:
// presence, and answers to what the client asked.
func fleeting(el []byte) bool {
	var top xmlscan.Element
	if _, err := scanSent(el).Next(el, &top); err != nil {
		return false
	}
	switch string(top.Local) {
	case "presence":
		return true
	case "iq":
		typ := string(top.Attr("type"))
		return typ == "result" || typ == "error"
	}
	return false
}

// send sends a stanza that counts. It is kept even when the connection does not take
// it, which is the end of the session: it is given back then.
func (m *managed) send(e entry) error {
	if !m.acks {
		return m.carrier.transport.Write(e.data)
	}
	var err error
	if !m.gap {
		err = m.carrier.transport.Write(e.data)
		m.gap = err != nil
	}
	m.news = true
	m.queue.add(e)
	if err != nil {
		return err
	}
	return m.room()
}

// room returns ErrOutboxFull when more waits than may. What was sent and can be done
// without is forgotten first: whoever comes into a project of thousands, or asks for a
// roster of thousands, is told more at once than is worth keeping. Such a stream cannot be
// resumed before its client has acknowledged that.
func (m *managed) room() error {
	srv := m.session.srv
	most, bytes := srv.cfg.StreamManagement.Queue, srv.queueBytes
	fits := func(parts int) bool {
		q := &m.queue
		return q.count-q.gaps+m.tail.count <= most/parts && q.bytes+m.tail.bytes <= bytes/parts
	}
	if fits(1) {
		return nil
	}
	m.queue.thin(func() bool { return fits(2) })
	if fits(1) {
		return nil
	}
	return ErrOutboxFull
}

// covers reports whether h can be how many stanzas the client has handled.
func (m *managed) covers(h uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(h-m.acked) <= uint64(m.queue.count)
}

// lacks reports whether the client, which has handled h stanzas, was sent some that are
// not kept.
func (m *managed) lacks(h uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.queue.lacks(int(h - m.acked))
}

// old reports whether h was acknowledged, and more since: who answers on several
// threads may say so late.
func (m *managed) old(h uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int32(h-m.acked) < 0
}

// sent is how many stanzas were sent, modulo 2^32.
func (m *managed) sent() uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.acked + uint32(m.queue.count)
}

// acknowledge takes note that the client has handled h stanzas, where covers says that
// it can have. An answer to <r/> is not due any more then. It returns what somebody wants
// to know of.
func (m *managed) acknowledge(h uint32) []*kept {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = false
	return m.drop(h)
}

func (m *managed) drop(h uint32) []*kept {
	n := int(h - m.acked)
	m.acked = h
	return m.queue.drop(n)
}
