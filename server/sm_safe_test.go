package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/conf"
	"rollcall/internal/servertest"
	"rollcall/server"
)

// spool is a module that keeps messages.
type spool struct {
	host *server.Host

	mu      sync.Mutex
	broken  bool // keeps nothing
	count   int
	kept    map[string]string // stanzas by id
	deleted []string
	nobody  []string // stanzas that nobody took
}

func (*spool) Name() string { return "spool" }

func (m *spool) Start(h *server.Host) error {
	if m.kept == nil {
		m.host, m.kept = h, make(map[string]string)
	}
	h.OnUnsafe(0, func(_ context.Context, e *server.Unsafe) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, k := range e.Messages {
			if !m.broken {
				m.count++
				k.ID = fmt.Sprint("id", m.count)
				m.kept[k.ID] = string(k.Data)
			}
		}
	})
	h.OnAcked(0, func(_ context.Context, e *server.Acked) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, id := range e.IDs {
			delete(m.kept, id)
			m.deleted = append(m.deleted, id)
		}
	})
	h.OnNobody(0, func(_ context.Context, e *server.Nobody) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if e.ID == "" {
			m.nobody, e.Handled = append(m.nobody, string(e.Data)), true
		}
	})
	return nil
}

// expect compares what is kept: the ids of the stanzas, in order.
func (m *spool) expect(t *testing.T, stanzas ...string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var got []string
	for _, text := range m.kept {
		_, id, _ := strings.Cut(text, " id='")
		id, _, _ = strings.Cut(id, "'")
		got = append(got, id)
	}
	slices.Sort(got)
	if !slices.Equal(got, stanzas) {
		t.Errorf("kept: %q, want %q", got, stanzas)
	}
}

// spooled is a server with a spool.
func spooled(t *testing.T, delay time.Duration) (*servertest.Server, *spool) {
	m := new(spool)
	options := conf.Default().StreamManagement
	options.AckDelay = delay
	return servertest.New(t, servertest.Options{
		Directory: people(), StreamManagement: &options, Modules: []server.Module{m},
	}), m
}

func TestAckedWhenStored(t *testing.T) {
	s, m := spooled(t, 0)
	alice, bob := call(s, "alice/phone"), call(s, "bob/phone")
	alice.Send(say(bob.JID, "1") + say(bob.JID, "2") + "<r " + sm + "/>")
	alice.Expect("<a " + sm + " h='3'/>")
	m.expect(t, "1", "2")
	bob.Expect(got("1"))
	bob.Expect("<r " + sm + "/>")
	bob.Expect(got("2"))
	bob.ack(2)
	m.expect(t, "2")
	bob.Expect("<r " + sm + "/>")
	bob.ack(3)
	m.expect(t)

	// What the receiver has acknowledged already is not stored.
	alice.Send(say(bob.JID, "3"))
	bob.Expect(got("3"))
	bob.Expect("<r " + sm + "/>")
	bob.ack(4)
	alice.Send("<r " + sm + "/>")
	alice.Expect("<a " + sm + " h='4'/>")

	// Nor what somebody took who acknowledges nothing.
	desk := s.Login("bob/desk")
	desk.Send("<presence/>")
	desk.Drain()
	bob.Drain()
	alice.Send(say(desk.JID, "4") + say(bob.JID.Bare(), "5") + "<r " + sm + "/>")
	alice.Expect("<a " + sm + " h='6'/>")
	m.expect(t)
	if m.count != 2 {
		t.Errorf("%d messages were stored", m.count)
	}

	// What cannot be stored is not acknowledged, nor is what came after it.
	m.broken = true
	alice.Send(say(bob.JID, "6") + "<presence/><r " + sm + "/>")
	alice.Drain()
	alice.Send("<r " + sm + "/>")
	alice.Expect("<a " + sm + " h='6'/>")
	alice.Drop()
	again := arrive(s, "alice")
	again.Send(fmt.Sprintf("<resume %s h='2' previd='%s'/>", sm, alice.id))
	again.Expect("<resumed " + sm + " h='8' previd='" + alice.id + "'/>") // it is here
	again.Drain()
	again.Send("<r " + sm + "/>")
	again.Expect("<a " + sm + " h='8'/>")
	m.broken = false
	again.Send("<r " + sm + "/>")
	again.Expect("<a " + sm + " h='8'/>")
	m.expect(t, "6")
}

func TestAckWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := spooled(t, 250*time.Millisecond)
		alice, bob := call(s, "alice/phone"), call(s, "bob/phone")
		alice.Send(say(bob.JID, "1") + "<r " + sm + "/>")
		synctest.Wait()
		alice.ExpectNothing()
		bob.Expect(got("1"))
		bob.Expect("<r " + sm + "/>")
		bob.ack(2)
		synctest.Wait()
		alice.Expect("<a " + sm + " h='2'/>")
		alice.Send(say(bob.JID, "2") + "<r " + sm + "/>" + say(bob.JID, "3") + "<r " + sm + "/>")
		time.Sleep(time.Second)
		synctest.Wait()
		m.expect(t, "2", "3")
		alice.Expect("<a " + sm + " h='4'/>")
		alice.ExpectNothing()
		bob.ack(4)
		m.expect(t)
		time.Sleep(time.Second)
		synctest.Wait()
		alice.ExpectNothing()
	})
}

// What is in the store stays there when nobody else takes it, and is handed on when
// somebody does.
func TestKeptGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := spooled(t, 0)
		alice, bob := call(s, "alice/phone"), call(s, "bob/phone")
		bob.Drop()
		alice.Send(say(bob.JID, "1") + "<r " + sm + "/>" + say(bob.JID, "2"))
		alice.Expect("<a " + sm + " h='2'/>")
		time.Sleep(time.Hour)
		synctest.Wait()
		m.expect(t, "1")
		if len(m.nobody) != 1 || !strings.Contains(m.nobody[0], "id='2'") {
			t.Errorf("nobody took %q", m.nobody)
		}
		alice.Send("<r " + sm + "/>")
		alice.Expect("<a " + sm + " h='3'/>")
		m.expect(t, "1")

		bob = call(s, "bob/phone")
		b := m.host.NewBatch()
		b.SendKept(m.host.Sessions(bob.JID.Bare())[0], []byte(m.kept["id1"]), "id1")
		b.Flush()
		bob.Expect(got("1"))
		bob.Drop() // before it could acknowledge
		desk := s.Login("bob/desk")
		desk.Send("<presence/>")
		desk.Drain()
		m.expect(t, "1")
		time.Sleep(time.Hour)
		synctest.Wait()
		desk.Expect("<presence from='{any}' to='{any}'><show>away</show></presence>")
		desk.Expect("<presence type='unavailable' from='{any}' to='{any}'/>")
		desk.Expect(got("1"))
		m.expect(t)
		if len(m.nobody) != 1 || !slices.Equal(m.deleted, []string{"id1"}) {
			t.Errorf("nobody took %q, deleted %q", m.nobody, m.deleted)
		}
	})
}

func TestSendKept(t *testing.T) {
	s, m := spooled(t, 0)
	m.kept["x"] = "<message xmlns='jabber:client' from='alice@example.com/x' to='bob@example.com' id='x' type='chat'/>"
	bob := call(s, "bob/phone")
	to := m.host.Sessions(bob.JID.Bare())[0]
	if !to.Acks() || s.Online("alice/web").Session().Acks() {
		t.Error("who acknowledges?")
	}
	b := m.host.NewBatch()
	b.SendKept(to, []byte(m.kept["x"]), "x")
	b.Flush()
	bob.Expect("<message from='{any}' to='{any}' id='x' type='chat'/>")
	m.expect(t, "x")
	bob.Drop()
	again := bob.again(1, 2) // it came
	m.expect(t)
	again.ExpectNothing()
}

// What waits when the server stops is stored, once.
func TestStoredAtShutdown(t *testing.T) {
	s, m := spooled(t, time.Hour)
	alice, bob, web := call(s, "alice/phone"), call(s, "bob/phone"), s.Login("alice/web")
	bob.Drop()
	alice.Send(say(bob.JID, "1") + say(bob.JID.Bare(), "2"))
	web.Send(say(bob.JID, "3"))
	s.Stop()
	m.expect(t, "1", "2", "3")
	alice.Expect("<a " + sm + " h='3'/>")
}
