package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"rollcall/conf"
	"rollcall/internal/redistest"
	"rollcall/internal/transcript"
	"rollcall/test/chaos/proxy"
	"rollcall/test/chaos/smclient"
)

// The long run: go test ./test/chaos -run TestResumption -resumptions 1000 -timeout 30m.
var resumptionsFlag = flag.Int("resumptions", 40, "cuts of TestResumption")

// resumptionCuts are how often what goes wrong with a connection: something always does,
// in the end.
var resumptionCuts = proxy.Faults{proxy.Reset: 0.45, proxy.Fin: 0.35, proxy.Stall: 0.15, proxy.HalfOpen: 0.1}

// phone is a person whose connection is cut again and again, over TCP or WebSocket,
// and whose session never is.
type phone struct {
	user   string
	client *smclient.Client
	all    *phones

	mu     sync.Mutex
	came   map[string]int    // messages, by what they say
	last   map[string]int    // the latest of each sender
	view   map[string]string // statuses of those available, by full address
	flaps  []string          // who was seen to go, though nobody went
	wrong  time.Duration     // the longest time that the view was not true
	faults []string
}

// phones are everybody.
type phones struct {
	ctx     context.Context
	changed chan struct{} // of capacity 1
	list    []*phone

	mu    sync.Mutex
	truth map[string]time.Time // since when the server knows a status, by address and status
}

// handled notes since when the server knows what somebody says of himself.
func (a *phones) handled(from, stanza string) {
	var status string
	if _, err := fmt.Sscanf(stanza, "<presence><status>%s", &status); err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.truth[from+" "+strings.TrimSuffix(status, "</status></presence>")] = time.Now()
}

// since is when the server learned a status; the zero time when it said nothing of it
// yet.
func (a *phones) since(from, status string) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.truth[from+" "+status]
}

func (a *phones) notify() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// take enters a stanza in the books.
func (p *phone) take(e *etree.Element) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.all.notify()
	from := e.SelectAttrValue("from", "")
	switch typ := e.SelectAttrValue("type", ""); {
	case e.Tag == "message" && typ == "chat":
		said := e.SelectElement("body").Text()
		p.came[said]++
		sender, number := "", 0
		if _, err := fmt.Sscanf(said, "%s %d", &sender, &number); err != nil {
			p.faults = append(p.faults, fmt.Sprintf("%q: %v", said, err))
		}
		if number < p.last[sender] {
			p.faults = append(p.faults, fmt.Sprintf("%q after number %d", said, p.last[sender]))
		}
		p.last[sender] = number
	case e.Tag == "presence" && typ == "unavailable":
		p.flaps = append(p.flaps, from)
		delete(p.view, from)
	case e.Tag == "presence" && typ == "":
		p.view[from] = ""
		if status := e.SelectElement("status"); status != nil {
			p.view[from] = status.Text()
			p.late(p.all.since(from, status.Text()))
		}
	case e.Tag == "iq" && typ == "get":
		p.client.Send("<iq type='result' id='" + escape(e.SelectAttrValue("id", "")) + "'/>")
	case e.Tag == "message" || typ == "error":
		p.faults = append(p.faults, transcript.Text(e))
	}
}

// late notes for how long something was true that p, while connected, did not know.
func (p *phone) late(since time.Time) {
	if since.IsZero() {
		return
	}
	if connected := p.client.Since(); connected.After(since) {
		since = connected
	}
	p.wrong = max(p.wrong, time.Since(since))
}

// TestResumption: clients that manage their streams talk to each other while their
// connections are cut at random. No message is lost, comes twice or out of order, and
// nobody is seen to leave: in the end everybody sees the truth.
func TestResumption(t *testing.T) {
	t.Parallel()
	resumption(t, func(*conf.Config) {})
}

// TestResumptionOverNodes has them come back at any of two nodes.
func TestResumptionOverNodes(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	node := func(name string) func(c *conf.Config) {
		return func(c *conf.Config) {
			c.Storage.Presence, c.Storage.Redis.Addresses, c.Cluster.Node = conf.PresenceRedis, []string{redis.Addr()}, name
		}
	}
	resumption(t, node("one"), node("two"))
}

// resumption is TestResumption with one server for each change of the configuration.
func resumption(t *testing.T, changes ...func(c *conf.Config)) {
	const clients = 8
	var relays []door
	for _, change := range changes {
		relays = append(relays, doors(t, clients, change)...)
	}
	ctx, cancel := context.WithCancel(t.Context())
	all := &phones{ctx: ctx, changed: make(chan struct{}, 1), truth: map[string]time.Time{}}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for i := range clients {
		p := all.add(name(i), relays, i)
		running.Go(func() {
			if err := p.client.Run(ctx); err != nil {
				t.Errorf("%s: %v", p.user, err)
			}
		})
	}
	all.until(t, "everybody is there", func() bool { return all.sees(clients) })
	sent := all.talk(t, *resumptionsFlag)
	for _, d := range relays {
		d.relay.Calm()
		t.Logf("seed %d: what went wrong: %v", *seedFlag, d.relay.Counts())
	}
	all.settle(t, sent)
}

// door is a way to a server on which things go wrong.
type door struct {
	kind  string
	relay *proxy.Relay
}

func (d *door) target() transcript.Target {
	if d.kind == transcript.KindTCP {
		return transcript.Target{Kind: d.kind, Address: d.relay.Addr(), Host: host}
	}
	return transcript.Target{Kind: d.kind, Host: host, URL: "ws://" + d.relay.Addr() + "/xmpp-websocket"}
}

