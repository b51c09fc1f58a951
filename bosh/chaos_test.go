package bosh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
)

// network carries requests badly: it delays, reorders, cuts, loses and repeats
// them, and their answers.
type network struct {
	r   *rig
	wg  sync.WaitGroup
	mu  sync.Mutex
	rnd *rand.Rand
	// trouble is the chance of each mishap in percent.
	trouble int
	mishaps map[string]int
}

var errCut = errors.New("the network lost it")

func (n *network) happens(what string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	yes := n.rnd.IntN(100) < n.trouble
	if yes {
		n.mishaps[what]++
	}
	return yes
}

func (n *network) upTo(d time.Duration) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Duration(n.rnd.Int64N(int64(d)))
}

// roundTrip posts a body and returns what comes back.
func (n *network) roundTrip(body string) (string, error) {
	time.Sleep(n.upTo(50 * time.Millisecond))
	if n.happens("late") {
		time.Sleep(n.upTo(5 * time.Second))
	}
	if n.happens("request lost") {
		return "", errCut
	}
	if n.happens("request repeated") {
		// A copy arrives somewhat later, and its answer goes nowhere.
		copied := n.upTo(200 * time.Millisecond)
		n.wg.Go(func() {
			time.Sleep(copied)
			<-n.r.serve(newPost(body), false).done
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	unnoticed := false
	defer func() {
		if !unnoticed {
			cancel()
		}
	}()
	req := newPost(body).WithContext(ctx)
	w := &writer{ResponseRecorder: httptest.NewRecorder(), broken: n.happens("write failed")}
	done := make(chan struct{})
	n.wg.Go(func() {
		defer close(done)
		n.r.h.ServeHTTP(w, req)
	})
	if n.happens("cut") {
		after := time.NewTimer(n.upTo(3 * time.Second))
		defer after.Stop()
		select {
		case <-done:
		case <-after.C:
			// The server may go on with a request whose client has gone.
			unnoticed = n.upTo(2) == 0
			return "", errCut
		}
	}
	<-done
	if w.broken {
		return "", errCut
	}
	time.Sleep(n.upTo(50 * time.Millisecond))
	if n.happens("answer late") {
		time.Sleep(n.upTo(5 * time.Second))
	}
	if n.happens("answer lost") {
		return "", errCut
	}
	return w.Body.String(), nil
}

// writer is a response writer that may fail.
type writer struct {
	*httptest.ResponseRecorder
	broken bool
}

func (w *writer) Write(p []byte) (int, error) {
	if w.broken {
		return 0, errCut
	}
	return w.ResponseRecorder.Write(p)
}

// chaosClient has two requests in flight, as strophe.js has, sends each
// again until it is answered, and takes the answers in the order of requests.
type chaosClient struct {
	n    *network
	c    *boshClient
	user string
	wg   sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	queue   []string
	open    int64 // the lowest rid without an answer
	answers map[int64]*etree.Element
	got     []string // ids of messages
	ended   string   // the body that ended the session
	stop    bool
}

// post sends one request until it is answered.
func (c *chaosClient) post(body string) *etree.Element {
	for {
		text, err := c.n.roundTrip(body)
		if err != nil {
			time.Sleep(c.n.upTo(500 * time.Millisecond))
			continue
		}
		d := etree.NewDocument()
		if err := d.ReadFromString(text); err != nil || d.Root() == nil {
			panic(fmt.Sprintf("%q: %v", text, err))
		}
		if b := d.Root(); b.SelectAttrValue("type", "") != "error" {
			return b
		}
	}
}

// login logs in and starts to poll.
func (c *chaosClient) login(r *rig) {
	b := c.post(creation(usualAttrs))
	c.c = &boshClient{rig: r, sid: b.SelectAttrValue("sid", ""), rid: 1000}
	for _, step := range [][2]string{
		{"", plain(c.user)}, {"xmpp:restart='true' to='example.com'", ""}, {"", bind("web")}, {"", presence},
	} {
		c.c.rid++
		b := c.post(c.c.text(c.c.rid, step[0], step[1]))
		if len(b.ChildElements()) != 1 {
			r.t.Errorf("%s: %v was answered %s", c.user, step, dump(b))
		}
	}
	c.changed = sync.NewCond(&c.mu)
	c.answers = map[int64]*etree.Element{}
	c.open = c.c.rid + 1
	c.wg.Go(c.poll)
}

// poll keeps requests in flight.
func (c *chaosClient) poll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.stop && c.ended == "" {
		flying := c.c.rid + 1 - c.open
		if flying >= 2 || flying == 1 && len(c.queue) == 0 {
			c.changed.Wait()
			continue
		}
		c.c.rid++
		rid, payload := c.c.rid, ""
		for range min(3, len(c.queue)) {
			payload += c.queue[0]
			c.queue = c.queue[1:]
		}
		body := c.c.text(rid, "", payload)
		c.wg.Go(func() { c.answered(rid, c.post(body)) })
	}
}

func (c *chaosClient) answered(rid int64, b *etree.Element) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[rid] = b
	for c.answers[c.open] != nil {
		b := c.answers[c.open]
		delete(c.answers, c.open)
		c.open++
		for _, m := range b.SelectElements("message") {
			c.got = append(c.got, m.SelectAttrValue("id", ""))
		}
		if b.SelectAttr("type") != nil {
			c.ended = dump(b)
		}
	}
	c.changed.Broadcast()
}

func (c *chaosClient) say(payload string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, payload)
	c.changed.Broadcast()
}

