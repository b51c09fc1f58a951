package websocket_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"rollcall/c2s/websocket"
	"rollcall/internal/jid"
	"rollcall/server"
)

// slowWriter hands its connection out when it is told to.
type slowWriter struct {
	*httptest.ResponseRecorder
	conn    net.Conn
	release chan struct{}
}

func (w *slowWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	<-w.release
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

func handshakeRequest(t *testing.T) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(handshake + "Sec-WebSocket-Protocol: xmpp\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCloseWaitsForHandshakes: no session begins after Close, whatever was under way.
func TestCloseWaitsForHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, options{})
		here, there := net.Pipe()
		w := &slowWriter{httptest.NewRecorder(), there, make(chan struct{})}
		go h.acceptor.ServeHTTP(w, handshakeRequest(t))
		synctest.Wait()
		if err := h.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		done := make(chan error, 1)
		go func() { done <- h.acceptor.Close(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("closed with a handshake under way: %v", err)
		default:
		}

		late := httptest.NewRecorder()
		h.acceptor.ServeHTTP(late, handshakeRequest(t))
		if late.Code != http.StatusServiceUnavailable {
			t.Errorf("a handshake after Close: %d", late.Code)
		}

		close(w.release)
		p := newPeer(t, here)
		if res, err := http.ReadResponse(p.in, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%+v %v", res, err)
		}
		p.expect("<open...", streamError("system-shutdown"), closing)
		p.expectClosing(ws.StatusGoingAway)
		if err := here.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.expectClose("shutdown")
		h.expectNoPanic()
	})
}

// TestCloseGivesUp: a handshake that does not end is not waited for longer than ctx.
func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, options{})
		here, there := net.Pipe()
		w := &slowWriter{httptest.NewRecorder(), there, make(chan struct{})}
		go h.acceptor.ServeHTTP(w, handshakeRequest(t))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.acceptor.Close(ctx); err == nil || !strings.Contains(err.Error(), "1 handshakes") {
			t.Errorf("closed with %v", err)
		}
		close(w.release)
		// What it becomes ends all the same.
		if _, err := io.ReadAll(here); err != nil {
			t.Error(err)
		}
		if err := here.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		h.expectNoPanic()
	})
}

// TestKickedWhileTalking: a session that is closed from elsewhere, in the middle of
// what it says and is told, is told why and hears nothing after that.
func TestKickedWhileTalking(t *testing.T) {
	h := start(t, options{Config: websocket.Config{Compression: true, PingInterval: time.Hour, PingTimeout: time.Minute}})
	address, err := jid.Parse("ann@example.com")
	if err != nil {
		t.Fatal(err)
	}
	ben := h.login("ben", "x")
	go func() {
		_, _ = io.Copy(io.Discard, ben.in) // until the end
	}()
	for round := range 10 {
		resource := fmt.Sprint("x", round) // what is under way to the last one is not for this one
		p := h.login("ann", resource)
		said := make(chan struct{})
		go func() {
			defer close(said)
			text := frame(ws.OpText, true, "<message xmlns='jabber:client' to='ann@example.com/"+resource+"'><body>"+strings.Repeat("z", 300)+"</body></message>")
			text = append(text, frame(ws.OpPing, true, "p")...)
			for {
				if _, err := p.Write(text); err != nil {
					return
				}
				if _, err := ben.Write(text); err != nil {
					return
				}
			}
		}()
		var last []string
		for i := 0; ; i++ {
			f := p.next()
			if i == 20 {
				h.KickUser(address, server.Close{Reason: server.ReasonReplaced})
			}
			if f.Header.OpCode == ws.OpClose {
				break
			}
			if last = append(last, string(f.Payload)); len(last) > 2 {
				last = last[1:]
			}
		}
		if want := []string{streamError("conflict"), closing}; !slices.Equal(last, want) {
			t.Fatalf("the last messages are %q", last)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		<-said
	}
}
