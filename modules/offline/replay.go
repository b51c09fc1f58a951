package offline

import (
	"context"
	"hash/maphash"
	"slices"
	"strconv"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/server"
	"rollcall/storage"
)

// replay gives a user's kept messages to one connection, a page at a time: the next page
// comes when the client has acknowledged the one before. There is one per user, and it
// ends when nothing is left. Its fields belong to whoever is in state running, and
// otherwise to Module.mu.
type replay struct {
	bare    jid.JID
	session *server.Session
	state   state
	again   bool // more may have been kept, or another connection came, since the store was asked
	gone    bool // the connection ended
	page    page
	ping    string // id of the ping whose answer acknowledges the page
	given   bool   // the page needs no acknowledgement
	timer   *time.Timer
	delay   time.Duration // before the store is asked again that failed
}

// state is what a replay is doing.
type state uint8

const (
	running  state = iota // somebody reads the store, or sends
	waiting               // for an acknowledgement
	sleeping              // until the timer runs
)

// page is what was sent and not acknowledged: by id, a sum of the bytes.
type page map[string]uint64

func (p page) has(seed maphash.Seed, data []byte) bool {
	sum := maphash.Bytes(seed, data)
	for _, x := range p {
		if x == sum {
			return true
		}
	}
	return false
}

func (p page) ids() []string {
	list := make([]string, 0, len(p))
	for id := range p {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}

// The pace of a replay.
const (
	pageMessages = 50
	// restPage is how long a connection that acknowledges nothing rests between pages.
	restPage = time.Second
	// retryFirst and retryLast are how long a replay waits for a store that failed.
	retryFirst = 2 * time.Second
	retryLast  = time.Minute
	// forgetSent is when what a connection that ended was sent is forgotten.
	forgetSent = 2 * time.Minute
)

// setPresence begins a replay when a connection begins to take messages (XEP-0160
// section 2).
func (m *Module) setPresence(ctx context.Context, e *server.SetPresence) {
	conn, ready := e.Session.Conn(), e.Presence.Available && e.Presence.Priority >= 0
	m.mu.Lock()
	_, negative := m.negative[conn]
	switch {
	case e.Presence.Available && !ready:
		m.negative[conn] = struct{}{}
	case negative:
		delete(m.negative, conn)
	}
	m.mu.Unlock()
	if !ready || e.WasAvailable && !negative {
		return
	}
	m.came(ctx, e.Batch, e.Session)
}

// removeConnection lets another connection have what is left.
func (m *Module) removeConnection(ctx context.Context, e *server.RemoveConnection) {
	m.mu.Lock()
	delete(m.negative, e.Conn)
	if len(m.host.Sessions(e.JID.Bare())) == 0 {
		delete(m.leftTo, e.JID.Bare())
	}
	r := m.replays[e.JID.Bare()]
	if r == nil || r.session.Conn() != e.Conn {
		m.mu.Unlock()
		return
	}
	r.gone = true
	if r.state == running {
		m.mu.Unlock()
		return // whoever runs it finds out
	}
	m.leave(r)
	m.mu.Unlock()
	m.look(ctx, e.Batch, r.bare)
}

// leave ends the replay to a connection that ended. m.mu is held.
func (m *Module) leave(r *replay) {
	if r.timer != nil {
		r.timer.Stop()
	}
	delete(m.replays, r.bare)
	if conn := r.session.Conn(); len(r.page) > 0 && !m.stopped {
		m.sent[conn] = r.page
		m.later(forgetSent, func(context.Context, *server.Batch) {
			m.mu.Lock()
			defer m.mu.Unlock()
			delete(m.sent, conn)
		})
	}
}

// start begins a replay unless the user has one.
func (m *Module) start(ctx context.Context, b *server.Batch, s *server.Session) {
	bare := s.JID().Bare()
	m.mu.Lock()
	if r := m.replays[bare]; r != nil || m.stopped {
		if r != nil {
			r.again = true
		}
		m.mu.Unlock()
		return
	}
	r := &replay{bare: bare, session: s}
	m.replays[bare] = r
	m.mu.Unlock()
	m.run(ctx, b, r)
}

// run goes on with a replay that is in state running, until it waits for something or
// ends.
func (m *Module) run(ctx context.Context, b *server.Batch, r *replay) {
	for {
		if !takes(r.session) {
			m.mu.Lock()
			m.leave(r)
			m.mu.Unlock()
			m.look(ctx, b, r.bare)
			return
		}
		list, err := m.next(ctx, r)
		if err == nil && len(list) > 0 {
			if list = m.wanted(ctx, r.bare, list); len(list) == 0 {
				continue
			}
		}
		switch {
		case err != nil:
			m.failed("messages that wait for a user cannot be read", err, "user", r.bare.String())
			r.delay = min(max(2*r.delay, retryFirst), retryLast)
			m.pause(ctx, b, r, sleeping, r.delay)
			return
		case len(list) > 0:
			r.delay = 0
			m.send(ctx, b, r, list)
			return
		case m.finish(r):
			return
		}
	}
}

// finish ends a replay, unless there may be more by now.
func (m *Module) finish(r *replay) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.again {
		r.again = false
		return false
	}
	delete(m.replays, r.bare)
	return true
}

