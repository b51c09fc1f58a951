package projects_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/storage/memory"
)

// lingering is how long a connection counts whose successor is at another node.
const lingering = 500 * time.Millisecond

// settle lets the news of the last step go round.
func (l *life) settle() {
	synctest.Wait()
	time.Sleep(lingering)
	synctest.Wait()
	l.expire()
}

// livesOfNodes leads half as many lives: each is as long as that of all its nodes.
func livesOfNodes(t *testing.T, f func(t *testing.T, seed uint64)) {
	for seed := *seed0; seed < *seed0+max(1, *seeds/2); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, seed) })
		})
	}
}

// Over nodes, one thing after the other: everybody's view and the store are right after
// every step, and nobody is told anything twice.
func TestModelOfNodes(t *testing.T) {
	livesOfNodes(t, func(t *testing.T, seed uint64) {
		l := newLife(t, seed, []time.Duration{grace, 0, grace, 1500 * time.Millisecond}[seed%4], nil, hostsOf(seed),
			[]string{"a", "b", "c"}[:2+seed%2]...)
		if seed%3 == 0 {
			for _, x := range l.list {
				x.store.names = []string{"a", "b", "c", "ghost"}
			}
		}
		l.lead(150, func() {
			l.settle()
			l.check(true)
			l.checkStore()
			if l.rng.IntN(8) == 0 {
				l.ask()
			}
		})
	})
}

// Messages between nodes are lost now and then, and the store fails: when that is over,
// all is right again, and nobody was told anything twice.
func TestModelOfNodesInTrouble(t *testing.T) {
	livesOfNodes(t, func(t *testing.T, seed uint64) {
		l := newLife(t, seed, []time.Duration{grace, 0}[seed%2], nil, hostsOf(seed), "a", "b", "c")
		l.apart = true // who takes over what is not known either
		faults := rand.New(rand.NewPCG(seed, 1))
		trouble := false
		l.lead(150, func() {
			l.settle()
			switch {
			case !trouble && l.rng.IntN(12) == 0:
				trouble = true
				fault := memory.Fault(1 + l.rng.IntN(2))
				l.hub.Fail(func(string, string, []byte) memory.Fault {
					if faults.IntN(3) == 0 {
						return fault
					}
					return memory.Fine
				})
				l.store.broken.Store(l.rng.IntN(2) == 0)
			case trouble && l.rng.IntN(6) == 0:
				trouble = false
				l.hub.Fail(nil)
				l.store.broken.Store(false)
				for _, x := range l.list {
					l.hub.Gap(x.name)
				}
				time.Sleep(5 * time.Second)
				l.settle()
			}
			if trouble {
				for _, x := range l.connected() {
					l.read(x, true)
				}
				return
			}
			l.check(true)
			l.checkStore()
			l.ask()
		})
	})
}

// Nodes are killed and started again.
func TestModelOfNodesKilled(t *testing.T) {
	livesOfNodes(t, func(t *testing.T, seed uint64) {
		l := newLife(t, seed, []time.Duration{grace, 0}[seed%2], nil, hostsOf(seed), "a", "b", "c")
		l.lead(150, func() {
			l.settle()
			if len(l.list) < 3 && l.rng.IntN(10) == 0 {
				name := "b"
				if slices.ContainsFunc(l.list, func(x *node) bool { return x.name == name }) {
					name = "c"
				}
				l.add(name)
			}
			if len(l.list) > 1 && l.rng.IntN(20) == 0 {
				l.crash(l.list[1+l.rng.IntN(len(l.list)-1)])
			}
			l.check(true)
			l.checkStore()
			l.ask()
		})
	})
}

// crash kills a node; its people are gone.
func (l *life) crash(x *node) {
	l.kill(x)
	early := l.rng.IntN(2) == 0
	if early {
		x.store.reap(l.t)
	}
	l.hub.Expire(x.name)
	synctest.Wait()
	if !early {
		l.askAll(false)
		x.store.reap(l.t)
	}
	l.lines = slices.DeleteFunc(l.lines, func(y *line) bool { return y.node == x.name })
}

// Everything at once over three nodes.
func TestModelOfNodesConcurrent(t *testing.T) {
	livesOfNodes(t, func(t *testing.T, seed uint64) {
		l := newLife(t, seed, []time.Duration{grace, 0}[seed%2], interrupt, hostsOf(seed), "a", "b", "c")
		for range 2 {
			l.commotion(seed)
			l.store.broken.Store(false)
			time.Sleep(time.Minute)
			l.settle()
			l.check(false)
			l.checkStore()
			l.ask()
			if t.Failed() {
				t.FailNow()
			}
		}
	})
}
