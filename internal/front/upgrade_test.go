package front_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"rollcall/internal/front"
)

// upgrader does what the path says.
type upgrader struct {
	t     testing.TB
	taken chan *http.Request
}

func (u upgrader) Upgrade(r *http.Request, detach func() (net.Conn, bool)) bool {
	switch r.URL.Path {
	case "/panic":
		panic("as told")
	case "/refused":
		return false
	}
	nc, ok := detach()
	if !ok {
		u.t.Error("the connection is not there any more")
		return true
	}
	u.taken <- r
	if r.URL.Path == "/late-panic" {
		panic("as told")
	}
	go func() { // as long as the client stays
		_, err := io.Copy(nc, nc)
		if e := nc.Close(); err != nil || e != nil {
			u.t.Error(err, e)
		}
	}()
	return true
}

// TestUpgrade: connections change hands with what came after the request; what is not
// taken, net/http serves.
func TestUpgrade(t *testing.T) {
	u := upgrader{t, make(chan *http.Request, 2)}
	c := config()
	c.Upgraders = map[string]front.Upgrader{"/echo": u, "/refused": u, "/panic": u, "/late-panic": u}
	head := func(method, path, fields string) string {
		return method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\n" + fields + "\r\n"
	}
	const upgrade = "Upgrade: echo\r\n"
	every(t, c, func(t *testing.T, h *house) {
		p := h.dial()
		for _, text := range []string{"early", "late"} {
			said := text
			if text == "early" {
				said = head("GET", "/echo", upgrade) + text
			}
			p.send(said)
			got := make([]byte, len(text))
			if _, err := io.ReadFull(p.in, got); err != nil || string(got) != text {
				t.Errorf("%q %v, want %q", got, err, text)
			}
		}
		if r := <-u.taken; r.RemoteAddr != p.LocalAddr().String() || (r.TLS != nil) != h.tls {
			t.Errorf("a request from %s with TLS %v", r.RemoteAddr, r.TLS)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		for _, test := range []struct{ name, request, answer string }{
			{"refused", head("GET", "/refused", upgrade), "rest GET /refused"},
			{"without the header", head("GET", "/echo", ""), "rest GET /echo"},
			{"another method", head("DELETE", "/echo", upgrade), "rest DELETE /echo"},
			{"another path", head("GET", "/other", upgrade), "rest GET /other"},
			{"panic", head("GET", "/panic", upgrade), ""},
			{"panic with the connection in hand", head("GET", "/late-panic", upgrade), ""},
		} {
			p := h.dial()
			p.send(test.request)
			got, err := io.ReadAll(p)
			if err != nil || !strings.Contains(string(got), test.answer) || test.answer == "" && len(got) > 0 {
				t.Errorf("%s: %q %v", test.name, got, err)
			}
		}
		<-u.taken
	})
}
