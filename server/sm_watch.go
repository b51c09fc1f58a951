package server

import (
	"sync"
	"time"
)

// watch looks after streams that wait for something: for an answer to <r/>, for a new
// connection, or for messages to be safe. All of them share one timer, which runs only while there are any.
type watch struct {
	mu      sync.Mutex
	list    []*managed
	pending bool // pass is going to run
}

// watchEvery is how late what the watch does may come.
const watchEvery = 250 * time.Millisecond

// now is the server's clock.
func (srv *Server) now() time.Duration { return time.Since(srv.made) }

// add has the watch look at a stream; m.mu is held.
func (w *watch) add(m *managed) {
	if m.watched {
		return
	}
	m.watched = true
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, m)
	if !w.pending {
		w.pending = true
		time.AfterFunc(watchEvery, m.session.srv.lookAll)
	}
}

func (srv *Server) lookAll() {
	w := &srv.watch
	w.mu.Lock()
	list := w.list
	w.list = nil
	w.mu.Unlock()
	now := srv.now()
	kept := list[:0]
	for _, m := range list {
		if m.look(now) {
			kept = append(kept, m)
		}
	}
	clear(list[len(kept):])
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(kept, w.list...)
	if w.pending = len(w.list) > 0; w.pending {
		time.AfterFunc(watchEvery, srv.lookAll)
	}
}

// look does what is due, and reports whether it has to look again. What takes the
// session's turn happens on a goroutine of its own.
func (m *managed) look(now time.Duration) (again bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.over:
	case m.carrier == nil:
		again = m.lookDetached(now)
	case m.asked:
		again = m.lookAsked(now)
	}
	if !m.over && m.owed.Load() {
		if now-m.owing < m.session.srv.cfg.StreamManagement.AckDelay {
			again = true
		} else {
			go m.session.answerOwed(m)
		}
	}
	m.watched = again
	return again
}

// lookAsked asks again when the client has said nothing since it was asked, and gives
// its connection up when it was asked often enough.
func (m *managed) lookAsked(now time.Duration) (again bool) {
	if seen := time.Duration(m.session.seen.Load()); seen > m.since {
		m.since, m.probe = seen, 0
	}
	probes := m.session.srv.cfg.StreamManagement.Probes
	if now-m.since < probes[m.probe] {
		return true
	}
	if m.probe++; m.probe < len(probes) {
		m.ask(now)
		m.carrier.transport.Flush()
		return true
	}
	m.asked = false // once
	m.session.kick(Close{Reason: ReasonPing}, m.carrier)
	return false
}

func (m *managed) lookDetached(now time.Duration) (again bool) {
	if now-m.since >= m.max {
		go m.session.expire(m)
		return false
	}
	if after := m.session.srv.cfg.StreamManagement.AwayAfter; after > 0 && !m.away && now-m.since >= after {
		m.away = true
		go m.session.showAway(m)
	}
	return true
}

// expire ends a session whose client did not come back.
func (s *Session) expire(m *managed) {
	turn := s.Turn()
	defer turn.End()
	if m.carrier == nil && s.phase == bound {
		s.srv.metrics.resumptions.WithLabelValues("expired").Inc()
		s.end(turn, Close{Reason: m.lost})
	}
}
