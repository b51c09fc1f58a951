package server_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage/memory"
)

// roamer is a client that loses its connections, and what is under way on them, and
// keeps the rules of XEP-0198.
type roamer struct {
	t     *testing.T
	nodes []*servertest.Server // it comes to any of them
	home  []*servertest.Server // it has its session at one of them
	lossy bool                 // an answer to <resume/> may be lost
	user  string
	rng   *rand.Rand

	line  *phone    // nil without a connection
	since time.Time // of the last connection
	id    string
	unto  string
	h     uint32   // stanzas that came
	owes  bool     // an answer to <r/>
	sent  []string // and not acknowledged
	acked uint32   // how many the server has acknowledged
	next  int      // number of its next message
	heard int      // number of the next message from the other
}

// connect brings the roamer back, or in for the first time.
func (r *roamer) connect() {
	nodes := r.nodes
	if r.id == "" {
		nodes = r.home
	}
	r.line, r.since = arrive(nodes[r.rng.IntN(len(nodes))], r.user), time.Now()
	if r.id == "" {
		r.line.Bind("phone")
		r.line.Send("<enable " + sm + " resume='true'/>")
		r.id = r.line.Next().SelectAttrValue("id", "")
		r.send("<presence/>")
		return
	}
	r.line.Send(fmt.Sprintf("<resume %s h='%d' previd='%s'/>", sm, r.h, r.id))
	answer := r.answer()
	if len(answer) == 0 {
		r.line.Drop()
		r.line = nil
		return
	}
	if el := answer[0]; el.Tag != "resumed" {
		r.t.Fatalf("%s is told <%s/>", r.user, el.Tag)
	}
	r.takeAck(answer[0])
	r.owes = false
	for _, el := range answer[1:] {
		r.take(el)
	}
	for _, el := range r.sent {
		r.line.Send(el)
	}
}

// answer is that to <resume/>, and what came after it; nothing where it was lost.
func (r *roamer) answer() []*etree.Element {
	if !r.lossy {
		return []*etree.Element{r.line.Next()}
	}
	time.Sleep(4 * time.Second)
	synctest.Wait()
	list := r.line.Drain()
	if len(list) > 0 && list[0].Tag == "failed" {
		return nil
	}
	return list
}

// send sends a stanza, which may be lost under way.
func (r *roamer) send(el string) {
	r.sent = append(r.sent, el)
	if r.line != nil {
		r.line.Send(el)
	}
}

func (r *roamer) say() {
	r.next++
	r.send(fmt.Sprintf("<message to='%s' id='%d' type='chat'><body/></message>", r.unto, r.next))
	if r.line != nil && r.rng.IntN(3) == 0 {
		r.line.Send("<r " + sm + "/>")
	}
}

// read takes some of what arrived, or all.
func (r *roamer) read(all bool) {
	if r.line == nil {
		return
	}
	list := r.line.Drain()
	if !all {
		// The rest is lost: nothing more can be read of this connection.
		list = list[:r.rng.IntN(len(list)+1)]
	}
	for _, el := range list {
		r.take(el)
	}
	if r.owes && (all || r.rng.IntN(2) == 0) {
		r.owes = false
		r.line.Send(fmt.Sprintf("<a %s h='%d'/>", sm, r.h))
	}
}

func (r *roamer) take(el *etree.Element) {
	switch el.Tag {
	case "r":
		r.owes = true
		return
	case "a":
		r.takeAck(el)
		return
	case "message":
		if el.SelectAttrValue("type", "") != "chat" {
			r.t.Fatalf("%s got an error for message %s", r.user, el.SelectAttrValue("id", ""))
		}
		if r.heard++; el.SelectAttrValue("id", "") != strconv.Itoa(r.heard) {
			r.t.Fatalf("%s got message %s, want %d", r.user, el.SelectAttrValue("id", ""), r.heard)
		}
	}
	r.h++
}

func (r *roamer) takeAck(el *etree.Element) {
	n, err := strconv.ParseUint(el.SelectAttrValue("h", ""), 10, 32)
	if err != nil || uint32(n)-r.acked > uint32(len(r.sent)) {
		r.t.Fatalf("%s: %d stanzas acknowledged of %d (%v)", r.user, n, int(r.acked)+len(r.sent), err)
	}
	r.sent = r.sent[uint32(n)-r.acked:]
	r.acked = uint32(n)
}

// lose loses the connection; the server may notice or not.
func (r *roamer) lose() {
	if r.line == nil {
		return
	}
	r.read(false)
	if r.rng.IntN(2) == 0 {
		r.line.Drop()
	}
	r.line = nil
}

