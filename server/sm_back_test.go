package server_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mellium.im/xmpp/stream"

	"rollcall/conf"
	"rollcall/internal/servertest"
	"rollcall/server"
)

// named is a module that keeps messages under ids that they have already, whoever asks
// for it.
type named struct {
	host   *server.Host
	unsafe func() // runs while messages are being stored
	nobody func() // runs while one that nobody took is

	mu    sync.Mutex
	kept  map[string]bool
	tries atomic.Int32 // of messages that nobody took
}

func (*named) Name() string { return "named" }

func (m *named) Start(h *server.Host) error {
	m.host, m.kept = h, make(map[string]bool)
	keep := func(data []byte) string {
		_, id, _ := strings.Cut(string(data), " id='")
		id, _, _ = strings.Cut(id, "'")
		m.mu.Lock()
		defer m.mu.Unlock()
		m.kept[id] = true
		return id
	}
	h.OnUnsafe(0, func(_ context.Context, e *server.Unsafe) {
		if m.unsafe != nil {
			m.unsafe()
		}
		for _, k := range e.Messages {
			k.ID = keep(k.Data)
		}
	})
	h.OnNobody(0, func(_ context.Context, e *server.Nobody) {
		keep(e.Data)
		e.Handled = true
		m.tries.Add(1)
		if m.nobody != nil {
			m.nobody()
		}
	})
	h.OnAcked(0, func(_ context.Context, e *server.Acked) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, id := range e.IDs {
			delete(m.kept, id)
		}
	})
	return nil
}

func (m *named) has(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept[id]
}

// let lets others run until something is so, or for a while.
func let(done func() bool) {
	for range 20_000 {
		if done() {
			return
		}
		runtime.Gosched()
	}
}

// until lets others run until something is so.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func backing(t *testing.T) (*servertest.Server, *named) {
	m := new(named)
	options := conf.Default().StreamManagement
	options.AckDelay = 0
	return servertest.New(t, servertest.Options{
		Directory: people(), StreamManagement: &options, Modules: []server.Module{m, holder()},
	}), m
}

// A message is stored for its sender's sake while its recipient's session ends, and it
// is stored for that as well, under the same id: it stays.
func TestStoredWhileGivenBack(t *testing.T) {
	for range 20 {
		s, m := backing(t)
		alice, bob := call(s, "alice/phone"), call(s, "bob/phone")
		m.unsafe = func() {
			bob.Session().Kick(server.Close{Reason: server.ReasonEnded})
			let(func() bool { return m.tries.Load() > 0 })
		}
		alice.Send(say(bob.JID, "1") + "<r " + sm + "/>")
		alice.Expect("<a " + sm + " h='2'/>")
		until(t, "nobody was asked", func() bool { return m.tries.Load() > 0 })
		s.Stop()
		if !m.has("1") {
			t.Fatal("the message is lost")
		}
	}
}

// The other way round.
func TestGivenBackWhileStored(t *testing.T) {
	for range 20 {
		s, m := backing(t)
		alice, bob := call(s, "alice/phone"), call(s, "bob/phone")
		answered, done := make(chan struct{}), make(chan struct{})
		m.nobody = func() {
			defer close(done)
			go func() {
				defer close(answered)
				alice.Send("<r " + sm + "/>")
			}()
			let(func() bool {
				select {
				case <-answered:
					return true
				default:
					return false
				}
			})
		}
		alice.Send(say(bob.JID, "1"))
		bob.Session().Kick(server.Close{Reason: server.ReasonEnded})
		<-done
		<-answered
		alice.Expect("<a " + sm + " h='2'/>")
		s.Stop()
		if !m.has("1") {
			t.Fatal("the message is lost")
		}
	}
}

// What is sent to a session that was found just before it ended goes back.
func TestTooLate(t *testing.T) {
	s, m := backing(t)
	bob := call(s, "bob/phone")
	found := m.host.Sessions(bob.JID.Bare())[0]
	bob.Hangup()
	b := m.host.NewBatch()
	b.Send(found, fmt.Appendf(nil, "<message xmlns='jabber:client' from='alice@example.com/x' to='%s' id='1'/>", bob.JID))
	b.Send(found, []byte("<presence xmlns='jabber:client' from='alice@example.com/x' to='bob@example.com'/>"))
	b.Flush()
	until(t, "the message is lost", func() bool { return m.has("1") })
}