// next reads a page from the store.
func (m *Module) next(ctx context.Context, r *replay) ([]storage.Kept, error) {
	key := m.key(r.bare)
	m.settle(ctx, key)
	m.mu.Lock()
	hidden := len(m.owed[key]) + len(m.flying[key])
	m.mu.Unlock()
	list, err := m.o.Spool.Waiting(ctx, key, "", pageMessages+hidden)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	list = slices.DeleteFunc(list, func(k storage.Kept) bool {
		return m.owed.has(key, k.ID) || m.flying.has(key, k.ID)
	})
	m.mu.Unlock()
	bytes := 0
	for i, k := range list {
		if bytes += len(k.Data); i == pageMessages || i > 0 && bytes > m.o.PageBytes {
			return list[:i], nil
		}
	}
	return list, nil
}

// wanted is those of a page that the user does not block by now (XEP-0191 section 3.3). The
// others are forgotten.
func (m *Module) wanted(ctx context.Context, bare jid.JID, list []storage.Kept) []storage.Kept {
	var unwanted []string
	list = slices.DeleteFunc(list, func(k storage.Kept) bool {
		el := element(k.Data)
		from, err := jid.Parse(text(el.Attr("from")))
		if err != nil || m.host.Passes(from, bare) {
			return false
		}
		unwanted = append(unwanted, k.ID)
		return true
	})
	m.discard(ctx, m.key(bare), unwanted)
	return list
}

// send sends a page, and has the client acknowledge it.
func (m *Module) send(ctx context.Context, b *server.Batch, r *replay, list []storage.Kept) {
	domain, acks := r.bare.Domain(), r.session.Acks()
	r.page, r.given, r.ping = make(page, len(list)), false, ""
	encoded := make([][]byte, len(list))
	for i, k := range list {
		encoded[i] = delayed(k.Data, domain, k.At)
		r.page[k.ID] = maphash.Bytes(m.seed, encoded[i])
	}
	if acks {
		if m.pause(ctx, b, r, waiting, 0) {
			for i, k := range list {
				b.SendKept(r.session, encoded[i], k.ID)
			}
		}
		return
	}
	for _, el := range encoded {
		b.Send(r.session, el)
	}
	if !r.session.Pingable() {
		r.given = true
		m.pause(ctx, b, r, sleeping, restPage)
		return
	}
	m.mu.Lock()
	m.pings++
	r.ping = pingPrefix + strconv.FormatUint(m.pings, 36)
	m.mu.Unlock()
	from, err := jid.New("", domain, "")
	if err != nil {
		from = r.bare
	}
	// The answer comes after the client has read what comes before.
	ping := server.AppendIQ(nil, "get", r.ping, from, r.session.JID(), []byte("<ping xmlns='"+ns.Ping+"'/>"))
	if m.pause(ctx, b, r, waiting, 0) {
		b.Send(r.session, ping)
	}
}

const pingPrefix = "kept-"

// pause leaves a replay alone until something happens. It reports false when the
// connection has ended.
func (m *Module) pause(ctx context.Context, b *server.Batch, r *replay, s state, d time.Duration) bool {
	m.mu.Lock()
	if r.gone {
		m.leave(r)
		m.mu.Unlock()
		m.look(ctx, b, r.bare)
		return false
	}
	r.state = s
	if s == sleeping {
		r.timer = m.later(d, func(ctx context.Context, b *server.Batch) { m.wake(ctx, b, r) })
	}
	m.mu.Unlock()
	return true
}

// wake goes on with a replay that slept.
func (m *Module) wake(ctx context.Context, b *server.Batch, r *replay) {
	m.mu.Lock()
	if r.state != sleeping || m.replays[r.bare] != r {
		m.mu.Unlock()
		return
	}
	r.state = running
	m.mu.Unlock()
	if r.given {
		m.taken(ctx, r)
	}
	m.run(ctx, b, r)
}

// taken notes that a client has the page.
func (m *Module) taken(ctx context.Context, r *replay) {
	m.metrics.delivered.Add(float64(len(r.page)))
	m.discard(ctx, m.key(r.bare), r.page.ids())
	r.page, r.given = nil, false
}

// answer takes the answer to a ping after a page, result or error: either way the client
// has read what came before.
func (m *Module) answer(ctx context.Context, e *server.Answer) {
	if len(e.ID) <= len(pingPrefix) || e.ID[:len(pingPrefix)] != pingPrefix {
		return
	}
	m.mu.Lock()
	r := m.replays[e.Session.JID().Bare()]
	if r == nil || r.session != e.Session || r.state != waiting || r.ping != e.ID {
		m.mu.Unlock()
		return
	}
	r.state = running
	m.mu.Unlock()
	m.taken(ctx, r)
	m.run(ctx, e.Batch, r)
}
