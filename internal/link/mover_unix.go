//go:build unix

package link

import (
	"io"
	"net"
	"syscall"
)

// lean is a mover that holds next to nothing while the connection is idle.
//
// syscall.RawConn.Read waits for a file descriptor without a buffer. It forgets
// that the descriptor was ready before it calls back, so the callback must try to
// read before it says that there is nothing.
type lean struct {
	c       *Conn
	raw     syscall.RawConn
	arrived func(fd uintptr) bool // l.tryRead

	buf *buffer // what arrived, or nil
	err error   // what came with it
}

// newLean returns nil for a connection without a file descriptor.
func newLean(c *Conn, nc net.Conn) mover {
	sc, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	l := &lean{c: c, raw: raw}
	l.arrived = l.tryRead
	return l
}

func (l *lean) start() {
	if l.c.hasBeginning() {
		l.c.p.workers.Run(l)
		return
	}
	go l.park()
}

// park waits for bytes and hands them to a worker. It must not do more: a
// goroutine's stack keeps the size it has grown to.
func (l *lean) park() {
	if err := l.raw.Read(l.arrived); err != nil {
		l.err = err
	}
	l.c.p.workers.Run(l)
}

// tryRead reads without waiting; false means that there is nothing to read.
func (l *lean) tryRead(fd uintptr) bool {
	b := l.c.p.getBuffer()
	n, err := retry(func() (int, error) { return syscall.Read(int(fd), b.b[:cap(b.b)]) })
	if n > 0 {
		b.b = b.b[:n]
		l.buf = b
		return true
	}
	l.c.p.putBuffer(b)
	switch {
	case err == syscall.EAGAIN:
		return false
	case err == nil:
		err = io.EOF
	}
	l.err = err
	return true
}

// Work implements workers.Job: it takes what arrived.
func (l *lean) Work() {
	for {
		b, err := l.buf, l.err
		l.buf, l.err = nil, nil
		var data []byte
		full := false
		if b != nil {
			data, full = b.b, len(b.b) == cap(b.b)
		}
		more := l.c.received(data, err)
		l.c.p.putBuffer(b)
		if !more {
			return
		}
		if !full {
			break
		}
		// There is probably more.
		err = l.raw.Read(func(fd uintptr) bool { l.tryRead(fd); return true })
		if err != nil {
			l.err = err
		}
		if l.buf == nil && l.err == nil {
			break
		}
	}
	go l.park()
}

// attempt is one write that does not wait.
type attempt struct {
	p   []byte
	n   int
	err error
	try func(fd uintptr) bool // a.write
}

func (l *lean) tryWrite(p []byte) (int, error) {
	a, _ := l.c.p.attempts.Get().(*attempt)
	if a == nil {
		a = new(attempt)
		a.try = a.write
	}
	a.p, a.n, a.err = p, 0, nil
	err := l.raw.Write(a.try)
	if err == nil {
		err = a.err
	}
	n := a.n
	a.p, a.err = nil, nil
	l.c.p.attempts.Put(a)
	return n, err
}

func (a *attempt) write(fd uintptr) bool {
	n, err := retry(func() (int, error) { return syscall.Write(int(fd), a.p) })
	switch {
	case err == nil:
		a.n = n
	case err != syscall.EAGAIN:
		a.err = err
	}
	return true
}

// retry repeats a call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR {
			return n, err
		}
	}
}