// A message that comes when the held presence before it does not fit any more goes back.
func TestHeldDoesNotFit(t *testing.T) {
	s, m := backing(t)
	alice, bob := s.Login("alice/web"), call(s, "bob/phone")
	bob.Send("<inactive xmlns='test'/>")
	alice.Send(directed(bob.JID, "away"))
	bob.Stall()
	alice.Send(say(bob.JID, "1"))
	bob.ExpectClosed(server.ReasonSlowReader)
	until(t, "the message is lost", func() bool { return m.has("1") })
}

// A client that binds its resource anew hears of that first, whatever comes over from
// the session that had it.
func TestBoundBeforeTheRest(t *testing.T) {
	for range 50 {
		s, _ := backing(t)
		alice, bob := s.Login("alice/web"), call(s, "bob/phone")
		bob.Drop()
		for i := range 5 {
			alice.Send(say(bob.JID, fmt.Sprint(i)))
		}
		again := arrive(s, "bob")
		again.Send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>phone</resource></bind></iq>")
		again.Expect("<iq type='result' id='b'>...</iq>")
		for i := range 5 {
			again.Expect(got(fmt.Sprint(i)))
		}
		s.Stop()
	}
}

// An acknowledgement that was overtaken by a later one says nothing.
func TestAckOvertaken(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	alice, bob := s.Login("alice/web"), call(s, "bob/phone")
	alice.Send(say(bob.JID, "1") + say(bob.JID, "2"))
	bob.Drain()
	bob.ack(3)
	bob.ack(2)
	bob.ExpectNothing()
	bob.Drop()
	bob.again(1, 3).ExpectNothing()
}

// guarded is a connection with a lock of its own.
type guarded struct {
	pipe
	lock    sync.Mutex
	writing chan struct{} // told of each message before it waits for the lock
}

func (g *guarded) Write(el []byte) error {
	if strings.HasPrefix(string(el), "<message") {
		g.writing <- struct{}{}
	}
	g.lock.Lock()
	defer g.lock.Unlock()
	return nil
}

// A transport may kick its session while it holds the lock that writing needs.
func TestKickWhileWriting(t *testing.T) {
	c := newCore(t, holder())
	g := &guarded{pipe: pipe{scan: streamScanner()}, writing: make(chan struct{}, 1)}
	g.Session = c.enter(t, g, address2jid(t, "bob@example.com/x"), "<inactive xmlns='test'/>")
	p := &pipe{scan: streamScanner()}
	p.Session = c.enter(t, p, address2jid(t, "alice@example.com/x"), "")
	sent, kicked := make(chan struct{}), make(chan struct{})
	g.lock.Lock()
	go func() {
		defer close(sent)
		p.send(t, []byte(say(g.JID(), "1")))
	}()
	<-g.writing
	go func() {
		defer close(kicked)
		g.Kick(server.StreamError(stream.PolicyViolation, nil))
	}()
	select {
	case <-kicked:
	case <-time.After(30 * time.Second):
		t.Error("Kick waits for who writes")
	}
	g.lock.Unlock()
	<-sent
	<-kicked
}

// So it does when somebody writes to it while the session that had the resource ends.
func TestBoundWhileOtherEnds(t *testing.T) {
	var host hostOf
	teller := &module{name: "teller", start: func(h *server.Host) error {
		h.OnRemoveConnection(0, func(_ context.Context, e *server.RemoveConnection) {
			if !e.Replaced() {
				return
			}
			b := host.NewBatch()
			b.Deliver(e.JID, []byte("<message xmlns='jabber:client' from='example.com' to='"+e.JID.String()+"' id='1'/>"))
			b.Flush()
		})
		return nil
	}}
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{&host, teller}})
	call(s, "bob/phone")
	again := arrive(s, "bob")
	again.Send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>phone</resource></bind></iq>")
	again.Expect("<iq type='result' id='b'>...</iq>")
	again.Expect("<message from='example.com' to='{any}' id='1'/>")
}
