package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	"mellium.im/sasl"

	"rollcall/conf"
	"rollcall/test/chaos/boshclient"
	"rollcall/test/chaos/proxy"
)

// trouble is how often what goes wrong with a request.
var trouble = proxy.Faults{
	proxy.Delay: 0.05, proxy.Reorder: 0.05, proxy.CutRequest: 0.03, proxy.CutHeld: 0.03,
	proxy.CutResponse: 0.04, proxy.Repeat: 0.06, proxy.HalfOpen: 0.005, proxy.BadGateway: 0.03,
}

// stalled is how long nothing may come before a test gives up.
const stalled = 40 * time.Second

// talker is a client that talks to all others.
type talker struct {
	*boshclient.Client
	user     string
	requests *tail
	mu       sync.Mutex
	gone     []string // unavailable presence, which nobody should see
}

func (k *talker) receive(l *ledger) func(*etree.Element) {
	return func(e *etree.Element) {
		switch kind := e.SelectAttrValue("type", ""); {
		case e.Tag == "message" && kind == "chat":
			l.receive(k.user, e.FindElement("body").Text())
		case e.Tag == "presence" && kind == "unavailable", kind == "error":
			k.mu.Lock()
			defer k.mu.Unlock()
			k.gone = append(k.gone, e.Tag+" "+kind+" from "+e.SelectAttrValue("from", ""))
		}
	}
}

func (k *talker) complaints() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gone
}

func (k *talker) logRequest(user string, rid int64, attempt int, sent, got string, err error) {
	// The log is kept in memory, where writing cannot fail.
	_, _ = fmt.Fprintf(k.requests, "%s %s rid %d attempt %d\n\t> %s\n\t< %s %v\n",
		time.Now().Format("05.000"), user, rid, attempt, sent, got, err)
}

