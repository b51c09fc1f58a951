package server_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage/memory"
)

// at is again at another node.
func (p *phone) at(s *servertest.Server, sent, got int) *phone {
	there := *p
	there.s = s
	return there.again(sent, got)
}

// roaming is a phone of bob's whose session is at the first of three nodes and that came
// back at the second; alice is at the third.
type roaming struct {
	hub   *memory.Hub
	nodes []*servertest.Server
	alice *servertest.Client
	*phone
}

// roam runs f in a bubble.
func roaming3(t *testing.T, o servertest.Options, f func(t *testing.T, r *roaming)) {
	synctest.Test(t, func(t *testing.T) {
		r := &roaming{hub: memory.NewHub()}
		r.nodes = nodesOf(t, r.hub, o, "a", "b", "c")
		r.alice = r.nodes[2].Online("alice/web")
		p := call(r.nodes[0], "bob/phone")
		p.Drop()
		r.phone = p.at(r.nodes[1], 1, 1)
		synctest.Wait()
		f(t, r)
	})
}

// metric is the sum over all nodes.
func (r *roaming) metric(name string) (sum float64) {
	for _, n := range r.nodes {
		sum += n.Metric(name)
	}
	return sum
}

func TestResumeAtAnotherNode(t *testing.T) {
	roaming3(t, servertest.Options{}, func(t *testing.T, r *roaming) {
		alice, p := r.alice, r.phone
		alice.Send(say(p.JID, "1") + say(p.JID.Bare(), "2"))
		synctest.Wait()
		p.Expect(got("1"))
		p.ExpectAnyOrder("<r "+sm+"/>", got("2"))
		p.ack(3)
		// Whatever the client declares comes along.
		p.Send("<message to='" + alice.JID.String() + "' id='3' type='chat' xmlns:y='urn:y'><y:y/><stream:x/></message>")
		p.Send("<r " + sm + "/>")
		synctest.Wait()
		alice.Expect("<message from='{any}' to='{any}' id='3' type='chat'><y xmlns='urn:y'/><x xmlns='http://etherx.jabber.org/streams'/></message>")
		p.Expect("<a " + sm + " h='2'/>")

		// It is lost again, and comes back where the session is.
		p.Drop()
		alice.Send(say(p.JID, "4"))
		synctest.Wait()
		if n := r.nodes[0].Metric("rollcall_detached_sessions"); n != 1 {
			t.Errorf("%v sessions wait", n)
		}
		p = p.at(r.nodes[0], 2, 3)
		p.Expect(got("4"))
		p.Expect("<r " + sm + "/>")
		p.Drop()
		p = p.at(r.nodes[2], 2, 4)
		p.Hangup()
		synctest.Wait()
		p.ExpectClosed(server.ReasonClient)
		alice.Send(say(p.JID, "5"))
		synctest.Wait()
		alice.Expect("<message type='error' id='5'>...</message>")
		alice.ExpectNothing()
		if n := r.metric("rollcall_connections"); n != 1 {
			t.Errorf("%v connections", n)
		}
		if n := r.metric("rollcall_sessions"); n != 1 {
			t.Errorf("%v sessions", n)
		}
		if n := r.metric("rollcall_detached_sessions"); n != 0 {
			t.Errorf("%v sessions wait", n)
		}
	})
}

// What the session knows of the connection to another node.
func TestInfoOfRelayedSession(t *testing.T) {
	var host hostOf
	synctest.Test(t, func(t *testing.T) {
		hub := memory.NewHub()
		a := servertest.New(t, servertest.Options{Directory: people(), Bus: hub.Bus("a"), Modules: []server.Module{&host}})
		b := servertest.New(t, servertest.Options{Directory: people(), Bus: hub.Bus("b"), Beside: a})
		p := call(a, "bob/phone")
		if _, mark, ok := strings.Cut(p.id, "-"); !ok || len(mark) != 8 || strings.Contains(p.id, "a") {
			t.Errorf("id %q", p.id)
		}
		p.Drop()
		p = p.at(b, 1, 1)
		s := host.Sessions(p.JID.Bare())[0]
		if info := s.Info(); info != (server.Info{Kind: "relay", Remote: "test", Secure: true, Manageable: true}) {
			t.Errorf("%+v", info)
		}
		if !s.Pingable() {
			t.Error("it cannot be pinged")
		}
		// White space is a sign of life.
		time.Sleep(time.Minute)
		turn := p.Session().Begin()
		turn.Skipped(1)
		turn.End()
		synctest.Wait()
		if ago := time.Since(s.Seen()); ago != 0 {
			t.Errorf("seen %v ago", ago)
		}
		p.Drop()
		p = &phone{Client: b.DialWith(manageable, server.Listener{NoPings: true}), s: b, id: p.id}
		p.Open("example.com")
		p.Authenticate("bob", servertest.Password)
		p.Open("example.com")
		p.Send(fmt.Sprintf("<resume %s h='1' previd='%s'/>", sm, p.id))
		p.Expect(fmt.Sprintf("<resumed %s h='1' previd='%s'/>", sm, p.id))
		if s.Pingable() {
			t.Error("it can be pinged")
		}
	})
}

