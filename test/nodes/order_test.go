package nodes

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ledger checks that what each sender numbers arrives once and in order.
type ledger struct {
	mu       sync.Mutex
	next     map[string]int // by sender
	arrived  int
	twice    int
	disorder int
	errors   int
	delays   []time.Duration
}

func newLedger() *ledger { return &ledger{next: make(map[string]int)} }

// take takes messages whose body is "number sent-at".
func (l *ledger) take(st *stanza) {
	if st.XMLName.Local != "message" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if st.Type == "error" {
		l.errors++
		return
	}
	number, at, ok := strings.Cut(st.Body, " ")
	n, err := strconv.Atoi(number)
	sent, err2 := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil || err2 != nil {
		l.disorder++
		return
	}
	l.delays = append(l.delays, time.Since(time.Unix(0, sent)))
	switch want := l.next[st.From]; {
	case n < want:
		l.twice++
		return
	case n > want:
		l.disorder++
	}
	l.next[st.From] = n + 1
	l.arrived++
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.arrived
}

// percentile is of the delays since the last call of reset.
func (l *ledger) percentile(p float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.delays) == 0 {
		return 0
	}
	slices.Sort(l.delays)
	return l.delays[int(p*float64(len(l.delays)-1))]
}

func (l *ledger) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delays = nil
}

func numbered(to string, n int) string {
	return fmt.Sprintf("<message type='chat' to='%s'><body>%d %d</body></message>", to, n, time.Now().UnixNano())
}

// TestMessages sends messages between users on three different nodes, each to the next,
// to full and to bare addresses in turn.
func TestMessages(t *testing.T) {
	const pairs = 10 // per node
	w := newWorld(t, 3*pairs, 3*pairs)
	nodes := []*node{w.start("a"), w.start("b"), w.start("c")}
	books := make([]*ledger, 3*pairs)
	people := crowd(t, 3*pairs, func(i int) (*client, error) {
		books[i] = newLedger()
		c, err := login(nodes[i%3].address, user(i), "web", books[i].take)
		if err != nil {
			return nil, err
		}
		return c, c.send("<presence/>")
	})
	until(t, "Redis has all", func() bool {
		r, err := w.read(3*pairs, 1)
		return err == nil && len(r.status) == 3*pairs
	})
	each := *messagesFlag / len(people)
	before := []time.Duration{nodes[0].cpu(), nodes[1].cpu(), nodes[2].cpu()}
	published := w.redis.Calls(t, "publish")
	start := time.Now()
	var g sync.WaitGroup
	for i, c := range people {
		g.Go(func() {
			to := bare(user((i + 1) % len(people)))
			for n := range each {
				address := to
				if n%2 == 0 {
					address += "/web"
				}
				if err := c.send(numbered(address, n)); err != nil {
					t.Error(err)
					return
				}
				// A window, so that no outbox overflows on a slow machine.
				next := books[(i+1)%len(people)]
				if !within(patience, func() bool { return n-next.count() < 200 }) {
					t.Errorf("%s does not keep up", to)
					return
				}
			}
		})
	}
	g.Wait()
	total := 0
	until(t, "all messages arrived", func() bool {
		total = 0
		for _, b := range books {
			total += b.count()
		}
		return total == each*len(people)
	})
	took := time.Since(start)
	var twice, disorder, bounced int
	var worst time.Duration
	for _, b := range books {
		twice, disorder, bounced = twice+b.twice, disorder+b.disorder, bounced+b.errors
		worst = max(worst, b.percentile(0.99))
	}
	if twice+disorder+bounced > 0 {
		t.Errorf("%d twice, %d out of order, %d came back", twice, disorder, bounced)
	}
	var cpu []string
	for i, n := range nodes {
		cpu = append(cpu, fmt.Sprintf("%.1f", float64((n.cpu()-before[i]).Microseconds())/float64(total)*3/2))
	}
	t.Logf("%d messages between three nodes in %.1f s: 0 lost, %d twice, %d out of order, p99 %s; us of CPU per message on each of its two nodes, half and half: %s; %.2f publishes per message",
		total, took.Seconds(), twice, disorder, worst.Round(time.Microsecond*100), strings.Join(cpu, " "), float64(w.redis.Calls(t, "publish")-published)/float64(total))
}

// TestPublishes counts, in Redis itself, what one presence change costs in a project
// that is spread over three nodes.
func TestPublishes(t *testing.T) {
	members := *projectFlag
	w := newWorld(t, members, members)
	nodes := []*node{w.start("a"), w.start("b"), w.start("c")}
	people := make([]*watcher, members)
	crowd(t, members, func(i int) (*client, error) {
		x, err := watch(nodes[i%3].address, user(i), "web")
		if err != nil {
			return nil, err
		}
		people[i] = x
		return x.client, x.send("<presence/>")
	})
	until(t, "everybody sees everybody", func() bool {
		return !slices.ContainsFunc(people, func(x *watcher) bool { return x.available() != members-1 })
	})
	for i := range 10 {
		w.redis.ResetCalls(t)
		serial := fmt.Sprint("change ", i)
		mustSend(t, people[i].client, "<presence><show>dnd</show><status>"+serial+"</status></presence>")
		until(t, "everybody is told", func() bool {
			return !slices.ContainsFunc(people, func(x *watcher) bool { return x.of(people[i].jid).serial != serial })
		})
		scripts, publishes := w.redis.Calls(t, "evalsha"), w.redis.Calls(t, "publish")
		if publishes > 2 {
			t.Errorf("%d publishes for one change", publishes)
		}
		if i == 0 {
			t.Logf("a presence change in a project of %d over three nodes: %d scripts, %d publishes", members, scripts, publishes)
		}
	}
}
