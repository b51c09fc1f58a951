package front_test

import (
	"io"
	"net/http"
	"testing"

	"rollcall/internal/front"
)

// replier has every request answered by somebody else, who may be done before Serve
// has returned, or before anything else after it.
type replier struct{ done chan bool }

func (h replier) Serve(x *front.Exchange) {
	if _, err := io.Copy(io.Discard, x.Request.Body); err != nil {
		panic(err)
	}
	x.Done = func(written bool) { h.done <- written }
	go x.Reply(http.StatusOK, nil, []byte("answer"))
}

// Whoever answers, and when: what was written is told so.
func TestAnsweredByOthers(t *testing.T) {
	replies := replier{make(chan bool, 1)}
	c := config()
	c.Held = replies
	h := start(t, c)
	p := h.dial()
	for i := range 20_000 {
		p.send(post("question"))
		p.expect(http.StatusOK, "answer")
		if !<-replies.done {
			t.Fatalf("answer %d came, and is told lost", i)
		}
	}
}
