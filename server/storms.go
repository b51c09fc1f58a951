package server

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// storms keeps presence from costing a write for each one who is told of it when many
// people change at once. What a turn says goes out when it ends, as ever. But a
// connection that was given presence a moment ago gets more of it a moment later, in one
// write with all that came meanwhile. Nothing is left out, and nothing is overtaken: what
// waits is in the connection's outbox, and goes with whatever else is flushed there.
//
// With 1,000 clients in projects of 50 on loopback, all changing at once, that is a
// third less writes; a client of BOSH has one response instead of several.
type storms struct {
	every time.Duration // how often a connection is flushed for presence alone; 0 for always
	began time.Time

	mu      sync.Mutex
	due     []*Session
	pending bool // pass is going to run
}

// lull is when a connection was last flushed for presence, in milliseconds since the
// server began, and in the lowest bits whether the connection is among those due, and
// how much waits for it. The time is cut to 29 bits: once in six days something may wait
// that need not.
type lull struct{ atomic.Uint32 }

// No more than three flushes' presence waits for one connection: that fits into the
// small buffers of internal/link, so that a storm does not take 8 KB for everybody who
// is told of it.
const (
	lullDue  = 1
	lullOne  = 2
	lullBits = 7
	lullFull = lullBits
)

func (st *storms) now() uint32 { return uint32(time.Since(st.began).Milliseconds()) * (lullBits + 1) }

// hold reports whether a connection is not to be flushed now, and whether it has to be
// put among those due.
func (l *lull) hold(now uint32, every time.Duration) (held, fresh bool) {
	for {
		last := l.Load()
		next := (last + lullOne) | lullDue
		held = true
		switch since := now - last&^lullBits; {
		case last&lullBits == lullFull:
			next, held = now|lullDue, false
		case last&lullDue == 0 && time.Duration(since/(lullBits+1)) >= every/time.Millisecond:
			next, held = now, false
		}
		if l.CompareAndSwap(last, next) {
			return held, held && last&lullDue == 0
		}
	}
}

// flush hands on the presence that was queued for connections, now or soon. The list is
// the caller's again afterwards, but not what is in it.
func (st *storms) flush(list []*Session) {
	if st.every == 0 {
		for _, s := range list {
			s.flush()
		}
		return
	}
	now, late := st.now(), list[:0]
	for _, s := range list {
		held, fresh := s.lull.hold(now, st.every)
		switch {
		case !held:
			s.flush()
		case fresh:
			late = append(late, s)
		}
	}
	if len(late) == 0 {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.due = append(st.due, late...)
	if !st.pending {
		st.pending = true
		time.AfterFunc(st.every, st.pass)
	}
}

// pass flushes whoever is due. Those that come meanwhile wait for the next time.
func (st *storms) pass() {
	st.mu.Lock()
	due := st.due
	st.due = nil
	st.mu.Unlock()
	now := st.now()
	procs := runtime.GOMAXPROCS(0)
	var work sync.WaitGroup
	for part := range slices.Chunk(due, max(minShare, (len(due)+procs-1)/procs)) {
		work.Go(func() {
			for _, s := range part {
				s.lull.Store(now) // before: what is queued from here on is not forgotten
				s.flush()
			}
		})
	}
	work.Wait()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.pending = len(st.due) > 0; st.pending {
		time.AfterFunc(st.every, st.pass)
	}
}

// minShare is how many connections are worth a goroutine.
const minShare = 256