// wait waits until n messages have come, or the session is over.
func (c *chaosClient) wait(n int) (got []string, ended string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.got) < n && c.ended == "" {
		c.changed.Wait()
	}
	return slices.Clone(c.got), c.ended
}

func (c *chaosClient) finish() {
	c.mu.Lock()
	c.stop = true
	c.changed.Broadcast()
	c.mu.Unlock()
	c.wg.Wait()
}

// TestNothingIsLost: two clients talk over a network that does everything wrong,
// and each gets what the other said, in order and once.
func TestNothingIsLost(t *testing.T) {
	const messages = 120
	total := map[string]int{}
	for seed := range uint64(12) {
		trouble := int(seed%4) * 8
		t.Run(fmt.Sprintf("seed %d, trouble %d%%", seed, trouble), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				n := &network{r: r, rnd: rand.New(rand.NewPCG(seed, 3)), trouble: trouble, mishaps: map[string]int{}}
				talk(r, n, messages)
				for what, times := range n.mishaps {
					total[what] += times
				}
			}, func(c *Config) { c.Limits.LoginTime = time.Hour })
		})
	}
	for _, what := range []string{
		"late", "request lost", "request repeated", "cut", "write failed", "answer late", "answer lost",
	} {
		if total[what] < 10 {
			t.Errorf("%q happened %d times only", what, total[what])
		}
	}
}

func talk(r *rig, n *network, messages int) {
	alice, bob := &chaosClient{n: n, user: "alice"}, &chaosClient{n: n, user: "bob"}
	alice.login(r)
	bob.login(r)
	var want []string
	for i := range messages {
		id := fmt.Sprint(i)
		want = append(want, id)
		alice.say(message("bob@example.com/web", id))
		bob.say(message("alice@example.com/web", id))
		time.Sleep(n.upTo(time.Second))
	}
	for _, c := range []*chaosClient{alice, bob} {
		got, ended := c.wait(messages)
		if ended != "" {
			r.t.Errorf("%s was told %s", c.user, ended)
		}
		if !slices.Equal(got, want) {
			r.t.Errorf("%s got %s", c.user, strings.Join(got, " "))
		}
	}
	// A further message after the last one would bring copies that come late.
	alice.say(message("bob@example.com/web", "end"))
	bob.say(message("alice@example.com/web", "end"))
	for _, c := range []*chaosClient{alice, bob} {
		if got, _ := c.wait(messages + 1); len(got) != messages+1 || got[messages] != "end" {
			r.t.Errorf("%s got more: %v", c.user, got[messages:])
		}
	}
	for _, c := range []*chaosClient{alice, bob} {
		c.finish()
	}
	n.wg.Wait()
}
