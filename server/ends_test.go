package server_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/internal/xmlscan"
	"rollcall/server"
)

// Who comes back while the hooks of the lost connection still run waits for them:
// what they say of the old connection comes before what the new one says.
func TestBindWaitsForTheEndOfALostSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered, release := make(chan struct{}), make(chan struct{})
		var mu sync.Mutex
		var order []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, what)
		}
		m := &module{name: "slow", start: func(h *server.Host) error {
			h.OnUserAvailable(1, func(context.Context, *server.UserAvailable) { note("available") })
			h.OnRemoveConnection(1, func(_ context.Context, e *server.RemoveConnection) {
				if e.Reason == server.ReasonLost {
					close(entered)
					<-release
					note("removed")
				}
			})
			return nil
		}}
		s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{m}})
		old := s.Login("alice/web")
		go old.Drop()
		<-entered
		back := make(chan struct{})
		go func() {
			defer close(back)
			s.Online("alice/web")
		}()
		synctest.Wait()
		select {
		case <-back:
			t.Error("the new session did not wait")
		default:
		}
		close(release)
		<-back
		if len(order) != 2 || order[0] != "removed" {
			t.Errorf("order %v", order)
		}
	})
}

// One that never comes to an end is waited for no longer than for one that is
// replaced, and the next finds it gone.
func TestBindDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered, release := make(chan struct{}), make(chan struct{})
		m := &module{name: "stuck", start: func(h *server.Host) error {
			h.OnRemoveConnection(1, func(_ context.Context, e *server.RemoveConnection) {
				if e.Reason == server.ReasonLost {
					close(entered)
					<-release
				}
			})
			return nil
		}}
		s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{m}})
		old := s.Login("alice/web")
		go old.Drop()
		<-entered
		start := time.Now()
		s.Login("alice/web").Hangup()
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("waited %s", took)
		}
		close(release)
		synctest.Wait()
		start = time.Now()
		s.Login("alice/web")
		if took := time.Since(start); took != 0 {
			t.Errorf("waited %s for nobody", took)
		}
	})
}

// An account that is removed between authentication and binding binds nothing.
func TestRemovedUsersDoNotBind(t *testing.T) {
	dir := people()
	s := servertest.New(t, servertest.Options{Directory: dir})
	alice, bob := s.Dial(), s.Dial()
	for user, c := range map[string]*servertest.Client{"alice": alice, "bob": bob} {
		c.Open("example.com")
		c.Authenticate(user, servertest.Password)
		c.Open("example.com")
	}
	dir.RemoveUser("alice")
	alice.Send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	if c := alice.ExpectClosed(server.ReasonUserRemoved); c.Condition() != "not-authorized" {
		t.Errorf("condition %q", c.Condition())
	}
	bob.Bind("web")
	dir.AddUser("alice", "Another Alice")
	s.Login("alice/web")
}

// A connection that was accepted before the listener closed, but is new to the
// core only during the shutdown, does not hold the shutdown up.
func TestLateConnectionsAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered, release := make(chan struct{}), make(chan struct{})
		m := &module{name: "slow", start: func(h *server.Host) error {
			h.OnRemoveConnection(1, func(context.Context, *server.RemoveConnection) {
				close(entered)
				<-release
			})
			return nil
		}}
		s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{m}})
		s.Login("alice/web")
		start := time.Now()
		done := make(chan error)
		go func() { done <- s.Shutdown(t.Context()) }()
		<-entered
		late := s.Dial()
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %s", took)
		}
		if got := late.ExpectClosed(server.ReasonShutdown); got.Condition() != "system-shutdown" {
			t.Errorf("condition %q", got.Condition())
		}
	})
}

// fragile is a transport with a defect.
type fragile struct{ server.Transport }

func (fragile) Info() server.Info        { return server.Info{Kind: "test", Secure: true} }
func (fragile) Open(server.StreamHeader) {}
func (fragile) Write([]byte) error       { return nil }
func (fragile) Flush()                   {}
func (fragile) Close(server.Close)       { panic("on purpose") }

// element scans one element.
func element(t *testing.T, text string) *xmlscan.Element {
	t.Helper()
	var el xmlscan.Element
	sc := xmlscan.New(xmlscan.Limits{Bytes: 1 << 16, Depth: 10, Attrs: 10})
	sc.Scope(nil)
	if _, err := sc.Next([]byte(text), &el); err != nil {
		t.Fatal(err)
	}
	return &el
}

// A defect of a transport's end costs nobody else anything, on whatever goroutine
// it shows.
func TestPanicInTheEndOfATransport(t *testing.T) {
	removed := make(chan server.Reason, 1)
	m := &module{name: "ends", start: func(h *server.Host) error {
		h.OnRemoveConnection(1, func(_ context.Context, e *server.RemoveConnection) { removed <- e.Reason })
		return nil
	}}
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{m}, Panics: true})
	session := s.NewSession(fragile{}, &server.Listener{})
	turn := session.Begin()
	turn.Open(server.StreamHeader{To: "example.com", Version: "1.0"})
	turn.Element(element(t, plain("alice", servertest.Password)))
	turn.Element(element(t, "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>web</resource></bind></iq>"))
	turn.End()
	session.Kick(server.Close{Reason: server.ReasonPing})
	if got := <-removed; got != server.ReasonPing {
		t.Errorf("removed for %s", got)
	}
	s.Login("alice/web")
}
