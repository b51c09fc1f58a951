package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"rollcall/conf"
	"rollcall/test/chaos/proxy"
	"rollcall/test/chaos/wsclient"
)

// cuts are how often what goes wrong with a connection.
var cuts = proxy.Faults{proxy.Reset: 0.35, proxy.Fin: 0.25, proxy.Stall: 0.2, proxy.HalfOpen: 0.15}

var cutsFlag = flag.Int("cuts", 8, "connections of each client of TestWebSocket that are cut")

// flapper is a client over WebSocket that connects again and again.
type flapper struct {
	user    string
	url     string
	changed chan struct{} // of all, of capacity 1
	chatty  bool          // always has something on its way that may be cut

	mu   sync.Mutex
	c    *wsclient.Client  // while it is connected
	view map[string]string // who is available, by full JID, with which status
	// answered are the ids of the iqs that were answered.
	answered map[string]bool
	over     chan struct{} // closed when the connection is over
	err      error         // why
}

func (f *flapper) jid() string { return bare(f.user) + "/web" }

// connect logs in, says what its status is, and receives until the connection is
// over.
func (f *flapper) connect(ctx context.Context, status string) error {
	login, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := wsclient.Dial(login, wsclient.Config{URL: f.url, Host: host, User: f.user, Password: password, Resource: "web"})
	if err != nil {
		return err
	}
	over := make(chan struct{})
	f.mu.Lock()
	f.c, f.view, f.answered, f.over, f.err = c, map[string]string{}, map[string]bool{}, over, nil
	f.mu.Unlock()
	go f.receive(ctx, c, over)
	go f.guard(ctx, c, over)
	err = c.Send(login, "<presence xmlns='jabber:client'><status>"+status+"</status></presence>")
	if err != nil {
		c.Cut()
		<-over
	}
	return err
}

func (f *flapper) receive(ctx context.Context, c *wsclient.Client, over chan struct{}) {
	defer close(over)
	defer c.Cut()
	for {
		e, err := c.Receive(ctx)
		if err != nil {
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
			if errors.Is(err, wsclient.ErrClosed) {
				// The server may close the connection first.
				_ = c.Finish()
			}
			return
		}
		f.take(e)
		if e.Tag == "iq" && e.SelectAttrValue("type", "") == "get" {
			// The server asks whether the client is there.
			_ = c.Send(ctx, "<iq xmlns='jabber:client' type='result' id='"+escape(e.SelectAttrValue("id", ""))+"'/>")
		}
		if f.chatty {
			// If sending fails, so does receiving.
			_ = c.Send(ctx, ping("chatter"))
		}
	}
}

// take takes a stanza.
func (f *flapper) take(e *etree.Element) {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := e.SelectAttrValue("from", "")
	switch {
	case e.Tag == "presence" && e.SelectAttrValue("type", "") == "unavailable":
		delete(f.view, from)
	case e.Tag == "presence" && e.SelectAttr("type") == nil:
		f.view[from] = ""
		if status := e.SelectElement("status"); status != nil {
			f.view[from] = status.Text()
		}
	case e.Tag == "iq":
		f.answered[e.SelectAttrValue("id", "")] = true
	}
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func ping(id string) string {
	return "<iq xmlns='jabber:client' type='get' id='" + id + "'><ping xmlns='urn:xmpp:ping'/></iq>"
}

// guard notices a server that is not there any more.
func (f *flapper) guard(ctx context.Context, c *wsclient.Client, over chan struct{}) {
	every := time.NewTicker(300 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-over:
			return
		case <-every.C:
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		err := c.Ping(ctx)
		cancel()
		if err != nil {
			c.Cut()
			return
		}
	}
}

// sees is what f knows of who is available.
func (f *flapper) sees() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.view)
}

func (f *flapper) heard(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answered[id]
}

// flap connects a number of times, each until the network cuts it.
func (f *flapper) flap(ctx context.Context, times int) {
	f.chatty = true
	defer func() { f.chatty = false }()
	for n := range times {
		if f.connect(ctx, fmt.Sprint(n)) != nil {
			continue // cut while logging in, which counts as well
		}
		enough := time.NewTimer(time.Second)
		select {
		case <-f.over:
		case <-enough.C:
			f.c.Cut() // the network is fine, so the client goes
		}
		enough.Stop()
		<-f.over
	}
}