// The stream goes where its client is, wherever it was before.
func TestTakeOverBetweenNodes(t *testing.T) {
	roaming3(t, servertest.Options{}, func(t *testing.T, r *roaming) {
		alice, old := r.alice, r.phone
		for i, node := range []int{2, 1, 1, 0, 2} {
			alice.Send(say(old.JID, fmt.Sprint(i)))
			synctest.Wait()
			old.Drain()
			p := old.at(r.nodes[node], 1+i, 1+i)
			synctest.Wait()
			if end := old.ExpectClosed(server.ReasonResumed); end.Condition() != "conflict" || end.Cut {
				t.Errorf("closed with %+v", end)
			}
			old.Send(say(alice.JID, "lost"))
			old.Drop()
			old.Hangup()
			p.Expect(got(fmt.Sprint(i)))
			p.Expect("<r " + sm + "/>")
			p.ack(2 + i)
			p.Send(say(alice.JID, fmt.Sprint("from ", i)))
			synctest.Wait()
			alice.Expect(got(fmt.Sprint("from ", i)))
			alice.ExpectNothing()
			if p.Closed() {
				t.Fatal("the end of the old connection is that of the new one")
			}
			old = p
		}
		old.Send("<resume " + sm + " h='1' previd='" + old.id + "'/>")
		synctest.Wait()
		old.Expect(refusal("unexpected-request"))
		if n := r.metric("rollcall_connections"); n != 3 { // alice's, the phone's, and the relay of that
			t.Errorf("%v connections", n)
		}
	})
}

func TestResumeAtAnotherNodeRefused(t *testing.T) {
	roaming3(t, servertest.Options{}, func(t *testing.T, r *roaming) {
		resume := func(n *phone, id string, h int) { n.Send(fmt.Sprintf("<resume %s h='%d' previd='%s'/>", sm, h, id)) }
		thief := arrive(r.nodes[1], "alice")
		resume(thief, r.id, 1)
		thief.Expect(refusal("item-not-found"))
		thief.Bind("phone")

		n := arrive(r.nodes[1], "bob")
		_, mark, _ := strings.Cut(r.id, "-")
		for _, id := range []string{"x", "x-" + mark, "-" + mark, "x-y", strings.Repeat("x", 1000) + "-" + mark, r.id + "-", r.id + "x"} {
			resume(n, id, 1)
			n.Expect(refusal("item-not-found"))
		}
		if r.Closed() {
			t.Error("it lost its connection")
		}
		resume(n, r.id, 2)
		synctest.Wait()
		if end := n.ExpectClosed(server.ReasonStream); end.Condition() != "undefined-condition" ||
			end.Detail != "<handled-count-too-high "+sm+" h='2' send-count='1'/>" {
			t.Errorf("closed with %+v", end)
		}

		// What has ended is known at its own node.
		r.Send(say(r.alice.JID, "1"))
		r.Hangup()
		synctest.Wait()
		n = arrive(r.nodes[2], "bob")
		resume(n, r.id, 1)
		n.Expect("<failed " + sm + " h='2'><item-not-found xmlns='" + stanzas + "'/></failed>")
		n.Bind("phone")
		thief = arrive(r.nodes[2], "alice")
		resume(thief, r.id, 1)
		thief.Expect(refusal("item-not-found"))
		if n := r.nodes[1].Metric("rollcall_resumptions_total"); n < 8 {
			t.Errorf("%v resumptions", n)
		}
	})
}

