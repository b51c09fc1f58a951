package bosh

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"rollcall/internal/ns"
	"rollcall/internal/servertest"
	"rollcall/server"
)

// plainHandler is a Handler outside of a bubble.
func plainHandler(t testing.TB) *Handler {
	t.Helper()
	c := testConfig()
	c.Log = slog.New(slog.DiscardHandler)
	srv := servertest.New(t, servertest.Options{
		Directory: servertest.NewDirectory().AddUser("alice", "").AddUser("bob", ""), Log: c.Log,
	})
	h := New(srv.Server, server.Listener{PlainWithoutTLS: true}, c)
	t.Cleanup(func() {
		srv.Stop()
		if err := h.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return h
}

// BenchmarkCycle is one request with a chat message and its answer: the message
// comes back with the request held before.
func BenchmarkCycle(b *testing.B) {
	h := plainHandler(b)
	post := func(body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, newPost(body))
		return w
	}
	_, rest, _ := strings.Cut(post(creation(usualAttrs)).Body.String(), " sid='")
	sid, _, _ := strings.Cut(rest, "'")
	c := &boshClient{sid: sid, rid: 1000}
	for _, step := range [][2]string{
		{"", plain("alice")}, {"xmpp:restart='true'", ""}, {"", bind("web")}, {"", "<presence xmlns='jabber:client'/>"},
	} {
		c.rid++
		post(c.text(c.rid, step[0], step[1]))
	}
	send := func(payload string) chan *httptest.ResponseRecorder {
		c.rid++
		body := fmt.Sprintf("<body xmlns='%s' sid='%s' rid='%d'>%s</body>", ns.HTTPBind, c.sid, c.rid, payload)
		done := make(chan *httptest.ResponseRecorder, 1)
		go func() { done <- post(body) }()
		return done
	}
	chat := message("alice@example.com/web", "1")
	held := send("")
	b.ReportAllocs()
	for b.Loop() {
		next := send(chat)
		if w := <-held; !strings.Contains(w.Body.String(), "<message ") {
			b.Fatal(w.Body)
		}
		held = next
	}
	b.StopTimer()
	send("<presence xmlns='jabber:client' type='unavailable'/>")
	<-held
}