// join logs in every client through the proxy.
func join(t *testing.T, ctx context.Context, address string, l *ledger, n int) []*talker {
	t.Helper()
	all := make([]*talker, n)
	errs := make(chan error, n)
	for i := range all {
		k := &talker{user: name(i), requests: newTail(150)}
		all[i] = k
		go func() {
			c := boshclient.Config{
				URL: "http://" + address + "/http-bind", Host: host, User: k.user, Password: password, Resource: "web",
				Mechanism: sasl.Plain, Wait: time.Second, Timeout: 1500 * time.Millisecond, Backoff: 100 * time.Millisecond, Batch: 3,
				Rand: rand.New(rand.NewPCG(*seedFlag, uint64(i))), Receive: k.receive(l), Log: k.logRequest,
			}
			// There are clients of all kinds.
			c.Hold, c.Ack, c.Keys = 1+i/2%2, i%3 == 1, i%4 == 3
			if i%2 == 1 {
				c.Mechanism = sasl.ScramSha1
			}
			var err error
			if k.Client, err = boshclient.Login(ctx, c); err == nil {
				err = k.Send("<presence xmlns='jabber:client'/>")
			}
			errs <- err
		}()
	}
	for range all {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// speak sends a client's messages, in turn to each of the others.
func (k *talker) speak(ctx context.Context, to []string, accounts []*account) error {
	for n := 0; ; n++ {
		busy := false
		for i, a := range accounts {
			if n >= a.total {
				continue
			}
			busy = true
			select {
			case <-a.credit:
			case <-ctx.Done():
				return nil
			case <-k.Done():
				return k.Err()
			}
			if err := k.Send(chat(to[i]+"@"+host+"/web", note(k.user, to[i], n))); err != nil {
				return err
			}
		}
		if !busy {
			return nil
		}
	}
}

func chat(to, said string) string {
	return "<message xmlns='jabber:client' to='" + to + "' type='chat'><body>" + escape(said) + "</body></message>"
}

// converse has everybody talk to everybody until all messages have come, or
// nothing comes any more.
func converse(t *testing.T, all []*talker, l *ledger, messages int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	pairs := len(all) * (len(all) - 1)
	opened := 0
	var speakers sync.WaitGroup
	var starts []func()
	for _, k := range all {
		var to []string
		var accounts []*account
		for _, other := range all {
			if other == k {
				continue
			}
			// The sum over all pairs is exactly messages.
			total := messages*(opened+1)/pairs - messages*opened/pairs
			opened++
			to, accounts = append(to, other.user), append(accounts, l.open(k.user, other.user, total, 16))
		}
		starts = append(starts, func() {
			speakers.Go(func() {
				if err := k.speak(ctx, to, accounts); err != nil {
					t.Errorf("%s: %v", k.user, err)
				}
			})
		})
	}
	for _, start := range starts {
		start()
	}
	defer speakers.Wait()
	defer cancel()
	limit := time.NewTimer(stalled)
	defer limit.Stop()
	for {
		select {
		case <-l.all:
			return
		case <-l.progress:
			limit.Reset(stalled)
		case <-limit.C:
			t.Errorf("nothing comes any more")
			return
		}
	}
}

// TestBOSH: many clients talk over a network that does everything wrong. Every
// message comes once and in the order of its pair, and every session is kept.
func TestBOSH(t *testing.T) {
	t.Parallel()
	h := start(t, *clientsFlag, func(c *conf.Config) { c.BOSH.Hold = 2 })
	p, err := proxy.ListenHTTP(proxy.HTTPConfig{
		Target: h.http(), Seed: *seedFlag, Faults: trouble.Times(*troubleFlag), MaxDelay: 150 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := newLedger()
	all := join(t, ctx, p.Addr(), l, *clientsFlag)
	defer func() {
		for _, k := range all {
			k.Abandon()
			if t.Failed() {
				t.Logf("requests of %s:\n%s", k.user, k.requests)
			}
		}
	}()
	converse(t, all, l, *messagesFlag)
	took := time.Since(began)
	check(t, h, all, l, took)
	depart(t, h, all, l)
	counts := p.Counts()
	t.Logf("what went wrong: %v", counts)
	for f := range trouble {
		if counts[f] == 0 {
			t.Errorf("seed %d: %s never happened", *seedFlag, f)
		}
	}
	if counts[proxy.Overtaken] == 0 {
		t.Errorf("seed %d: no request was overtaken", *seedFlag)
	}
	if n := counts[proxy.Broken]; n > 0 {
		t.Errorf("seed %d: the server broke %d connections", *seedFlag, n)
	}
}

// check makes sure that nothing is missing, neither messages nor sessions.
func check(t *testing.T, h *house, all []*talker, l *ledger, took time.Duration) {
	t.Helper()
	lost, duplicated, disordered := l.totals()
	if lost+duplicated+disordered+len(l.faults) > 0 {
		t.Errorf("seed %d: %d lost, %d duplicated, %d out of order: %.20q", *seedFlag, lost, duplicated, disordered, l.faults)
	}
	for _, k := range all {
		if jid := bare(k.user) + "/web"; !h.sessions()[jid] {
			t.Errorf("seed %d: %s has no session any more", *seedFlag, jid)
		}
		if gone := k.complaints(); len(gone) > 0 {
			t.Errorf("seed %d: %s was told %q", *seedFlag, k.user, gone)
		}
	}
	var sum boshclient.Stats
	for _, k := range all {
		s := k.Stats()
		sum = boshclient.Stats{Requests: sum.Requests + s.Requests, Retries: sum.Retries + s.Retries, Timeouts: sum.Timeouts + s.Timeouts}
	}
	t.Logf("seed %d: %d messages of %d clients in %v: %d lost, %d duplicated, %d out of order; %d requests, %d retries (%d after a timeout)",
		*seedFlag, *messagesFlag, *clientsFlag, took.Round(time.Millisecond), lost, duplicated, disordered, sum.Requests, sum.Retries, sum.Timeouts)
}

// depart has everybody log out, over the same network; nothing comes with that
// which came before, and the server remembers nobody.
func depart(t *testing.T, h *house, all []*talker, l *ledger) {
	ctx, cancel := context.WithTimeout(t.Context(), stalled)
	defer cancel()
	for _, k := range all {
		if err := k.Terminate(ctx); err != nil {
			t.Errorf("seed %d: %s leaves: %v", *seedFlag, k.user, err)
		}
	}
	if _, duplicated, _ := l.totals(); duplicated > 0 {
		t.Errorf("seed %d: %d came twice at the end", *seedFlag, duplicated)
	}
	h.await(t, ctx, map[string]bool{})
}
