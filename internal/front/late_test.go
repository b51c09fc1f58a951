package front

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// keeper holds every request.
type keeper struct{ done chan bool }

func (h keeper) Exchange() *Exchange { return &Exchange{Waiter: h} }

func (h keeper) Serve(*Exchange, *Request) {}

func (h keeper) Done(written bool) { h.done <- written }

// A request that is taken back when everything is over is told so.
func TestTakenBackTooLate(t *testing.T) {
	kept := keeper{make(chan bool, 1)}
	f := New(Config{Held: kept, Paths: []string{"/held"}, HeaderTime: time.Minute, Log: slog.New(slog.DiscardHandler)})
	if err := f.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(f.takeBack))
	defer srv.Close()
	nc, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := io.WriteString(nc, "POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case written := <-kept.done:
		if written {
			t.Error("there was no reply")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody said how it went")
	}
}
