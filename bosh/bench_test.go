package bosh

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"rollcall/internal/ns"
	"rollcall/internal/servertest"
	"rollcall/server"
)

// plainHandler is a Handler outside of a bubble.
func plainHandler(t testing.TB, change ...func(*Config)) *Handler {
	t.Helper()
	c := testConfig()
	c.Log = slog.New(slog.DiscardHandler)
	for _, f := range change {
		f(&c)
	}
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
	c := newWire(h, "alice", "web")
	send := func(payload string) chan string {
		c.rid++
		body := fmt.Sprintf("<body xmlns='%s' sid='%s' rid='%d'>%s</body>", ns.HTTPBind, c.sid, c.rid, payload)
		done := make(chan string, 1)
		go func() { done <- c.post(body) }()
		return done
	}
	chat := message("alice@example.com/web", "1")
	held := send("")
	b.ReportAllocs()
	for b.Loop() {
		next := send(chat)
		if w := <-held; !strings.Contains(w, "<message ") {
			b.Fatal(w)
		}
		held = next
	}
	b.StopTimer()
	send("<presence xmlns='jabber:client' type='unavailable'/>")
	<-held
}
