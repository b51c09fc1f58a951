package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/servertest"
	"rollcall/server"
)

// module is a server.Module of a test's making.
type module struct {
	name  string
	start func(*server.Host) error
	stop  func(context.Context) error
}

func (m *module) Name() string { return m.name }

func (m *module) Start(h *server.Host) error { return m.start(h) }

func (m *module) Stop(ctx context.Context) error {
	if m.stop == nil {
		return nil
	}
	return m.stop(ctx)
}

func people() *servertest.Directory {
	return servertest.NewDirectory().AddUser("alice", "Alice").AddUser("bob", "Bob")
}

func TestHandlersRunInOrder(t *testing.T) {
	var order []string
	m := &module{name: "order", start: func(h *server.Host) error {
		for i, priority := range []int{50, 10, 50, -1} {
			h.OnUserAvailable(priority, func(context.Context, *server.UserAvailable) {
				order = append(order, fmt.Sprint(priority, "/", i))
			})
		}
		return nil
	}}
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{m}})
	s.Online("alice/web")
	if want := []string{"-1/3", "10/1", "50/0", "50/2"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

// A handler that panics costs nothing but itself.
func TestPanicInHandler(t *testing.T) {
	after := 0
	m := &module{name: "bad", start: func(h *server.Host) error {
		h.OnSetPresence(1, func(context.Context, *server.SetPresence) { panic("on purpose") })
		h.OnSetPresence(2, func(context.Context, *server.SetPresence) { after++ })
		h.OnRemoveConnection(1, func(context.Context, *server.RemoveConnection) { panic("on purpose") })
		h.OnRemoveConnection(2, func(context.Context, *server.RemoveConnection) { after++ })
		return h.HandleIQ(server.ToServer, "urn:bad", "query", func(context.Context, *server.IQ) (server.Payload, error) {
			panic("on purpose")
		})
	}}
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{m}, Panics: true})
	alice, bob := s.Online("alice/web"), s.Login("bob/web")
	alice.Send("<iq type='get' id='1' to='example.com'><query xmlns='urn:bad'/></iq>")
	alice.Expect("<iq type='error' id='1' from='example.com' to='{alice}'><error type='cancel'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
	alice.Drop()
	if after != 2 {
		t.Errorf("%d handlers ran after the bad ones, want 2", after)
	}
	if n := s.Metric("rollcall_panics_total"); n != 3 {
		t.Errorf("%v panics counted, want 3", n)
	}
	bob.Ask("get", "example.com", "<ping xmlns='urn:xmpp:ping'/>")
}

// service answers everything with forbidden.
type service struct{}

func (service) ServeIQ(context.Context, *server.IQ) (server.Payload, error) {
	return nil, server.Error(stanza.Forbidden, "")
}
func (service) ServeMessage(_ context.Context, st *server.Stanza) {
	st.Reply(server.Error(stanza.Forbidden, ""))
}
func (service) ServePresence(context.Context, *server.Stanza, *server.Presence) {}

// Whatever a module registered is gone when a later module fails to start.
func TestStopUndoesEverything(t *testing.T) {
	heard := 0
	var host *server.Host
	m := &module{name: "first", start: func(h *server.Host) error {
		host = h
		h.OnUserAvailable(1, func(context.Context, *server.UserAvailable) { heard++ })
		h.Feature(server.ToServer, "urn:first")
		h.ReservePresence("urn:first")
		if err := h.Serve("first.example.com", service{}); err != nil {
			return err
		}
		return h.HandleIQ(server.ToServer|server.ToSelf, "urn:first", "query",
			func(context.Context, *server.IQ) (server.Payload, error) { return nil, nil })
	}}
	stopped := false
	m.stop = func(context.Context) error { stopped = true; return nil }
	s := servertest.New(t, servertest.Options{Directory: people()})
	bad := &module{name: "second", start: func(h *server.Host) error {
		if !slices.Contains(h.Features(server.ToServer), "urn:first") || !slices.Contains(h.Services(), "first.example.com") {
			t.Error("the first module's registrations are not there")
		}
		if err := h.HandleIQ(server.ToSelf, "urn:first", "query", nil); err == nil || !strings.Contains(err.Error(), "first") {
			t.Errorf("two handlers for one request: %v", err)
		}
		if err := h.Serve("first.example.com", service{}); err == nil {
			t.Error("two services for one host")
		}
		return fmt.Errorf("refused")
	}}
	if err := s.Start(t.Context(), m, bad); err == nil || !strings.Contains(err.Error(), "module second: refused") {
		t.Fatalf("start: %v", err)
	}
	if !stopped || len(host.Features(server.ToServer)) > 0 || len(host.Services()) > 0 {
		t.Errorf("left behind: stopped %t, features %v, services %v", stopped, host.Features(server.ToServer), host.Services())
	}
	alice := s.Login("alice/web")
	alice.Send("<presence><x xmlns='urn:first'/></presence>")
	alice.Expect("<presence from='{alice}' to='{alice}'><x xmlns='urn:first'/></presence>")
	if heard != 0 {
		t.Error("a hook of a stopped module ran")
	}
	for _, to := range []string{"example.com", "alice@example.com"} {
		alice.Send("<iq type='get' id='1' to='" + to + "'><query xmlns='urn:first'/></iq>")
		alice.Expect("<iq type='error' id='1' from='" + to + "' to='{alice}'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
	}
	alice.Send("<iq type='get' id='2' to='first.example.com'><query xmlns='urn:first'/></iq>")
	alice.Expect("<iq type='error' id='2' from='first.example.com' to='{alice}'><error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
}

// A store that is slow for one user is slow for nobody else.
func TestSlowHandlerDelaysOneUser(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	m := &module{name: "slow", start: func(h *server.Host) error {
		h.OnSetPresence(1, func(_ context.Context, e *server.SetPresence) {
			if e.Session.JID().Local() == "alice" {
				close(entered)
				<-release
			}
		})
		return nil
	}}
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{m}})
	alice, bob := s.Login("alice/web"), s.Login("bob/web")
	done := make(chan struct{})
	go func() {
		defer close(done)
		alice.Send("<presence/>")
	}()
	<-entered
	bob.Send("<presence/>")
	bob.Expect("<presence from='{bob}' to='{bob}'/>")
	bob.Send("<message type='chat' to='alice@example.com/web' id='m'/>")
	close(release)
	<-done
	alice.Drain()
	bob.ExpectNothing()
}

func TestSessionsOfRemovedUsersEnd(t *testing.T) {
	dir := people()
	s := servertest.New(t, servertest.Options{Directory: dir})
	alice := s.Online("alice/web")
	s.KickUser(jid.JID{}, server.Close{Reason: server.ReasonUserRemoved}) // nobody
	dir.RemoveUser("alice")
	if c := alice.ExpectClosed(server.ReasonUserRemoved); c.Condition() != "not-authorized" {
		t.Errorf("condition %q", c.Condition())
	}
}
