package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/transcript"
)

// TestKilled kills the server between an acknowledgement and a delivery (XEP-0198):
// every message that its sender was told to be handled is there after the restart, and
// none that its recipient was told to be.
func TestKilled(t *testing.T) {
	for name, come := range map[string]func(t *testing.T, p *process) *person{
		// The recipient was never there.
		"offline": func(*testing.T, *process) *person { return nil },
		// The connection is cut, and the session waits.
		"detached": func(t *testing.T, p *process) *person {
			bob := visit(t, p, "bob@localhost/phone", false)
			bob.deaf()
			<-bob.ended
			if err := bob.Drop(); err != nil {
				t.Error(err)
			}
			return bob
		},
		// It takes what comes, and says nothing.
		"silent": func(t *testing.T, p *process) *person { return visit(t, p, "bob@localhost/phone", true) },
		// It acknowledges.
		"there": func(t *testing.T, p *process) *person { return visit(t, p, "bob@localhost/phone", false) },
	} {
		t.Run(name, func(t *testing.T) {
			path := configFile(t, strings.Replace(testConfig, "modules: {", "modules: {offline: {messages: 100000, bytes: 64MiB}, ", 1))
			for _, user := range []string{"alice", "bob"} {
				must(t, "", "secret\n", "user", "add", user, "--config="+path)
			}
			for round := range 2 {
				killOnce(t, path, fmt.Sprint(name, "-", round), come)
			}
		})
	}
}

func killOnce(t *testing.T, path, name string, come func(t *testing.T, p *process) *person) {
	t.Helper()
	p := serve(t, path)
	before := come(t, p)
	alice := visit(t, p, "alice@localhost/web", false)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		alice.pour("bob@localhost", name)
	}()
	enough := 20 + rand.IntN(100) // each is a write to the disk where the recipient was never there
	alice.await("an acknowledgement", func() bool { return alice.handled > enough })
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if p.Wait() == nil {
		t.Fatal("it was not killed")
	}
	<-sent
	<-alice.ended
	acked := alice.handled - 1 // the first one is presence
	had, settled := make(map[string]int), 0
	if before != nil {
		<-before.ended
		for _, b := range before.bodies {
			had[b]++
		}
		settled = before.settled
	}

	p = serve(t, path)
	after := visit(t, p, "bob@localhost/phone", false)
	after.await("everything that is kept", after.calm)
	for _, b := range after.bodies {
		had[b]++
	}
	for i := range acked {
		if had[fmt.Sprint(name, " ", i)] == 0 {
			t.Errorf("%s: message %d of %d that were acknowledged is lost", name, i, acked)
		}
	}
	if before != nil {
		for _, b := range before.bodies[:settled] {
			if slices.Contains(after.bodies, b) {
				t.Errorf("%s: %q comes again, and was acknowledged", name, b)
			}
		}
	}
	t.Logf("%s: %d acknowledged; the recipient had %d, had acknowledged %d, and got %d after the restart",
		name, acked, len(had), settled, len(after.bodies))
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	<-after.ended
}

// person is a client that manages its stream (XEP-0198).
type person struct {
	transcript.Client
	t      *testing.T
	silent bool          // acknowledges nothing
	ended  chan struct{} // closed when nothing more comes
	change chan struct{} // something came

	mu      sync.Mutex
	got     int // stanzas
	bodies  []string
	asked   []int // how many of bodies were acknowledged before each <r/> that is not answered
	settled int   // how many of bodies the server knows to be acknowledged
	handled int   // of the client's stanzas, as the server says
	pings   int   // answered since the last message
	// listening ends with deaf, and then reading does.
	listening context.Context
	deaf      context.CancelFunc
}

// visit logs somebody in who is available from then on.
func visit(t *testing.T, p *process, address string, silent bool) *person {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	target := p.target()
	target.Timeout = time.Minute
	client, _, err := transcript.SignIn(ctx, target, transcript.Account{JID: address, Password: "secret", Mechanism: "PLAIN"})
	if err != nil {
		t.Fatal(err)
	}
	listening, deaf := context.WithCancel(t.Context())
	x := &person{Client: client, t: t, silent: silent, listening: listening, deaf: deaf, ended: make(chan struct{}), change: make(chan struct{}, 1)}
	if err := x.Send("<enable xmlns='urn:xmpp:sm:3' resume='true'/><presence/>"); err != nil {
		t.Fatal(err)
	}
	go x.read()
	x.await("the echo of presence", func() bool { return x.got > 0 })
	return x
}

// pour sends numbered messages until the server is gone.
func (x *person) pour(to, name string) {
	for i := 0; ; {
		var text strings.Builder
		for range 10 {
			fmt.Fprintf(&text, "<message to='%s' type='chat' id='%d'><body>%s %[2]d</body></message>", to, i, name)
			i++
		}
		// Its end is what the test waits for.
		if x.Send(text.String()+"<r xmlns='urn:xmpp:sm:3'/>") != nil || i >= 3000 {
			return
		}
	}
}

// read takes what comes until the connection ends.
func (x *person) read() {
	defer close(x.ended)
	for {
		el, err := x.Receive(x.listening)
		if err != nil {
			return
		}
		if x.take(el) != nil {
			return
		}
		select {
		case x.change <- struct{}{}:
		default:
		}
	}
}

func (x *person) take(el *etree.Element) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch el.Tag {
	case "message", "presence", "iq":
		x.got++
		if b := el.SelectElement("body"); b != nil {
			x.bodies = append(x.bodies, b.Text())
			x.pings = 0
		}
		if el.SelectAttrValue("type", "") == "result" {
			x.pings++
		}
	case "r":
		if !x.silent {
			x.asked = append(x.asked, len(x.bodies))
			return x.Send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/><r xmlns='urn:xmpp:sm:3'/>", x.got))
		}
	case "a":
		h, err := strconv.Atoi(el.SelectAttrValue("h", ""))
		if err != nil {
			return err
		}
		x.handled = h
		if len(x.asked) > 0 {
			x.settled, x.asked = x.asked[0], x.asked[1:]
		}
	}
	return nil
}

// calm reports whether nothing comes any more: the server has answered several pings
// after the last message, and what was acknowledged before them. x is locked.
func (x *person) calm() bool {
	if x.pings >= 5 && len(x.asked) == 0 {
		return true
	}
	if x.Send("<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>") != nil {
		x.t.Error("the server is gone")
	}
	return false
}

// await waits until done, which is called with x locked.
func (x *person) await(what string, done func() bool) {
	x.t.Helper()
	limit := time.After(2 * time.Minute)
	for {
		x.mu.Lock()
		ok := done()
		x.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-x.change:
		case <-x.ended:
			x.t.Fatalf("%s did not come before the end", what)
		case <-limit:
			x.t.Fatalf("%s did not come", what)
		}
	}
}