// doors starts a server and returns the ways to it.
func doors(t *testing.T, clients int, change func(c *conf.Config)) (list []door) {
	t.Helper()
	h := start(t, clients, func(c *conf.Config) {
		c.Listen.HTTP[0].WebSocket = true
		c.Listen.TCP = []conf.TCPListener{{Address: "127.0.0.1:0", TLS: conf.TLSNone, PlainWithoutTLS: true}}
		c.StreamManagement.Max, c.StreamManagement.AwayAfter = 10*time.Minute, 0
		c.StreamManagement.Queue, c.StreamManagement.QueueBytes = 10_000, 16<<20
		c.StreamManagement.Probes = []time.Duration{500 * time.Millisecond, 500 * time.Millisecond}
		c.WebSocket.PingInterval, c.WebSocket.PingTimeout = 2*time.Second, time.Second
		change(c)
	})
	tcp, _ := h.Addresses()
	for _, way := range []struct{ kind, target string }{{transcript.KindTCP, tcp[0].String()}, {transcript.KindWebSocket, h.http()}} {
		relay, err := proxy.ListenRelay(proxy.RelayConfig{
			Target: way.target, Seed: *seedFlag, Faults: resumptionCuts, Life: time.Second, Bytes: 64 << 10, MaxStall: 700 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(relay.Close)
		list = append(list, door{way.kind, relay})
	}
	return list
}

func (a *phones) add(user string, ways []door, number int) *phone {
	p := &phone{user: user, all: a, came: map[string]int{}, last: map[string]int{}, view: map[string]string{}}
	rnd := rand.New(rand.NewPCG(*seedFlag, uint64(number)))
	p.client = smclient.New(smclient.Config{
		// Streams move from one kind of connection to the other, and from node to node.
		Target:   func() transcript.Target { return ways[rnd.IntN(len(ways))].target() },
		Account:  transcript.Account{JID: bare(user) + "/phone", Password: password, Mechanism: "PLAIN"},
		Patience: 2 * time.Second, Take: p.take,
		Handled: func(stanza string) { a.handled(bare(user)+"/phone", stanza) },
	})
	p.client.Send("<presence><status>0</status></presence>")
	a.list = append(a.list, p)
	return p
}

// cuts is how often connections were lost so far.
func (a *phones) cuts() (n int) {
	for _, p := range a.list {
		c := p.client.Counts()
		n += c.Resumed
	}
	return n
}

// talk has everybody write to everybody and change presence until streams were resumed
// so many times. It returns how many messages each has sent to each.
func (a *phones) talk(t *testing.T, resumptions int) (rounds int) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for before := a.cuts(); a.cuts()-before < resumptions; rounds++ {
		for i, p := range a.list {
			for j, to := range a.list {
				if i != j {
					p.client.Send(fmt.Sprintf("<message to='%s/phone' type='chat'><body>%s&gt;%s %d</body></message>", bare(to.user), p.user, to.user, rounds))
				}
			}
			if rounds%5 == i%5 {
				p.client.Send(fmt.Sprintf("<presence><status>%d</status></presence>", rounds))
			}
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("out of time")
		}
		// Nobody gets further ahead than the network takes.
		a.until(t, "what is on its way", func() bool { return a.backlog() < 500 })
	}
	for _, p := range a.list {
		p.client.Send("<presence><status>end</status></presence>")
	}
	return rounds
}

func (a *phones) backlog() (most int) {
	for _, p := range a.list {
		most = max(most, p.client.Unacked())
	}
	return most
}

// sees reports whether everybody sees so many people.
func (a *phones) sees(n int) bool {
	for _, p := range a.list {
		p.mu.Lock()
		seen := len(p.view)
		p.mu.Unlock()
		if seen != n {
			return false
		}
	}
	return true
}

// settle waits until everything has come, and looks at the books.
func (a *phones) settle(t *testing.T, rounds int) {
	t.Helper()
	want := rounds * (len(a.list) - 1)
	a.until(t, "every message", func() bool {
		for _, p := range a.list {
			p.mu.Lock()
			came := len(p.came)
			truth := len(p.view) == len(a.list)
			for _, status := range p.view {
				truth = truth && status == "end"
			}
			p.mu.Unlock()
			if came < want || !truth || p.client.Unacked() > 0 {
				return false
			}
		}
		return true
	})
	resumed, connections, wrong := 0, 0, time.Duration(0)
	for _, p := range a.list {
		c := p.client.Counts()
		resumed, connections = resumed+c.Resumed, connections+c.Connections
		if c.Fresh != 1 {
			t.Errorf("%s: %d sessions, not one", p.user, c.Fresh)
		}
		p.mu.Lock()
		wrong = max(wrong, p.wrong)
		for said, n := range p.came {
			if n != 1 || !strings.Contains(said, ">"+p.user+" ") {
				t.Errorf("%s got %q %d times", p.user, said, n)
			}
		}
		if len(p.came) != want {
			t.Errorf("%s got %d messages, not %d", p.user, len(p.came), want)
		}
		for _, fault := range p.faults {
			t.Errorf("%s: %s", p.user, fault)
		}
		if len(p.flaps) > 0 {
			t.Errorf("%s saw %v leave", p.user, p.flaps)
		}
		p.mu.Unlock()
	}
	t.Logf("%d messages, %d connections, %d resumptions: none lost, none twice; presence wrong for %s at most while connected",
		want*len(a.list), connections, resumed, wrong)
}

// until waits for something that comes with a stanza or an acknowledgement.
func (a *phones) until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !ready() {
		select {
		case <-a.changed:
		case <-look.C:
		case <-deadline.C:
			for _, p := range a.list {
				p.mu.Lock()
				t.Logf("%s: %d messages, sees %v, unacked %d, %+v", p.user, len(p.came), p.view, p.client.Unacked(), p.client.Counts())
				p.mu.Unlock()
			}
			t.Fatalf("seed %d: %s: in vain", *seedFlag, what)
		}
	}
}