// Ends that the session's node brings about reach the client.
func TestEndsOfRelayedSession(t *testing.T) {
	for reason, end := range map[server.Reason]func(r *roaming){
		server.ReasonReplaced: func(r *roaming) { r.nodes[2].Login("bob/phone") },
		server.ReasonEnded: func(r *roaming) {
			r.nodes[0].KickUser(r.JID.Bare(), server.Close{Reason: server.ReasonEnded})
		},
		server.ReasonShutdown: func(r *roaming) { r.nodes[0].Stop() },
		server.ReasonStream:   func(r *roaming) { r.Send("<x xmlns='urn:x'/>") },
	} {
		t.Run(reason.String(), func(t *testing.T) {
			roaming3(t, servertest.Options{}, func(t *testing.T, r *roaming) {
				r.Send(say(r.alice.JID, "1"))
				synctest.Wait()
				end(r)
				synctest.Wait()
				c := r.ExpectClosed(reason)
				if c.Cut || c.Condition() == "" {
					t.Errorf("closed with %+v", c)
				}
				r.Expect("<a " + sm + " h='2'/>") // the last word
				n := arrive(r.nodes[1], "bob")
				n.Send(fmt.Sprintf("<resume %s h='1' previd='%s'/>", sm, r.id))
				if n.Next().Tag != "failed" {
					t.Error("it goes on")
				}
			})
		})
	}
}

// A client whose node stops is not told that its stream ends: it goes on elsewhere.
func TestClientsNodeStops(t *testing.T) {
	roaming3(t, servertest.Options{}, func(t *testing.T, r *roaming) {
		r.nodes[1].Stop()
		if end := r.ExpectClosed(server.ReasonShutdown); !end.Cut {
			t.Errorf("closed with %+v", end)
		}
		synctest.Wait()
		r.alice.Send(say(r.JID, "1"))
		synctest.Wait()
		r.alice.ExpectNothing()
		p := r.at(r.nodes[2], 1, 1)
		p.Expect(got("1"))
	})
}

// What one node says may be lost: the client loses its connection, and the session goes on.
func TestRelayLost(t *testing.T) {
	for name, lose := range map[string]func(r *roaming){
		"to the client": func(r *roaming) {
			r.lose("a", "b", memory.Lost)
			r.alice.Send(say(r.JID, "1"))
			synctest.Wait()
			r.hub.Fail(nil)
			r.alice.Send(say(r.JID, "2"))
		},
		"from the client": func(r *roaming) {
			r.lose("b", "a", memory.Lost)
			r.Send(say(r.alice.JID, "lost"))
			synctest.Wait()
			r.hub.Fail(nil)
			r.Send(say(r.alice.JID, "too late"))
			synctest.Wait()
			r.alice.Send(say(r.JID, "1") + say(r.JID, "2"))
		},
		"refused to the client": func(r *roaming) {
			r.lose("a", "b", memory.Unreachable)
			r.alice.Send(say(r.JID, "1"))
			synctest.Wait()
			r.hub.Fail(nil)
			r.alice.Send(say(r.JID, "2"))
			time.Sleep(2 * time.Second)
		},
		"refused from the client": func(r *roaming) {
			r.lose("b", "a", memory.Unreachable)
			r.Send(say(r.alice.JID, "lost"))
			synctest.Wait()
			r.hub.Fail(nil)
			time.Sleep(2 * time.Second)
			r.alice.Send(say(r.JID, "1") + say(r.JID, "2"))
		},
		"perhaps": func(r *roaming) {
			r.hub.Gap("b")
			r.alice.Send(say(r.JID, "1") + say(r.JID, "2"))
		},
		"the session's node thinks the client's dead": func(r *roaming) {
			r.hub.Kill("b")
			r.hub.Expire("b")
			r.alice.Send(say(r.JID, "1") + say(r.JID, "2"))
			synctest.Wait()
			r.Drop() // it knows nothing of it
		},
	} {
		t.Run(name, func(t *testing.T) {
			roaming3(t, servertest.Options{}, func(t *testing.T, r *roaming) {
				lose(r)
				synctest.Wait()
				if end := r.ExpectClosed(server.ReasonLost); !end.Cut {
					t.Errorf("closed with %+v", end)
				}
				if n := r.nodes[0].Metric("rollcall_detached_sessions"); n != 1 {
					t.Errorf("%v sessions wait", n)
				}
				p := r.at(r.nodes[2], 1, 1)
				p.Expect(got("1"))
				p.Expect(got("2"))
				p.Expect("<r " + sm + "/>")
				p.Send(say(r.alice.JID, "again"))
				synctest.Wait()
				r.alice.Expect(got("again"))
				r.alice.ExpectNothing()
			})
		})
	}
}

// lose is what happens to all that one node says to another, from now on.
func (r *roaming) lose(from, to string, how memory.Fault) {
	r.hub.Fail(func(f, t string, _ []byte) memory.Fault {
		if f == from && t == to {
			return how
		}
		return memory.Fine
	})
}
