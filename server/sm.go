package server

import (
	"cmp"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
)

// managed stands between a session and its connection: for a stream that is managed
// (XEP-0198) or whose presence is held (hold.go). The session goes on when its
// connection is lost, or another one takes it over; see
// docs/adr/0011-stream-management.md.
//
// Its lock is taken under any other, and only those of transports and of the watch are
// taken under it.
type managed struct {
	session *Session

	mu sync.Mutex
	// carrier is the session on whose connection the stream is: session itself at
	// first, and after a resumption the one that the new connection began with. It is
	// nil while the stream has no connection. It changes during session's turn only, so
	// that either the turn or mu is enough to read it.
	carrier *Session
	info    Info // of the last carrier while there is none

	acks    bool // stanzas are counted, and kept until they are acknowledged
	over    bool // the session has ended
	holding bool // presence waits, see Session.Hold
	asked   bool // an answer to <r/> is due
	news    bool // something was sent since the last <r/>
	watched bool // the watch has it
	away    bool // it is shown away, or was looked at for that
	gap     bool // the connection did not take a stanza, and gets none after it

	queue queue  // sent and not acknowledged
	acked uint32 // how many the client has acknowledged, modulo 2^32
	tail  tail   // not sent yet

	// since is when, on the server's clock, it was asked last, or lost its connection.
	since time.Duration
	probe int           // which wait for an answer is running
	max   time.Duration // how long it waits for its client; 0 when it cannot be resumed

	// The rest belongs to session's turn.
	id     string    // for resumption; "" when it cannot be resumed
	in     uint32    // stanzas that the client sent, modulo 2^32
	lost   Reason    // why the last connection was lost
	before *Presence // what the client said of itself, while it is shown away instead
	unsafe []uncertain
	way    delivery // of the message that is being routed

	pending atomic.Int32  // messages of the client that are not safe
	owed    atomic.Bool   // an answer to the client's <r/> waits until they are
	owing   time.Duration // since when; under mu
}

// rare is what few sessions have. It is put there during the turn.
type rare struct {
	managed  atomic.Pointer[managed]
	directed map[jid.JID]struct{} // of the turn
	relay    *relay               // of the turn
}

// managed is nil for a session that is nothing but its connection.
func (s *Session) managed() *managed {
	if r := s.rare.Load(); r != nil {
		return r.managed.Load()
	}
	return nil
}

// scarce makes room for what few sessions have.
func (s *Session) scarce() *rare {
	r := s.rare.Load()
	if r == nil {
		r = new(rare)
		s.rare.Store(r)
	}
	return r
}

// manage puts a managed between a session and its connection, and returns it locked:
// from here on everything that is sent goes through it, and nobody is still writing
// past it.
func (s *Session) manage() *managed {
	m := &managed{session: s, carrier: s}
	m.mu.Lock()
	s.scarce().managed.Store(m)
	for s.marks.Load() >= oneWriter {
		runtime.Gosched() // they wait for nobody
	}
	return m
}

// write queues an element for the peer. from is the sender of a presence that a later
// one of the same sender makes needless, otherwise zero; d is nil when nobody wants to
// know what becomes of the element.
func (s *Session) write(el []byte, from jid.JID, d *delivery) error {
	s.marks.Add(oneWriter)
	m := s.managed()
	if m == nil {
		defer s.marks.Add(^oneWriter + 1)
		if d != nil {
			d.direct = true
		}
		return s.transport.Write(el)
	}
	s.marks.Add(^oneWriter + 1)
	return m.write(el, from, d)
}

func (s *Session) flush() {
	if m := s.managed(); m != nil {
		m.flush()
		return
	}
	s.transport.Flush()
}

// isStanza reports whether an element that the server wrote is counted.
func isStanza(el []byte) bool {
	for _, name := range kinds {
		if len(el) > 1+len(name) && string(el[1:1+len(name)]) == name {
			c := el[1+len(name)]
			return c == ' ' || c == '>' || c == '/'
		}
	}
	return false
}

