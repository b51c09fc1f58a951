package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"rollcall/internal/jid"
	"rollcall/internal/servertest"
	"rollcall/server"
)

// ledger holds the hooks to their contract.
type ledger struct {
	t     *testing.T
	mu    sync.Mutex
	of    map[jid.JID]string // the connection whose events an address has now
	gone  map[string]bool
	state map[string]bool // available, by connection
}

func (l *ledger) event(name, conn string, j jid.JID, was, available bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone[conn] {
		l.t.Errorf("%s: %s after the end of connection %s", j, name, conn)
	}
	if had, ok := l.of[j]; ok && had != conn {
		l.t.Errorf("%s: %s of connection %s before the end of %s", j, name, conn, had)
	}
	l.of[j] = conn
	if l.state[conn] != was {
		l.t.Errorf("%s: %s says available before: %t", j, name, was)
	}
	l.state[conn] = available
}

// others reports whether anybody but the watcher has a state.
func (l *ledger) others() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.of) > 1
}

func (l *ledger) Name() string { return "ledger" }

func (l *ledger) Start(h *server.Host) error {
	h.OnUserAvailable(1, func(_ context.Context, e *server.UserAvailable) {
		l.event("user_available", e.Session.Conn(), e.Session.JID(), false, false)
	})
	h.OnSetPresence(1, func(_ context.Context, e *server.SetPresence) {
		l.event("set_presence", e.Session.Conn(), e.Session.JID(), e.WasAvailable, e.Presence.Available)
	})
	h.OnRemoveConnection(1, func(_ context.Context, e *server.RemoveConnection) {
		l.event("remove_connection", e.Conn, e.JID, e.Last != nil, false)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.gone[e.Conn] = true
		delete(l.of, e.JID)
	})
	return nil
}

// sink is a transport that forgets what it is given.
type sink struct{}

func (sink) Info() server.Info        { return server.Info{Kind: "test", Secure: true} }
func (sink) Open(server.StreamHeader) {}
func (sink) Write([]byte) error       { return nil }
func (sink) Flush()                   {}
func (sink) Close(server.Close)       {}

// Connections that come, talk, replace each other and go, all at once, keep the
// promises of the hooks, and who watches them knows in the end that all are gone.
func TestStormOfConnections(t *testing.T) {
	l := &ledger{t: t, of: make(map[jid.JID]string), gone: make(map[string]bool), state: make(map[string]bool)}
	dir := people()
	s := servertest.New(t, servertest.Options{Directory: dir, Modules: []server.Module{l}})
	watch := s.Online("alice/watch")
	const workers, rounds = 8, 60
	var all sync.WaitGroup
	for w := range workers {
		random := rand.New(rand.NewPCG(1, uint64(w)))
		all.Go(func() {
			for range rounds {
				last := storm(t, s, random)
				defer last.Kick(server.Close{Reason: server.ReasonPing}) // if nobody took its resource
			}
		})
	}
	all.Wait()
	for l.others() {
		runtime.Gosched() // kicks end on goroutines of their own
	}
	s.Stop()
	last := make(map[string]string)
	for _, el := range watch.Drain() {
		if from := el.SelectAttrValue("from", ""); el.Tag == "presence" && !strings.HasSuffix(from, "/watch") {
			last[from] = el.SelectAttrValue("type", "available")
		}
	}
	for from, state := range last {
		if state != "unavailable" {
			t.Errorf("%s was %s in the end", from, state)
		}
	}
	if len(last) == 0 || len(l.of) > 0 {
		t.Errorf("%d addresses seen, %v not over", len(last), l.of)
	}
}

// storm is the life of one connection, which may not be over in the end.
func storm(t *testing.T, s *servertest.Server, random *rand.Rand) *server.Session {
	session := s.NewSession(sink{}, &server.Listener{})
	do := func(f func(*server.Turn)) {
		turn := session.Begin()
		defer turn.End()
		f(turn)
	}
	send := func(el string) { do(func(turn *server.Turn) { turn.Element(element(t, el)) }) }
	open := func(turn *server.Turn) { turn.Open(server.StreamHeader{To: "example.com", Version: "1.0"}) }
	do(open)
	send(plain("alice", servertest.Password))
	do(open)
	resource := fmt.Sprint("r", random.IntN(3))
	send("<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>")
	for range random.IntN(6) {
		send([]string{
			"<presence xmlns='jabber:client'/>",
			"<presence xmlns='jabber:client' type='unavailable'/>",
			"<presence xmlns='jabber:client' to='alice@example.com/r1'/>",
			"<presence xmlns='jabber:client'><show>away</show></presence>",
			"<message xmlns='jabber:client' to='alice@example.com'/>",
		}[random.IntN(5)])
	}
	switch random.IntN(3) {
	case 0:
		do(func(turn *server.Turn) { turn.Hangup() })
	case 1:
		session.Kick(server.Close{Reason: server.ReasonPing})
	default: // until somebody takes the resource
	}
	return session
}
