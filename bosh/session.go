package bosh

import (
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"mellium.im/xmpp/stream"

	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// session is one BOSH session: the requests of its client are lent to it, and it
// answers them when it has something to say or when their time is up. It is a
// server.Transport.
//
// The core's turn comes before mu; with mu held nothing is called that takes a
// turn.
type session struct {
	h    *Handler
	sid  string
	wait time.Duration
	ver  string // of XEP-0124, as the client has it
	typ  string // Content-Type of answers
	core *server.Session
	info server.Info

	mu       sync.Mutex
	win      window
	busy     bool   // somebody works requests off
	created  bool   // the first answer went out
	out      []byte // elements for the client
	header   server.StreamHeader
	ended    []byte // the last answer, once the session is over
	paused   time.Duration
	deadline *time.Timer // of the oldest held request
	silence  *time.Timer // without a request
	grave    *time.Timer // until the session is forgotten
	lastPoll time.Time
}

// responder is the HTTP request that waits for an answer.
type responder struct{ answer chan []byte }

func newResponder() *responder { return &responder{answer: make(chan []byte, 1)} }

// newSession makes the session that a first request asks for.
func (h *Handler) newSession(b *body, info server.Info) *session {
	s := &session{h: h, sid: rand.Text(), ver: b.ver, typ: contentType(b.content), info: info, wait: h.cfg.Wait}
	hold := h.cfg.Hold
	if b.hold >= 0 {
		hold = min(hold, b.hold)
	}
	if b.wait >= 0 {
		s.wait = min(s.wait, b.wait)
	}
	if s.wait == 0 {
		hold = 0
	}
	// One more than are held, so that there is always one to send with (section 7.2).
	s.win = window{requests: max(2, hold+1), hold: hold, next: b.rid}
	s.core = h.srv.NewSession(s, &h.listener)
	return s
}

// polls reports whether the client polls instead of waiting (section 12).
func (s *session) polls() bool { return s.win.hold == 0 }

// take takes a request; the answer comes through its responder.
func (s *session) take(r *request) {
	s.core.Touch()
	r.due = time.Now().Add(s.wait)
	s.mu.Lock()
	if s.ended != nil {
		r.to.answer <- s.ended
		s.mu.Unlock()
		return
	}
	v, known, old := s.win.arrive(r)
	if old != nil {
		old.answer <- recoverable()
	}
	switch v {
	case refused:
		s.mu.Unlock()
		// The same words whether too old or too new (section 14.3).
		r.to.answer <- terminal(itemNotFound)
		s.end(server.StreamError(stream.PolicyViolation, errors.New("rid outside the window")))
		return
	case replayed:
		r.to.answer <- known.answer
		s.mu.Unlock()
		return
	}
	s.silent()
	if s.busy {
		s.mu.Unlock()
		return
	}
	s.busy = true
	s.workOff()
}

// end closes the session from outside its turn.
func (s *session) end(c server.Close) {
	turn := s.core.Begin()
	defer turn.End()
	turn.Close(c)
}

// workOff works off what is ready, in order. mu is held at first, and not at the
// end.
func (s *session) workOff() {
	for {
		r := s.win.begin()
		if r == nil || s.ended != nil {
			s.busy = false
			s.silent()
			s.mu.Unlock()
			return
		}
		b := r.body
		s.mu.Unlock()
		s.process(b)
		s.mu.Lock()
		s.settle(b)
	}
}

// process feeds one request to the core.
func (s *session) process(b *body) {
	turn := s.core.Begin()
	defer turn.End()
	if s.overactive(b) {
		turn.Close(server.StreamError(stream.PolicyViolation, errors.New("polls too often")))
		return
	}
	if b.pause > s.h.cfg.MaxPause {
		turn.Close(server.StreamError(stream.PolicyViolation, errors.New("pause longer than maxpause")))
		return
	}
	if b.sid == "" || b.restart {
		version := b.version
		if version == "" {
			version = "1.0" // XEP-0206 section 4 lets clients leave it out
		}
		if turn.Open(server.StreamHeader{To: b.to, From: b.from, Lang: b.lang, Version: version}) == server.Done || b.restart {
			return
		}
	}
	limits := func() xmlscan.Limits {
		return xmlscan.Limits{Bytes: turn.MaxElement(), Depth: s.h.cfg.Limits.Depth, Attrs: s.h.cfg.Limits.Attributes}
	}
	err := b.elements(limits, func(el *xmlscan.Element) bool { return turn.Element(el) != server.Done })
	var bad *xmlscan.Error
	if errors.As(err, &bad) {
		turn.Close(server.BadXML(bad))
	}
	if b.terminate {
		turn.Hangup()
	}
}

// overactive notices empty polls that come too fast (section 12).
func (s *session) overactive(b *body) bool {
	if !s.polls() || b.sid == "" {
		return false
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.lastPoll
	s.lastPoll = time.Time{}
	if b.empty() {
		s.lastPoll = now
	}
	return b.empty() && !last.IsZero() && now.Sub(last) < s.h.cfg.Polling
}

// settle answers what need not wait any longer after a request was worked off;
// mu is held.
func (s *session) settle(b *body) {
	if s.ended != nil {
		return
	}
	s.pump()
	switch {
	case b.pause >= 0:
		// Section 10: all requests are answered, this one too.
		s.paused = b.pause
		for r := s.win.free(); r != nil; r = s.win.free() {
			s.reply(r)
		}
	default:
		s.paused = 0
		for r := s.win.surplus(); r != nil; r = s.win.surplus() {
			s.reply(r)
		}
	}
	s.remind()
}

// pump sends what is waiting, if there is a request to send it on; mu is held.
func (s *session) pump() {
	if len(s.out) == 0 || s.ended != nil {
		return
	}
	if r := s.win.free(); r != nil {
		s.reply(r)
		s.remind()
	}
}

// reply answers a request with everything that waits; mu is held.
func (s *session) reply(r *request) {
	var attrs []byte
	if !s.created {
		attrs = s.creation()
		s.created = true
	}
	payload := s.out
	s.out = nil
	answer := wrap(attrs, payload)
	to := r.to
	s.win.answered(r, answer, payload)
	if len(payload) > 0 {
		s.lastPoll = time.Time{}
	}
	to.answer <- answer
	s.silent()
}

// abandon takes note that a client stopped waiting. What was meant for it goes
// out on the next request.
func (s *session) abandon(to *responder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return
	}
	r, answered := s.win.of(to)
	switch {
	case r == nil: // another copy of the request took over
	case answered:
		s.out = append(s.win.takeBack(r), s.out...)
	default:
		r.to = nil
	}
	s.pump()
	s.remind()
	s.silent()
}

// remind sets the timer of the oldest held request (section 8); mu is held.
func (s *session) remind() {
	if s.deadline != nil {
		s.deadline.Stop()
		s.deadline = nil
	}
	r := s.win.free()
	if r == nil || s.ended != nil {
		return
	}
	s.deadline = time.AfterFunc(time.Until(r.due), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ended == nil && r.to != nil && s.win.free() == r {
			s.reply(r)
			s.remind()
		}
	})
}

// silent starts or stops the clock of inactivity, which runs while nobody waits
// for an answer (section 10); mu is held.
func (s *session) silent() {
	if s.silence != nil {
		s.silence.Stop()
		s.silence = nil
	}
	if s.ended != nil || s.busy || len(s.win.all()) > 0 {
		return
	}
	limit := max(s.h.cfg.Inactivity, s.paused)
	var timer *time.Timer
	timer = time.AfterFunc(limit, func() {
		s.mu.Lock()
		gone := s.silence == timer
		s.mu.Unlock()
		if gone {
			s.end(server.Close{Reason: server.ReasonInactive})
		}
	})
	s.silence = timer
}
