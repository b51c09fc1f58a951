package websocket

import (
	"sync"
	"time"

	"github.com/gobwas/ws"

	"rollcall/server"
)

// watchdog finds out whether a silent peer is still there. It costs one timer, which
// what arrives does not touch: the timer looks when it fires how long the peer has been
// silent.
type watchdog struct {
	c     *conn
	mu    sync.Mutex // nothing but the link's locks is taken under it
	timer *time.Timer
	asked int64 // when a ping was sent, as Acceptor.now says; 0 for none
	over  bool
}

// now is the time that has passed since a was made, in nanoseconds. Nobody is given up
// because the system's clock was set.
func (a *Acceptor) now() int64 { return int64(time.Since(a.born)) }

// newWatchdog returns nil where nobody is to be asked.
func newWatchdog(c *conn) *watchdog {
	if c.a.cfg.PingInterval <= 0 {
		return nil
	}
	return &watchdog{c: c}
}

func (w *watchdog) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.timer = time.AfterFunc(w.c.a.cfg.PingInterval, w.look)
	}
}

func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// look asks a peer that was silent, and gives it up if it was asked before.
func (w *watchdog) look() {
	cfg := &w.c.a.cfg
	heard := w.c.heard.Load()
	w.mu.Lock()
	defer w.mu.Unlock()
	silent := time.Duration(w.c.a.now() - heard)
	switch {
	case w.over:
	case w.asked != 0 && heard < w.asked:
		w.over = true
		w.c.session.Kick(server.Close{Reason: server.ReasonPing})
	case silent < cfg.PingInterval:
		w.asked = 0
		w.timer.Reset(cfg.PingInterval - silent)
	default:
		w.asked = w.c.a.now()
		w.timer.Reset(cfg.PingTimeout)
		w.ping()
	}
}

// ping sends an empty ping frame. One that finds the outbox full is not needed: the
// peer has enough to answer, and the timer goes on.
func (w *watchdog) ping() {
	_, _ = w.c.link.Queue(appendHeader(nil, ws.OpPing, 0))
	w.c.link.Flush()
}
