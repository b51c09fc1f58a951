package link

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// lean is a mover that holds next to nothing while the connection is idle: no
// goroutine and no buffer. The Pool's poller tells when bytes have arrived, and a
// worker reads them and gives them to the Handler, until there are none.
type lean struct {
	c      *Conn
	raw    syscall.RawConn
	begins bool  // something has to be done before the first byte is read
	err    error // of start
	state  atomic.Uint32
	ending atomic.Bool // the peer has ended its side, or the connection is broken
	number int32       // with the poller
	due    atomic.Pointer[deadline]
}

// The states of the reading side.
const (
	busy   uint32 = iota // it is somebody's; so it is before start
	again                // somebody's, who has to look once more
	parked               // nobody's
)

// newLean returns nil for a connection without a file descriptor.
func newLean(c *Conn, nc net.Conn) mover {
	tc, ok := nc.(*net.TCPConn)
	if !ok || c.p.watcher() == nil {
		return nil
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return nil
	}
	return &lean{c: c, raw: raw}
}

// watcher returns the Pool's poller, or nil when there is none to be had.
func (p *Pool) watcher() *poller {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.poller == nil && !p.closed {
		var err error
		if p.poller, err = newPoller(); err != nil {
			p.cfg.Log.Warn("connections take more memory", "err", err)
		}
	}
	return p.poller
}

// start implements mover.
func (l *lean) start() {
	l.begins = l.c.hasBeginning()
	l.err = l.c.p.poller.watch(l)
	if l.err == nil && !l.begins && l.rest() {
		return
	}
	l.c.p.workers.Run(l)
}

// wake says that there is something to see.
func (l *lean) wake(ending bool) {
	if ending {
		l.ending.Store(true)
	}
	for {
		switch {
		case l.state.CompareAndSwap(parked, busy):
			l.c.p.workers.Run(l)
			return
		case l.state.CompareAndSwap(busy, again), l.state.Load() == again:
			return
		}
	}
}

// rest leaves the reading side alone, unless something came meanwhile.
func (l *lean) rest() bool {
	if l.state.CompareAndSwap(busy, parked) {
		return true
	}
	l.state.Store(busy)
	return false
}

// Work implements workers.Job: it takes what arrived.
func (l *lean) Work() {
	for {
		more, empty := true, false
		switch {
		case l.err != nil:
			more = l.c.received(nil, l.err)
		case l.begins:
			l.begins = false
			more = l.c.received(nil, nil)
		default:
			more, empty = l.take()
		}
		if !more {
			l.over()
			return
		}
		if empty && l.rest() {
			return
		}
	}
}

// take reads once, and reports whether to go on, and whether there is nothing left.
func (l *lean) take() (more, empty bool) {
	b := l.c.p.buffers.get(readSize)
	defer l.c.p.buffers.put(b)
	n, err := l.try(l.raw.Read, read, b.b[:cap(b.b)])
	if err == syscall.EAGAIN {
		if l.late() {
			return l.c.received(nil, os.ErrDeadlineExceeded), false
		}
		return true, true
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	more = l.c.received(b.b[:n], err)
	// Less than there was room for is all there is, but for the end. Of a deadline that
	// passed meanwhile nothing else tells: one wake may stand for it and for bytes.
	empty = n < cap(b.b) && !l.ending.Load() && !l.late()
	return more, empty
}

// late reports whether the deadline has passed.
func (l *lean) late() bool {
	d := l.due.Load()
	return d != nil && d.passed()
}

// over ends reading.
func (l *lean) over() {
	l.calm()
	l.c.p.poller.forget(l)
}

// leave implements mover.
func (l *lean) leave() {
	l.calm()
	l.c.p.poller.forget(l)
	// A failure means that the connection is closed, and not watched.
	_ = l.control(l.c.p.poller, syscall.EPOLL_CTL_DEL, nil)
}

// noticeCut implements mover.
func (l *lean) noticeCut() { l.wake(true) }

// calm ends the deadline.
func (l *lean) calm() {
	if d := l.due.Load(); d != nil {
		d.stop()
	}
}

// deadline returns the deadline, which many connections never have.
func (l *lean) deadline() *deadline {
	if d := l.due.Load(); d != nil {
		return d
	}
	l.due.CompareAndSwap(nil, &deadline{nc: l.c.nc, wake: func() { l.wake(false) }})
	return l.due.Load()
}

// bound implements mover.
func (l *lean) bound(at time.Time) error {
	if at.IsZero() && l.due.Load() == nil {
		return nil
	}
	return l.deadline().set(at)
}

// await implements mover.
func (l *lean) await(read func([]byte) (int, error), p []byte) (int, error) {
	return l.deadline().lend(read, p)
}

// tryWrite implements mover.
func (l *lean) tryWrite(p []byte) (int, error) {
	n, err := l.try(l.raw.Write, write, p)
	if err == syscall.EAGAIN {
		err = nil
	}
	return n, err
}

// attempt is one call of the system that does not wait.
type attempt struct {
	call func(fd int, p []byte) (int, error)
	p    []byte
	n    int
	err  error
	run  func(fd uintptr) bool // a.once
}

// try makes an attempt, once.
func (l *lean) try(with func(func(uintptr) bool) error, call func(int, []byte) (int, error), p []byte) (int, error) {
	a, _ := l.c.p.attempts.Get().(*attempt)
	if a == nil {
		a = new(attempt)
		a.run = a.once
	}
	a.call, a.p = call, p
	err := with(a.run)
	n := 0
	if err == nil {
		n, err = a.n, a.err
	}
	a.p, a.err = nil, nil
	l.c.p.attempts.Put(a)
	return n, err
}

func (a *attempt) once(fd uintptr) bool {
	a.n, a.err = a.call(int(fd), a.p)
	return true
}
