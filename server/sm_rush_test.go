package server_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/server"
)

// lagging is a connection that takes its time over messages, and notes what comes in
// which order.
type lagging struct {
	pipe
	mu    sync.Mutex
	order []string // names of elements
	close string   // what the client was told
}

func (*lagging) Info() server.Info {
	return server.Info{Kind: "pipe", Remote: "pipe", Secure: true, Manageable: true}
}

func (l *lagging) Write(el []byte) error {
	name, _, _ := strings.Cut(string(el), " ")
	if name == "<message" {
		for range 50 {
			runtime.Gosched()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.order = append(l.order, name)
	return nil
}

func (l *lagging) Flush() {}

func (l *lagging) Close(c server.Close) { l.close = c.Detail }

// Whatever others send in the very moment, it counts if and only if it comes after
// <enabled/>.
func TestEnabledInARush(t *testing.T) {
	c := newCore(t)
	for i := range 100 {
		l := &lagging{pipe: pipe{scan: streamScanner()}}
		l.Session = c.enter(t, l, address2jid(t, fmt.Sprintf("bob%d@example.com/x", i)), "")
		var senders sync.WaitGroup
		for j := range 4 {
			p := &pipe{scan: streamScanner()}
			p.Session = c.enter(t, p, address2jid(t, fmt.Sprintf("alice%d@example.com/%d", i, j)), "")
			senders.Go(func() {
				for range 5 {
					p.send(t, []byte(say(l.JID(), "x")))
				}
			})
		}
		l.send(t, []byte("<enable "+sm+"/>"))
		senders.Wait()
		counted := 0
		for _, name := range l.order[slices.Index(l.order, "<enabled"):] {
			if name == "<message" {
				counted++
			}
		}
		l.send(t, fmt.Appendf(nil, "<a %s h='%d'/>", sm, counted+1))
		if want := fmt.Sprintf("<handled-count-too-high %s h='%d' send-count='%d'/>", sm, counted+1, counted); l.close != want {
			t.Fatalf("run %d: %s, want %s", i, l.close, want)
		}
	}
}

// A stream that is taken over again and again, while others send, loses nothing and
// keeps the order of each sender.
func TestResumedInARush(t *testing.T) {
	s := servertest.New(t, servertest.Options{Directory: people()})
	p := call(s, "bob/phone")
	to := p.JID
	const each = 100
	var senders sync.WaitGroup
	for j := range 4 {
		c := s.Login(fmt.Sprintf("alice/%d", j))
		senders.Go(func() {
			for n := range each {
				c.Send(say(to, fmt.Sprintf("%d-%d", j, n)))
			}
		})
	}
	done := make(chan struct{})
	go func() {
		senders.Wait()
		close(done)
	}()
	next := make(map[int]int)
	h := 1
	take := func(until string) {
		for _, el := range p.Drain() {
			if el.Tag != "message" {
				continue
			}
			h++
			var j, n int
			if _, err := fmt.Sscanf(el.SelectAttrValue("id", ""), "%d-%d", &j, &n); err != nil || next[j] != n {
				t.Fatalf("%s: message %d of %d, want %d (%v)", until, n, j, next[j], err)
			}
			next[j]++
		}
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		take("before a cut")
		if h%3 == 0 {
			p.ack(h)
		}
		if h%2 == 0 {
			p.Drop()
		}
		p = p.again(1, h)
	}
	take("at the end")
	for j := range 4 {
		if next[j] != each {
			t.Errorf("%d messages of %d came", next[j], j)
		}
	}
}