// TestWebSocket: clients are cut at random and connect again. In the end every
// session belongs to somebody who is there, and everybody sees the truth.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	const clients = 9
	h := start(t, clients+1, func(c *conf.Config) {
		c.Listen.HTTP[0].WebSocket = true
		c.Listen.Metrics = "127.0.0.1:0"
		c.WebSocket.PingInterval, c.WebSocket.PingTimeout = time.Second, time.Second
		c.Modules.Projects.Grace = 300 * time.Millisecond
	})
	relay, err := proxy.ListenRelay(proxy.RelayConfig{
		Target: h.http(), Seed: *seedFlag, Faults: cuts, Life: 400 * time.Millisecond, Bytes: 16 << 10, MaxStall: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	// Who leaves without a word does so through this one.
	last, err := proxy.ListenRelay(proxy.RelayConfig{Target: h.http(), Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	all := &crowd{t: t, h: h, changed: make(chan struct{}, 1), truth: map[string]string{}}
	watcher := all.add(name(clients), h.http())
	all.settle(ctx, watcher, "watching")
	var flapping sync.WaitGroup
	var flappers []*flapper
	for i := range clients {
		f := all.add(name(i), relay.Addr())
		flappers = append(flappers, f)
		flapping.Go(func() { f.flap(ctx, *cutsFlag) })
	}
	flapping.Wait()
	relay.Calm()
	counts := relay.Counts()
	t.Logf("seed %d: what went wrong: %v", *seedFlag, counts)
	for f := range cuts {
		if counts[f] == 0 {
			t.Errorf("seed %d: %s never happened", *seedFlag, f)
		}
	}
	all.expect(ctx, "the network is calm")
	all.finale(ctx, flappers, last)
}

// crowd is everybody, and what is true of them.
type crowd struct {
	t       *testing.T
	h       *house
	changed chan struct{}
	here    []*flapper        // who is connected and stays so
	truth   map[string]string // their statuses by full JID
}

func (a *crowd) add(user, address string) *flapper {
	return &flapper{user: user, url: "ws://" + address + "/xmpp-websocket", changed: a.changed}
}

// settle connects for good.
func (a *crowd) settle(ctx context.Context, f *flapper, status string) {
	a.t.Helper()
	if err := f.connect(ctx, status); err != nil {
		a.t.Fatalf("seed %d: %s: %v", *seedFlag, f.user, err)
	}
	a.here = append(a.here, f)
	a.truth[f.jid()] = status
}

// leave says that some are not there any more.
func (a *crowd) leave(f *flapper) {
	a.here = slices.DeleteFunc(a.here, func(o *flapper) bool { return o == f })
	delete(a.truth, f.jid())
}

// lies compares what the server and everybody knows with the truth.
func (a *crowd) lies() []string {
	var all []string
	if got := a.h.sessions(); !maps.EqualFunc(got, a.truth, func(bool, string) bool { return true }) {
		all = append(all, fmt.Sprintf("the server has sessions %v", got))
	}
	for _, f := range a.here {
		if got := f.sees(); !maps.Equal(got, a.truth) {
			all = append(all, fmt.Sprintf("%s sees %v", f.user, got))
		}
	}
	return all
}

// expect waits for the truth, and then makes sure that nothing else follows.
func (a *crowd) expect(ctx context.Context, when string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, stalled)
	defer cancel()
	a.until(ctx, func() bool { return len(a.lies()) == 0 })
	for _, f := range a.here {
		if err := f.c.Send(ctx, ping("fence "+when)); err != nil {
			a.t.Errorf("seed %d: %s: %s: %v", *seedFlag, when, f.user, err)
		}
	}
	a.until(ctx, func() bool {
		return !slices.ContainsFunc(a.here, func(f *flapper) bool { return !f.heard("fence " + when) })
	})
	if lies := a.lies(); len(lies) > 0 {
		a.t.Fatalf("seed %d: %s: true is %v, but\n%s", *seedFlag, when, a.truth, strings.Join(lies, "\n"))
	}
}

// until waits for something that comes with a stanza or a session.
func (a *crowd) until(ctx context.Context, ready func() bool) {
	for !ready() {
		select {
		case <-a.changed:
		case <-a.h.changed:
		case <-ctx.Done():
			return
		}
	}
}

// finale has everybody come back over a calm network; then a third leaves with a
// word, and a third without one, and the server has to find out.
func (a *crowd) finale(ctx context.Context, flappers []*flapper, last *proxy.Relay) {
	for i, f := range flappers {
		if i%3 == 2 {
			f.url = a.add(f.user, last.Addr()).url
		}
		a.settle(ctx, f, fmt.Sprintf("back %d", i))
	}
	a.expect(ctx, "all are back")
	last.Freeze()
	for i, f := range flappers {
		switch i % 3 {
		case 1:
			a.hangUp(ctx, f)
		case 2:
			f.c.Cut()
			a.leave(f)
		}
	}
	a.expect(ctx, "some have left")
	for _, f := range slices.Clone(a.here) {
		a.hangUp(ctx, f)
	}
	a.expect(ctx, "all have left")
	for _, gauge := range []string{"rollcall_sessions", "rollcall_connections"} {
		if n := a.h.gauge(ctx, a.t, gauge+`{transport="websocket"}`, 0); n != 0 {
			a.t.Errorf("seed %d: %s is %v in the end", *seedFlag, gauge, n)
		}
	}
}

// hangUp closes a stream as it should be.
func (a *crowd) hangUp(ctx context.Context, f *flapper) {
	a.t.Helper()
	a.leave(f)
	if err := f.c.Close(ctx); err != nil {
		a.t.Errorf("seed %d: %s: %v", *seedFlag, f.user, err)
	}
	select {
	case <-f.over:
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !errors.Is(f.err, wsclient.ErrClosed) {
		a.t.Errorf("seed %d: %s closed the stream and got %v", *seedFlag, f.user, f.err)
	}
}

// gauge reads a metric until it is what is wanted, or ctx ends.
func (h *house) gauge(ctx context.Context, t *testing.T, name string, want float64) (value float64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.MetricsAddress().String()+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return value
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return value
		}
		value = math.NaN() // there is no such metric
		for line := range strings.Lines(string(raw)) {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
				if value, err = strconv.ParseFloat(text, 64); err != nil {
					t.Fatal(err)
				}
			}
		}
		if value == want {
			return value
		}
	}
}
