package front_test

import (
	"net"
	"net/http"
	"testing"
)

// A client that has read the whole answer may cut the connection at once: it was
// written all the same.
func TestResetAfterAnswer(t *testing.T) {
	h := start(t, config())
	for range 300 {
		p := h.dial()
		p.send(post("question"))
		r := h.next()
		r.reply("answer")
		p.expect(http.StatusOK, "answer")
		if err := p.Conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		r.expectDone(t, true)
	}
}
