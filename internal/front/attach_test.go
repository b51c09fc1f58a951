package front_test

import (
	"net/http"
	"testing"

	"rollcall/internal/front"
)

// replier has every request answered by somebody else, who may be done before Serve
// has returned, or before anything else after it.
type replier struct{ done chan bool }

func (h replier) Exchange() *front.Exchange { return &front.Exchange{Waiter: h} }

func (h replier) Serve(x *front.Exchange, r *front.Request) {
	if _, err := r.AppendBody(nil, 1<<10); err != nil {
		panic(err)
	}
	go func() {
		x.Reply(http.StatusOK, nil, []byte("answer"))
		x.Send()
	}()
}

func (h replier) Done(written bool) { h.done <- written }

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
