package bosh

import (
	"bytes"
	"fmt"
	"iter"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestB28OneStream: several streams are not offered, so an empty body with an
// address is an ordinary poll.
func TestB28OneStream(t *testing.T) {
	inBubble(t, func(r *rig) {
		c, poll := r.online("alice")
		if strings.Contains(dump(c.created), ` stream="`) {
			t.Errorf("%s", dump(c.created))
		}
		next := c.send("to='example.com' xml:lang='en'", "")
		r.expect(poll.now())
		next.held()
		last := c.send("to='example.org' stream='another' from='x@example.org'", ping)
		r.expect(next.now(), "iq")
		last.held()
	})
}

// TestB25FullSetIsLoggedOnly: a client that fills its set of requests with an empty
// one is let off.
func TestB25FullSetIsLoggedOnly(t *testing.T) {
	var log bytes.Buffer
	inBubble(t, func(r *rig) {
		c, poll := r.online("alice")
		for range 5 {
			next := c.send("", "")
			r.expect(poll.now())
			next.held()
			poll = next
		}
		if n := strings.Count(log.String(), "client polls too often"); n != 5 {
			t.Errorf("logged %d times:\n%s", n, log.String())
		}
		r.pass(3 * time.Second)
		c.send("", "").held()
		if n := strings.Count(log.String(), "client polls too often"); n != 5 {
			t.Errorf("logged %d times:\n%s", n, log.String())
		}
	}, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
}

// TestB11AtTheSameInstant: two requests of one session that arrive at once, in
// whichever order, are processed in theirs, and each is answered once.
func TestB11AtTheSameInstant(t *testing.T) {
	h := plainHandler(t)
	const rounds = 300
	var all sync.WaitGroup
	for _, user := range []string{"alice", "bob"} {
		all.Go(func() {
			for i, err := range together(h, user, rounds) {
				if err != nil {
					t.Errorf("%s, round %d: %v", user, i, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// together has a client send two requests at a time, each with a message to itself,
// and yields after each round what went wrong.
func together(h *Handler, user string, rounds int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		w := newWire(h, user, "web")
		for i := range rounds {
			var texts, replies [2]string
			for k := range texts {
				w.rid++
				texts[k] = w.text(w.rid, "", message(user+"@example.com/web", fmt.Sprint(2*i+k)))
			}
			var both sync.WaitGroup
			for j := range replies {
				k := (i + j) % 2 // either may be first
				both.Go(func() { replies[k] = w.post(texts[k]) })
			}
			both.Wait()
			for k, reply := range replies {
				if strings.Count(reply, "<message ") != 1 || !strings.Contains(reply, fmt.Sprintf(" id='%d'", 2*i+k)) {
					yield(i, fmt.Errorf("request %d of two was answered %s", k, reply))
					return
				}
			}
			if !yield(i, nil) {
				return
			}
		}
	}
}

// wire is a client without a bubble.
type wire struct {
	h *Handler
	*boshClient
}

// newWire logs a client in, which is available then.
func newWire(h *Handler, user, resource string) *wire {
	w := &wire{h: h, boshClient: &boshClient{rid: 1000}}
	_, rest, _ := strings.Cut(w.post(creation(usualAttrs)), " sid='")
	w.sid, _, _ = strings.Cut(rest, "'")
	for _, step := range [][2]string{{"", plain(user)}, {"xmpp:restart='true'", ""}, {"", bind(resource)}, {"", presence}} {
		w.rid++
		w.post(w.text(w.rid, step[0], step[1]))
	}
	return w
}

// post sends a request and returns the answer.
func (w *wire) post(body string) string {
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, newPost(body))
	return rec.Body.String()
}

// TestEverythingAtOnce has sessions send, poll, repeat, break off and vanish while
// others write to them, for the race detector; who stays to the end gets everything
// in order.
func TestEverythingAtOnce(t *testing.T) {
	h := plainHandler(t, coalesced(time.Millisecond))
	alice := newWire(h, "alice", "web")
	const senders, messages = 4, 50
	var all sync.WaitGroup
	for i := range senders {
		all.Go(func() {
			w := newWire(h, "bob", fmt.Sprint(i))
			for n := range messages {
				w.rid++
				text := w.text(w.rid, "", message("alice@example.com/web", fmt.Sprintf("%d-%d", i, n))+ping)
				copies := 1 + n%3
				var posts sync.WaitGroup
				for range copies {
					posts.Go(func() { w.post(text) })
				}
				posts.Wait()
			}
			w.rid++
			w.post(w.text(w.rid, "type='terminate'", ""))
		})
	}
	next := [senders]int{}
	for got := 0; got < senders*messages; {
		alice.rid++
		for _, part := range strings.Split(alice.post(alice.text(alice.rid, "", "")), "<message ")[1:] {
			var i, n int
			_, rest, _ := strings.Cut(part, " id='")
			if _, err := fmt.Sscanf(rest, "%d-%d'", &i, &n); err != nil || n != next[i] {
				t.Fatalf("%d of %d came instead of %d: %v", n, i, next[i], err)
			}
			next[i]++
			got++
		}
	}
	all.Wait()
}
