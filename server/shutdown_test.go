package server_test

import (
	"context"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/server"
)

// A shutdown waits for the hooks of sessions that were ending already.
func TestShutdownWaitsForEnds(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	order := make(chan string, 2)
	m := &module{name: "slow", start: func(h *server.Host) error {
		h.OnRemoveConnection(1, func(context.Context, *server.RemoveConnection) {
			close(entered)
			<-release
			order <- "hook"
		})
		return nil
	}, stop: func(context.Context) error {
		order <- "stop"
		return nil
	}}
	s := servertest.New(t, servertest.Options{Directory: people(), Modules: []server.Module{m}})
	alice := s.Login("alice/web")
	alice.Session().Kick(server.Close{Reason: server.ReasonPing})
	<-entered
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Stop()
	}()
	close(release)
	<-done
	if first, second := <-order, <-order; first != "hook" || second != "stop" {
		t.Errorf("%s came before %s", first, second)
	}
}
