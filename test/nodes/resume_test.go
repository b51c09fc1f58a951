package nodes

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/transcript"
	"rollcall/test/chaos/proxy"
	"rollcall/test/chaos/smclient"
)

// The long run: go test ./test/nodes -run TestResumptionAnywhere -resumptions 1000 -timeout 30m.
var resumptionsFlag = flag.Int("resumptions", 60, "resumptions of TestResumptionAnywhere")

// doors are the nodes behind proxies that cut connections.
type doors struct {
	mu   sync.Mutex
	open []*proxy.Relay // of the nodes that have sessions, and last of the one that passes on
	rnd  *rand.Rand
}

// any is a random door; home is one of a node that has sessions.
func (d *doors) any(home bool) transcript.Target {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.open)
	if home {
		n--
	}
	return transcript.Target{Kind: transcript.KindTCP, Host: host, Address: d.open[d.rnd.IntN(n)].Addr()}
}

// put opens a door to a node, in the place of another.
func (d *doors) put(t *testing.T, place int, n *node) {
	t.Helper()
	relay, err := proxy.ListenRelay(proxy.RelayConfig{
		Target: n.address, Seed: *seedFlag + uint64(place), Life: 2 * time.Second, Bytes: 64 << 10,
		Faults: proxy.Faults{proxy.Reset: 0.5, proxy.Fin: 0.3, proxy.HalfOpen: 0.2}, MaxStall: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(relay.Close)
	d.mu.Lock()
	defer d.mu.Unlock()
	if place == len(d.open) {
		d.open = append(d.open, nil)
	}
	d.open[place] = relay
}

func (d *doors) calm() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.open {
		r.Calm()
	}
}

// mover is a client that comes back at any node.
type mover struct {
	*smclient.Client
	mu     sync.Mutex
	next   map[string]int // number of the next message, by sender
	came   int
	faults []string
}

func (m *mover) take(e *etree.Element) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch typ := e.SelectAttrValue("type", ""); {
	case e.Tag == "message" && typ == "chat":
		from := e.SelectAttrValue("from", "")
		if want := fmt.Sprint(m.next[from]); e.SelectAttrValue("id", "") != want {
			m.faults = append(m.faults, fmt.Sprintf("message %s of %s, not %s", e.SelectAttrValue("id", ""), from, want))
		}
		m.next[from]++
		m.came++
	case e.Tag == "iq" && typ == "get":
		m.Send("<iq type='result' id='" + e.SelectAttrValue("id", "") + "'/>")
	case e.Tag == "message", typ == "error":
		m.faults = append(m.faults, transcript.Text(e))
	}
}

// TestResumptionAnywhere has clients talk to each other while their connections are cut;
// each comes back at a random node of three. One of them has no sessions of its own, and
// is killed with everybody's connections to it again and again. Nothing is lost, nothing
// comes twice or out of order, and no session ends.
func TestResumptionAnywhere(t *testing.T) {
	const clients = 8
	w := newWorld(t, clients, clients)
	d := &doors{rnd: rand.New(rand.NewPCG(*seedFlag, 198))}
	var passing *node
	for i, name := range []string{"a", "b", "passing"} {
		passing = w.start(name)
		d.put(t, i, passing)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var movers []*mover
	for i := range clients {
		movers = append(movers, d.enter(ctx, t, &running, i))
	}
	sum := func() (c smclient.Counts) {
		for _, m := range movers {
			n := m.Counts()
			c.Resumed, c.Fresh, c.Connections = c.Resumed+n.Resumed, c.Fresh+n.Fresh, c.Connections+n.Connections
		}
		return c
	}
	until(t, "everybody is there", func() bool { return sum().Fresh == clients })
	talking, stop := context.WithCancel(ctx)
	var rounds atomic.Int64
	var talk sync.WaitGroup
	talk.Go(func() {
		chatter(talking, movers, &rounds)
	})
	kills := 0
	for sum().Resumed < *resumptionsFlag {
		goal := sum().Resumed + *resumptionsFlag/3
		until(t, "resumptions", func() bool { return sum().Resumed >= goal })
		passing.end(syscall.SIGKILL)
		kills++
		passing = w.start("passing")
		d.put(t, 2, passing)
	}
	stop()
	talk.Wait()
	d.calm()
	want := int(rounds.Load()) * (clients - 1)
	settle(t, movers, want)
	t.Logf("%d messages; %+v; a node killed %d times: none lost, none twice", want*clients, sum(), kills)
}

// settle waits until everybody has got so many messages, and looks at the books.
func settle(t *testing.T, movers []*mover, want int) {
	t.Helper()
	if !within(patience, func() bool {
		for _, m := range movers {
			m.mu.Lock()
			came := m.came
			m.mu.Unlock()
			if came < want || m.Unacked() > 0 {
				return false
			}
		}
		return true
	}) {
		t.Error("not everything came")
	}
	for _, m := range movers {
		m.mu.Lock()
		if m.came != want || m.Counts().Fresh != 1 {
			t.Errorf("%s: %d messages of %d, %d not acknowledged, %+v", m.JID(), m.came, want, m.Unacked(), m.Counts())
		}
		for _, fault := range m.faults[:min(5, len(m.faults))] {
			t.Errorf("%s: %s", m.JID(), fault)
		}
		m.mu.Unlock()
	}
}

// enter makes a client whose session is at one of the first two nodes.
func (d *doors) enter(ctx context.Context, t *testing.T, running *sync.WaitGroup, number int) *mover {
	m := &mover{next: map[string]int{}}
	m.Client = smclient.New(smclient.Config{
		Target:   func() transcript.Target { return d.any(m.Counts().Fresh == 0) },
		Account:  transcript.Account{JID: bare(user(number)) + "/phone", Password: password, Mechanism: "PLAIN"},
		Patience: 5 * time.Second, Take: m.take, Handled: func(string) {},
	})
	m.Send("<presence/>")
	running.Go(func() {
		if err := m.Run(ctx); err != nil {
			t.Errorf("%s: %v", user(number), err)
		}
	})
	return m
}

// chatter has everybody write to everybody, no further ahead than the network takes.
func chatter(ctx context.Context, movers []*mover, rounds *atomic.Int64) {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for round := int64(0); ; {
		behind := false
		for _, m := range movers {
			behind = behind || m.Unacked() > 300
		}
		if !behind {
			long := strings.Repeat("x", int(round%7)*100)
			for i, m := range movers {
				for j := range movers {
					if i != j {
						m.Send(fmt.Sprintf("<message to='%s/phone' id='%d' type='chat'><body>%s</body></message>", bare(user(j)), round, long))
					}
				}
			}
			round++
			rounds.Store(round)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
