package bosh

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rollcall/conf"
	"rollcall/internal/servertest"
	"rollcall/server"
)

func TestPrebind(t *testing.T) {
	const good = servertest.Password
	name, value := basic("alice", good)
	_, full := basic("alice@example.com", good)
	for what, c := range map[string]struct {
		r    *http.Request
		want string // beginning of the JID
	}{
		"JSON":           {jsonRequest(`{"user": "alice", "password": "` + good + `"}`), "alice@example.com/"},
		"JSON, resource": {jsonRequest(`{"user": "ALICE@Example.com", "password": "` + good + `", "resource": "<web & co>"}`), "alice@example.com/<web & co>"},
		"form":           {formRequest("user=alice&password=" + good + "&resource=a+b"), "alice@example.com/a b"},
		"Basic":          {jsonRequest("", name, value), "alice@example.com/"},
		"Basic, domain":  {jsonRequest(`{"resource": "web"}`, name, full), "alice@example.com/web"},
		"key":            {jsonRequest(`{"user": "alice"}`, "Authorization", "Bearer "+testKey), "alice@example.com/"},
		"key, form":      {formRequest("user=alice@example.com&resource=web", "Authorization", "bearer "+testKey), "alice@example.com/web"},
	} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				bob, poll := r.online("bob")
				a := prebindWith(r.t, r.prebinder(), c.r)
				if a.Code != http.StatusOK || !strings.HasPrefix(a.JID, c.want) || strings.HasSuffix(a.JID, "/") || len(a.SID) < 26 || a.RID <= 0 || a.RID > 1<<32 {
					r.t.Fatalf("%d %s", a.Code, a.Body)
				}
				alice := r.attach(a)
				first := alice.send("", "<presence xmlns='jabber:client'/>").now()
				alice.expect(first, "presence")
				if got := first.SelectElement("presence").SelectAttrValue("from", ""); got != a.JID {
					r.t.Errorf("presence comes from %q", got)
				}
				if first.SelectAttr("sid") != nil || first.SelectAttr("authid") != nil {
					r.t.Errorf("the session seems to begin here: %s", dump(first))
				}
				wait := alice.send("", "")
				wait.held()
				bob.send("", message("alice@example.com", "m1"))
				alice.expectMessages(wait.now(), "m1")
				poll.body()
			})
		})
	}
}

// What comes between binding and attaching is there for the first request.
func TestPrebindKeepsWhatComesMeanwhile(t *testing.T) {
	inBubble(t, func(r *rig) {
		bob := r.login("bob")
		a := prebindWith(r.t, r.prebinder(), jsonRequest(`{"user": "alice"}`, "Authorization", "Bearer "+testKey))
		for i := range 3 {
			bob.send("", message(strings.ReplaceAll(a.JID, "'", "&apos;"), fmt.Sprint("m", i))).held()
		}
		r.expectMessages(r.attach(a).send("", "").now(), "m0", "m1", "m2")
	})
}

// The session that nobody attaches to ends like any other.
func TestPrebindInactivity(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := r.prebinder()
		lost, used := prebindWith(r.t, p, jsonRequest(`{"user": "alice", "resource": "lost"}`, "Authorization", "Bearer "+testKey)),
			prebindWith(r.t, p, jsonRequest(`{"user": "alice", "resource": "used"}`, "Authorization", "Bearer "+testKey))
		r.pass(30*time.Second - time.Millisecond)
		r.attach(used).send("", "").held()
		if r.h.find([]byte(lost.SID)) == nil {
			r.t.Error("the session ended early")
		}
		r.pass(2 * time.Millisecond)
		if r.h.find([]byte(lost.SID)) != nil || r.h.find([]byte(used.SID)) == nil {
			r.t.Error("not just the session that nobody used has ended")
		}
		r.expectEnd(r.attach(lost).send("", "").now(), itemNotFound)
	})
}

// Its first rid is the only way in.
func TestPrebindWindow(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := r.prebinder()
		a := prebindWith(r.t, p, jsonRequest(`{"user": "alice"}`, "Authorization", "Bearer "+testKey))
		b := prebindWith(r.t, p, jsonRequest(`{"user": "alice"}`, "Authorization", "Bearer "+testKey))
		if a.SID == b.SID || a.RID == b.RID {
			r.t.Errorf("two sessions are %s %d and %s %d", a.SID, a.RID, b.SID, b.RID)
		}
		c := r.attach(a)
		r.expectEnd(c.at(a.RID+2, "", "").now(), itemNotFound)
		c = r.attach(b)
		c.send("", "").held()
		c.send("type='terminate'", "").now()
	})
}

// A session that began over TLS stays there (XEP-0124 section 19.1); a back end on the
// same machine says so.
func TestPrebindSecure(t *testing.T) {
	inBubble(t, func(r *rig) {
		p := r.prebinder()
		for body, secure := range map[string]bool{`{"user": "alice", "secure": true}`: true, `{"user": "alice", "secure": false}`: false, `{"user": "alice"}`: false} {
			a := prebindWith(r.t, p, jsonRequest(body, "Authorization", "Bearer "+testKey))
			c := r.attach(a)
			if secure {
				r.expectEnd(c.at(a.RID, "", "<presence xmlns='jabber:client'/>").now(), itemNotFound)
			}
			req := newPost(c.text(a.RID, "", "<presence xmlns='jabber:client'/>"))
			if secure {
				req.TLS = new(tls.ConnectionState)
			}
			r.expect(r.serve(req, false).now(), "presence")
			turn := r.h.find([]byte(a.SID)).core.Begin()
			turn.Hangup()
			turn.End()
		}
	})
}