// TestRoamers has two clients write to each other while they lose their connections all
// the time: every message arrives once, and in order.
func TestRoamers(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, m := spooled(t, 250*time.Millisecond)
				roam(t, seed, m, func(*rand.Rand) {}, s)
			})
		})
	}
}

// TestRoamersOverNodes has them come to any of three nodes, which now and then do not know
// whether they missed something of what others say.
func TestRoamersOverNodes(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub, m := memory.NewHub(), new(spool)
				nodes := nodesOf(t, hub, servertest.Options{Modules: []server.Module{m}}, "a", "b", "c")
				roam(t, seed, m, func(rng *rand.Rand) { hub.Gap(string(rune('a' + rng.IntN(3)))) }, nodes...)
			})
		})
	}
}

// TestRoamersThroughNodes has the sessions at one of three nodes, while messages of the bus
// are lost or refused at random.
func TestRoamersThroughNodes(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub, m := memory.NewHub(), new(spool)
				nodes := nodesOf(t, hub, servertest.Options{Modules: []server.Module{m}}, "a", "b", "c")
				var mu sync.Mutex
				fate := rand.New(rand.NewPCG(seed, 6))
				often := 0
				hub.Fail(func(string, string, []byte) memory.Fault {
					mu.Lock()
					defer mu.Unlock()
					if fate.IntN(100) < often {
						return memory.Lost + memory.Fault(fate.IntN(2))
					}
					return memory.Fine
				})
				trouble := func(rng *rand.Rand) {
					mu.Lock()
					defer mu.Unlock()
					often = rng.IntN(3) * rng.IntN(20)
				}
				pair := pairOf(t, seed, nodes, nodes[:1])
				for _, r := range pair {
					r.lossy = true
				}
				roamAll(t, pair, m, trouble, func() {
					hub.Fail(nil)
					time.Sleep(5 * time.Second)
				})
			})
		})
	}
}

func roam(t *testing.T, seed uint64, m *spool, trouble func(*rand.Rand), nodes ...*servertest.Server) {
	roamAll(t, pairOf(t, seed, nodes, nodes), m, trouble, func() {})
}

// pairOf are two clients that write to each other.
func pairOf(t *testing.T, seed uint64, nodes, home []*servertest.Server) []*roamer {
	rng := rand.New(rand.NewPCG(seed, 198))
	return []*roamer{
		{t: t, nodes: nodes, home: home, user: "alice", rng: rng, unto: "bob@example.com/phone"},
		{t: t, nodes: nodes, home: home, user: "bob", rng: rng, unto: "alice@example.com/phone"},
	}
}

// roamAll has them do it, while there is trouble, until all is well again.
func roamAll(t *testing.T, pair []*roamer, m *spool, trouble func(*rand.Rand), well func()) {
	rng := pair[0].rng
	for _, r := range pair {
		r.connect()
	}
	synctest.Wait() // they know of each other
	for range 600 {
		r := pair[rng.IntN(2)]
		switch rng.IntN(12) {
		case 0:
			r.lose()
		case 1, 2:
			if r.line == nil || rng.IntN(4) == 0 {
				if r.line != nil {
					r.read(false)
				}
				r.connect()
			}
		case 3:
			time.Sleep(time.Duration(rng.IntN(40_000)) * time.Millisecond)
		case 4, 5, 6:
			r.read(true)
		case 7:
			r.owes = true
		default:
			r.say()
		}
		if rng.IntN(2) == 0 {
			synctest.Wait()
		}
		if rng.IntN(100) == 0 {
			m.mu.Lock()
			m.broken = !m.broken
			m.mu.Unlock()
		}
		if rng.IntN(50) == 0 {
			trouble(rng)
		}
		for _, r := range pair {
			if time.Since(r.since) > 4*time.Minute { // or the session would end
				r.lose()
				for r.connect(); r.line == nil; r.connect() {
				}
			}
		}
	}
	well()
	m.mu.Lock()
	m.broken = false
	m.mu.Unlock()
	for _, r := range pair {
		r.lose()
		r.connect()
	}
	for range 3 {
		for _, r := range pair {
			r.line.Send("<r " + sm + "/>")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, r := range pair {
			r.read(true)
		}
	}
	for i, r := range pair {
		if r.heard != pair[1-i].next || len(r.sent) != 0 {
			t.Errorf("%s got %d of %d messages; %d of its stanzas are not acknowledged", r.user, r.heard, pair[1-i].next, len(r.sent))
		}
	}
	m.expect(t)
}
