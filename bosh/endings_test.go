package bosh

import (
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/stream"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/servertest"
	"rollcall/server"
)

func TestB30Terminate(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c, poll := r.online("alice")
		bye := c.send("type='terminate'", message("bob@example.com", "1")+"<presence xmlns='jabber:client' type='unavailable'/>")
		// The oldest request is told, the other one ends empty.
		r.expectEnd(poll.now(), "")
		r.expect(bye.now())
		bob.Expect("<message from='alice@example.com/web' to='bob@example.com' type='chat' id='1'>...</message>")
		// Who missed it may ask again.
		r.expectEnd(c.at(c.rid-1, "", "").now(), "")
		r.expect(c.at(c.rid, "type='terminate'", "").now())
		r.expectEnd(c.send("", "").now(), "")
		if n := r.srv.Metric("rollcall_sessions"); n != 1 {
			t.Errorf("%v sessions", n)
		}

		alone := r.login("alice")
		r.expectEnd(alone.send("type='terminate'", "").now(), "")
	})
}

// A panic ends one session, wherever it comes from.
func TestPanic(t *testing.T) {
	inBubbleWith(t, servertest.Options{Panics: true, Tap: func(e server.TapEvent) {
		if e.Kind == server.TapClose && e.JID.Local() == "alice" {
			panic("tap")
		}
	}}, func(r *rig) {
		alice, poll := r.online("alice")
		bob, waits := r.online("bob")
		bye := alice.send("type='terminate'", "")
		for _, c := range []*call{poll, bye} {
			r.expectEnd(c.now(), "internal-server-error")
		}
		bob.send("", message("bob@example.com/web", "1"))
		r.expectMessages(waits.now(), "1")
	})
}

func TestB31Tombstone(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.srv.Online("bob/x")
		c := r.login("alice")
		r.expect(c.send("", presence).now(), "presence")
		bob.Send(message("alice@example.com", "1"))
		r.login("alice") // takes the resource
		synctest.Wait()
		last := c.at(c.rid, "", "").now() // the answer from before is still there
		r.expect(last, "presence")
		b := c.send("", "").now()
		r.expectEnd(b, remoteStreamError)
		r.expectMessages(b, "1")
		if b.FindElement("./error/conflict") == nil {
			t.Errorf("%s", dump(b))
		}
		b = c.at(c.rid, "", "").now()
		r.expectMessages(b, "1")
		b = c.send("", "").now()
		r.expectEnd(b, remoteStreamError)
		r.expectMessages(b)
		r.pass(30 * time.Second)
		r.expectEnd(c.send("", "").now(), itemNotFound)
	})
}

func TestB32B33Ends(t *testing.T) {
	for _, test := range []struct {
		close     server.Close
		condition string
		stream    string
	}{
		{server.Close{Reason: server.ReasonShutdown}, systemShutdown, ""},
		{server.Close{Reason: server.ReasonInternal}, internalServerError, ""},
		{server.Close{Reason: server.ReasonReplaced}, remoteStreamError, "conflict"},
		{server.StreamError(stream.PolicyViolation, nil), remoteStreamError, "policy-violation"},
		{server.Close{Reason: server.ReasonClient}, "", ""},
	} {
		t.Run(test.close.Reason.String(), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				c, poll := r.online("alice")
				r.srv.KickUser(address(t, "alice@example.com"), test.close)
				b := poll.now()
				r.expectEnd(b, test.condition)
				r.expectEnd(c.send("", "").now(), test.condition)
				e := b.SelectElement("error")
				if (e != nil) != (test.stream != "") {
					t.Fatalf("%s", dump(b))
				}
				if e != nil && (e.Space != "stream" || e.NamespaceURI() != ns.Stream || b.SelectAttr("xmlns:stream") == nil || e.SelectElement(test.stream) == nil) {
					t.Errorf("%s", dump(b))
				}
			})
		})
	}
}

// TestB31TooLate: who comes when the core is down already, and this side does not know
// yet, is told the same; for the race detector.
func TestB31TooLate(t *testing.T) {
	h := plainHandler(t)
	if err := h.srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 500 {
				rec := httptest.NewRecorder()
				if h.ServeHTTP(rec, newPost(creation(usualAttrs))); !strings.Contains(rec.Body.String(), systemShutdown) {
					t.Errorf("%s", rec.Body)
				}
			}
		})
	}
	all.Wait()
}

func TestB34LegacyClients(t *testing.T) {
	inBubble(t, func(r *rig) {
		old := strings.Replace(usualAttrs, "ver='1.6'", "", 1)
		status := func(c *call, want int, condition string) {
			t.Helper()
			r.expectEnd(c.now(), condition)
			if c.rec.Code != want {
				t.Errorf("status %d, want %d", c.rec.Code, want)
			}
		}
		status(r.post(strings.Replace(creation(old), "1000", "x", 1)), 400, badRequestCondition)
		c := r.loginWith("alice", old)
		status(c.at(c.rid+9, "", ""), 404, itemNotFound)
		c = r.loginWith("alice", old)
		status(c.send("pause='1000'", ""), 403, policyViolation)
		c = r.loginWith("alice", usualAttrs)
		status(c.at(c.rid+9, "", ""), 200, itemNotFound)
	})
}

func TestB35AfterDeath(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.online("alice") // and never comes back
		bob := r.srv.Online("bob/x")
		r.pass(55 * time.Second)
		bob.Send(message("alice@example.com/web", "1"))
		bob.ExpectNothing() // nobody knows yet
		r.pass(30 * time.Second)
		bob.Expect("<message type='error' id='1' from='alice@example.com/web' to='{bob}'>...</message>")
		bob.Send("<iq xmlns='jabber:client' to='alice@example.com/web' type='get' id='2'><x xmlns='y'/></iq>")
		bob.Expect("<iq type='error' id='2' from='alice@example.com/web' to='{bob}'>...</iq>")
		if n := r.srv.Metric("rollcall_sessions"); n != 1 {
			t.Errorf("%v sessions", n)
		}
	})
}

func address(t *testing.T, s string) jid.JID {
	t.Helper()
	j, err := jid.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
