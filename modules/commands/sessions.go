package commands

import (
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"rollcall/internal/jid"
)

const (
	sessionTime = 10 * time.Minute // that somebody has to fill in a form
	sessionsOf  = 16               // commands that one connection has begun; the oldest makes room
	sessionsAll = 1024             // that all have begun
)

// newID makes an unguessable session id.
func newID() string { return rand.Text() }

// session is a command whose form somebody is filling in.
type session struct {
	id, node string
	by       jid.JID // full
	at       time.Time
}

// sessions are the commands that have begun and not ended, oldest first.
type sessions struct {
	mu   sync.Mutex
	list []session
}

// verdict says what somebody's session id is worth.
type verdict uint8

const (
	running verdict = iota
	over            // completed, cancelled or forgotten
	strange         // of another command, or somebody else's
)

// begin starts a session.
func (t *sessions) begin(node string, by jid.JID, now time.Time) (id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	own := 0
	for _, s := range t.list {
		if s.by == by {
			own++
		}
	}
	if own >= sessionsOf || len(t.list) >= sessionsAll {
		oldest := slices.IndexFunc(t.list, func(s session) bool { return own < sessionsOf || s.by == by })
		t.list = slices.Delete(t.list, oldest, oldest+1)
	}
	id = newID()
	t.list = append(t.list, session{id: id, node: node, by: by, at: now})
	return id
}

func (t *sessions) expire(now time.Time) {
	n := 0
	for n < len(t.list) && now.Sub(t.list[n].at) >= sessionTime {
		n++
	}
	t.list = slices.Delete(t.list, 0, n)
}

// check says whether a session goes on.
func (t *sessions) check(id, node string, by jid.JID, now time.Time) verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	i := slices.IndexFunc(t.list, func(s session) bool { return s.id == id })
	switch {
	case i < 0:
		return over
	case t.list[i].node != node || t.list[i].by != by:
		return strange
	}
	return running
}

// end ends a session.
func (t *sessions) end(id string) {
	t.drop(func(s session) bool { return s.id == id })
}

// forget ends the sessions of a connection.
func (t *sessions) forget(by jid.JID) {
	t.drop(func(s session) bool { return s.by == by })
}

func (t *sessions) drop(which func(session) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = slices.DeleteFunc(t.list, which)
}