func (m *managed) write(el []byte, from jid.JID, d *delivery) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var full error
	switch {
	case m.over:
		return m.tooLate(el, from, d)
	case m.carrier == nil:
		if isStanza(el) {
			m.tail.add(from, newEntry(el, d))
		}
		return m.room()
	case m.holding && !from.IsZero():
		m.tail.add(from, newEntry(el, d))
		if m.tail.count < maxHeld && m.tail.bytes < maxHeldBytes {
			return nil
		}
		return m.release()
	case m.tail.count > 0 && isStanza(el):
		full = m.release()
	}
	if !m.acks || !isStanza(el) {
		if d != nil {
			d.direct = true
		}
		return cmp.Or(full, m.carrier.transport.Write(el))
	}
	return cmp.Or(full, m.send(newEntry(el, d)))
}

// tooLate takes what somebody sends who found the session just before it ended: it goes
// back like what was sent before.
func (m *managed) tooLate(el []byte, from jid.JID, d *delivery) error {
	switch {
	case !m.acks:
		if d != nil {
			d.direct = true
		}
		return m.session.transport.Write(el) // which may give it back
	case from.IsZero() && isStanza(el):
		late := []entry{newEntry(el, d)}
		go m.session.takeBack(func(u *undelivered) { u.giveBack(u.entries(late)) })
	}
	return nil
}

// release sends what was held.
func (m *managed) release() error {
	var full error
	for _, e := range m.tail.take() {
		if err := m.send(e); err != nil {
			full = err
		}
	}
	return full
}

// flush sends what was queued, and asks the client to acknowledge it unless it was
// asked before and has not answered.
func (m *managed) flush() {
	m.mu.Lock()
	carrier := m.carrier
	if carrier != nil && m.acks && m.news && !m.asked && m.queue.count > 0 {
		m.asked, m.news, m.probe = true, false, 0
		m.ask(m.session.srv.now())
		m.session.srv.watch.add(m)
	}
	m.mu.Unlock()
	if carrier != nil {
		carrier.transport.Flush()
	}
}

// ask sends <r/>. One that the outbox has no room for is not needed: the peer has
// enough to read.
func (m *managed) ask(now time.Duration) {
	m.since = now
	const r = "<r xmlns='" + ns.StreamManagement + "'/>"
	m.session.tap(TapOut, []byte(r))
	_ = m.carrier.transport.Write([]byte(r))
}

// unplug takes the stream off its connection and returns the session whose it was, nil
// when there is none.
func (m *managed) unplug(now time.Duration) (carrier *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	carrier = m.carrier
	if carrier == nil {
		return nil
	}
	m.info = carrier.transport.Info()
	m.carrier, m.asked, m.away, m.since = nil, false, false, now
	m.session.srv.watch.add(m)
	return carrier
}

// plug puts the stream on the connection of carrier: what the client says it has not
// got, and what was not sent, is sent now. It returns the session whose connection the
// stream leaves, nil when it had none, and what acknowledge does.
func (m *managed) plug(carrier *Session, h uint32) (old *Session, gotten []*kept, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old = m.carrier
	m.carrier, m.asked, m.news, m.holding = carrier, false, true, false
	gotten = m.drop(h)
	resumed := []byte("<resumed xmlns='" + ns.StreamManagement + "' previd='" + m.id + "' h='")
	resumed = append(strconv.AppendUint(resumed, uint64(m.in), 10), "'/>"...)
	m.session.tap(TapOut, resumed)
	err = carrier.transport.Write(resumed)
	for _, e := range m.queue.list {
		if err == nil {
			err = carrier.transport.Write(e.data)
		}
	}
	m.gap = err != nil
	if full := m.release(); err == nil {
		err = full
	}
	return old, gotten, err
}

// stop ends it, and returns the session whose connection the stream was on, and what
// the client did not get or did not acknowledge.
func (m *managed) stop() (carrier *Session, left []entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	carrier = m.carrier
	if carrier != nil {
		m.info = carrier.transport.Info()
	}
	if m.acks {
		left = append(m.queue.list, m.tail.take()...)
	}
	m.over, m.carrier, m.queue, m.tail = true, nil, queue{}, tail{}
	return carrier, left
}

// on is the session on whose connection the stream is, nil for none.
func (m *managed) on() *Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.carrier
}

// about describes the connection, or the last one.
func (m *managed) about() Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.carrier != nil {
		return m.carrier.transport.Info()
	}
	return m.info
}
