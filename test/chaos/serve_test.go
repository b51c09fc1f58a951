package chaos

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"rollcall/c2s/websocket"
	"rollcall/conf"
	"rollcall/server"
)

// serveWebSocket serves WebSocket on a port of its own.
func (h *house) serveWebSocket(t *testing.T) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := websocket.New(h.Server(), server.Listener{PlainWithoutTLS: true}, websocket.Config{
		PingInterval: time.Second, PingTimeout: time.Second, Limits: conf.Default().Limits,
		Log: slog.New(slog.NewTextHandler(testLog(t), nil)),
	})
	srv := &http.Server{Handler: a}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
	return ln.Addr().String()
}
