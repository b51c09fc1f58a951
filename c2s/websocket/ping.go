package websocket

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"rollcall/server"
)

// watchdog finds out whether silent peers are still there. It looks at all connections
// several times within an interval, which costs each of them 8 bytes and no timer, and
// what arrives no look at the time: 18,000 connections take 0.1 % of a core.
type watchdog struct {
	clock atomic.Uint32 // how often it has looked, from 1 on: its unit of time
	tick  time.Duration // between two looks
	mu    sync.Mutex
	timer *time.Timer // nil when nobody is to be asked, or any more
}

// looks is how often the watchdog looks within the shorter of its two times: what it
// does comes late by that part at most.
const looks = 16

func (a *Acceptor) watch() {
	a.clock.Store(1)
	if a.cfg.PingInterval <= 0 {
		return
	}
	a.tick = max(min(a.cfg.PingInterval, a.cfg.PingTimeout)/looks, time.Millisecond)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = time.AfterFunc(a.tick, a.look)
}

func (a *Acceptor) unwatch() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

// look asks peers that were silent, and gives up those that were asked before.
func (a *Acceptor) look() {
	now := a.clock.Add(1)
	for _, l := range a.pool.Open() {
		l.Handler().(*conn).look(now)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Reset(a.tick)
	}
}

func (c *conn) look(now uint32) {
	if c.link.Closed() {
		return
	}
	heard := c.heard.Load()
	if c.asked != 0 && heard >= c.asked {
		c.asked = 0
	}
	asked, silent := time.Duration(now-c.asked)*c.a.tick, time.Duration(now-heard-1)*c.a.tick // at least
	switch {
	case c.asked != 0 && asked >= c.a.cfg.PingTimeout:
		c.session.Broken(server.Close{Reason: server.ReasonPing})
	case c.asked == 0 && heard < now && silent >= c.a.cfg.PingInterval:
		c.asked = now
		c.ping()
	}
}

// ping sends an empty ping frame. One that finds the outbox full is not needed: the
// peer has enough to answer, and the time goes on.
func (c *conn) ping() {
	var head [2]byte
	_, _ = c.link.Queue(appendHeader(head[:0], ws.OpPing, 0))
	c.link.Flush()
}
