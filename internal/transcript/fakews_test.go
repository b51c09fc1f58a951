package transcript

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"rollcall/internal/ns"
)

// webSocket serves WebSocket and returns the URL.
func (srv *fakeServer) webSocket(t *testing.T, secure bool) string {
	t.Helper()
	var wg sync.WaitGroup
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"xmpp"}})
		if err != nil {
			t.Logf("fake server: %v", err)
			return
		}
		srv.serveWebSocket(t, conn, &wg)
	}))
	scheme := "ws"
	if secure {
		scheme = "wss"
		server.TLS = &tls.Config{Certificates: []tls.Certificate{srv.cert}}
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() {
		server.Close()
		wg.Wait()
	})
	return scheme + "://" + server.Listener.Addr().String() + "/xmpp-websocket"
}

// serveWebSocket is the life of a connection. Closing handshakes run apart: they
// wait for the client.
func (srv *fakeServer) serveWebSocket(t *testing.T, conn *websocket.Conn, wg *sync.WaitGroup) {
	const closing = "<close xmlns='" + ns.Framing + "'/>"
	ctx := context.Background() // the client's reset ends it all
	s := srv.session()
	s.event(Connect, "")
	ended := false
	s.write = func(text string) {
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil && !ended {
			t.Logf("fake server: %v", err)
		}
	}
	s.hangup = func() {
		s.write(closing)
		ended = true
		wg.Go(func() {
			if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Logf("fake server: %v", err)
			}
		})
	}
	for {
		_, data, err := conn.Read(ctx)
		text := string(data)
		srv.mu.Lock()
		switch {
		case ended:
		case err != nil:
			if srv.sessions[s.full] == s {
				s.event(Lost, "")
			}
			s.gone()
			ended = true
			if e := conn.CloseNow(); e != nil && websocket.CloseStatus(err) == -1 && !errors.Is(e, context.Canceled) {
				t.Logf("fake server: %v", e)
			}
		case strings.HasPrefix(text, "<close "):
			s.event(Close, "")
			s.gone()
			s.write(closing) // the closing handshake is the client's
		case strings.HasPrefix(text, "<open "):
			s.write("<open xmlns='" + ns.Framing + "' from='localhost' id='" + rand.Text() + "' version='1.0'/>")
			if !strings.Contains(text, "localhost") {
				s.fail("host-unknown")
			} else {
				s.write(s.features())
			}
		default:
			s.element(text)
		}
		srv.mu.Unlock()
		if err != nil {
			return
		}
	}
}