// A trusted proxy names the session, unless the name is taken.
func TestPrebindProposedSID(t *testing.T) {
	sid := strings.Repeat("0123456789abcdef", 2)
	inBubble(t, func(r *rig) {
		ask := func() *answer {
			return prebindWith(r.t, r.prebinder(), jsonRequest(`{"user": "alice"}`, "Authorization", "Bearer "+testKey, "X-BOSH-Sid", sid))
		}
		if a := ask(); a.SID == sid {
			r.t.Error("a stranger named the session")
		}
		r.h.cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		a, b := ask(), ask()
		if a.SID != sid || b.SID == sid {
			r.t.Errorf("two sessions are %s and %s", a.SID, b.SID)
		}
		r.expect(r.attach(a).send("", "<presence xmlns='jabber:client'/>").now(), "presence")
	})
}

// Users that cannot have a session are told why.
func TestPrebindRefusals(t *testing.T) {
	dir := servertest.NewDirectory().AddUser("alice", "")
	limits := testLimits
	limits.Resources = 2
	s := servertest.New(t, servertest.Options{Directory: dir, Limits: &limits})
	c := testConfig()
	c.Limits = limits
	c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	h := New(s.Server, server.Listener{PlainWithoutTLS: true}, c)
	p := h.Prebind(PrebindConfig{Domain: "example.com", Key: testKey, Attempts: 100})
	ask := func(want int, body string, header ...string) {
		t.Helper()
		if a := prebindWith(t, p, jsonRequest(body, header...)); a.Code != want {
			t.Errorf("%s: %d %s, want %d", body, a.Code, a.Body, want)
		}
	}
	bearer := []string{"Authorization", "Bearer " + testKey}
	dir.Fail(errors.New("no store"))
	ask(503, `{"user": "alice"}`, bearer...)
	ask(503, `{"user": "alice", "password": "x"}`)
	dir.Fail(nil)
	ask(200, `{"user": "alice", "resource": "a"}`, bearer...)
	ask(200, `{"user": "alice", "resource": "a"}`, bearer...) // replaces it
	ask(200, `{"user": "alice"}`, bearer...)
	ask(409, `{"user": "alice"}`, bearer...)
	s.Stop()
	ask(503, `{"user": "alice"}`, bearer...)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	ask(503, `{"user": "alice", "password": "x"}`)
}

// deaf is a client that went away.
type deaf struct{ *httptest.ResponseRecorder }

func (deaf) Write([]byte) (int, error) { return 0, errors.New("the connection is gone") }

// Nobody keeps a session whose answer was lost.
func TestPrebindLostAnswer(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.prebinder().ServeHTTP(deaf{httptest.NewRecorder()}, jsonRequest(`{"user": "alice"}`, "Authorization", "Bearer "+testKey))
		ctx, cancel := context.WithCancel(r.t.Context())
		cancel()
		r.prebinder().ServeHTTP(httptest.NewRecorder(), jsonRequest(`{"user": "alice"}`, "Authorization", "Bearer "+testKey).WithContext(ctx))
		if n := len(r.h.known()); n != 0 {
			r.t.Errorf("%d sessions are left", n)
		}
	})
}

// The policy for a resource that is in use holds here too.
func TestPrebindConflict(t *testing.T) {
	s := servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", ""),
		Session:   &conf.Session{ResourceConflict: conf.ConflictRefuse},
	})
	c := testConfig()
	c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	p := New(s.Server, server.Listener{PlainWithoutTLS: true}, c).Prebind(PrebindConfig{Domain: "example.com", Key: testKey, Attempts: 5})
	for _, want := range []int{200, 409} {
		if a := prebindWith(t, p, jsonRequest(`{"user": "alice", "resource": "web"}`, "Authorization", "Bearer "+testKey)); a.Code != want {
			t.Errorf("%d %s, want %d", a.Code, a.Body, want)
		}
	}
	s.Stop()
}

// Who closes the connection as soon as the answer is there has it all the same.
func TestPrebindPromptClose(t *testing.T) {
	h := plainHandler(t)
	p := h.Prebind(PrebindConfig{Domain: "example.com", Key: testKey, Attempts: 5})
	for i := range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		w := &closing{httptest.NewRecorder(), cancel}
		p.ServeHTTP(w, jsonRequest(fmt.Sprintf(`{"user": "alice", "resource": "%d"}`, i%10), "Authorization", "Bearer "+testKey).WithContext(ctx))
		var got struct{ SID string }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || h.find([]byte(got.SID)) == nil {
			t.Fatalf("%d %s, %v: the session is gone", w.Code, w.Body, err)
		}
	}
}

// closing is a client that goes when it has read the answer.
type closing struct {
	*httptest.ResponseRecorder
	gone context.CancelFunc
}

func (c *closing) Write(p []byte) (int, error) {
	defer c.gone()
	return c.ResponseRecorder.Write(p)
}
