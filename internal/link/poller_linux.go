package link

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// poller waits for the bytes of many connections on one goroutine. It is an epoll
// instance that the runtime's own poller waits for, as it waits for a pipe: nobody
// blocks a thread, and what arrived at many connections meanwhile comes at once.
//
// Events are edge-triggered: one tells that bytes came since the last look.
type poller struct {
	file   *os.File
	raw    syscall.RawConn
	events [128]syscall.EpollEvent
	came   int // of events

	mu      sync.Mutex
	watched []*lean // by number; nil for a free one
	uses    []int32 // how often a number was given out
	free    []int32
}

// Events that EPOLLET, which package syscall has as a negative number, goes with.
const (
	edges  = syscall.EPOLLIN | syscall.EPOLLRDHUP | 1<<31
	ending = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
)

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// Only of a file that does not block does the os package ask the runtime's poller.
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl", err), syscall.Close(fd))
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	go p.run()
	return p, nil
}

// close ends the poller; nothing is told any more.
func (p *poller) close() {
	_ = p.file.Close() // it is closed already when that fails
}

func (p *poller) run() {
	var awake [len(p.events)]*lean
	collect := p.collect // made once
	for p.raw.Read(collect) == nil {
		p.mu.Lock()
		for i, e := range p.events[:p.came] {
			// What was told of a connection before it went away is not the next one's.
			if p.uses[e.Fd] == e.Pad {
				awake[i] = p.watched[e.Fd]
			}
		}
		p.mu.Unlock()
		for i, e := range p.events[:p.came] {
			if l := awake[i]; l != nil {
				awake[i] = nil
				l.wake(e.Events&ending != 0)
			}
		}
		// Who has work does it first: meanwhile more arrives, for one look at all of it.
		runtime.Gosched()
	}
}

// collect takes what has happened; false means nothing.
func (p *poller) collect(fd uintptr) bool {
	n, err := epollWait(int(fd), p.events[:])
	if err != nil {
		n = 0 // cannot be: the descriptor is held, and is one of epoll
	}
	p.came = n
	return n > 0
}

// watch tells l of what arrives from now on, and of what is there already.
func (p *poller) watch(l *lean) error {
	p.mu.Lock()
	if len(p.free) == 0 {
		p.free = append(p.free, int32(len(p.watched)))
		p.watched, p.uses = append(p.watched, nil), append(p.uses, 0)
	}
	n := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.watched[n] = l
	l.number = n
	e := syscall.EpollEvent{Events: edges, Fd: n, Pad: p.uses[n]}
	p.mu.Unlock()
	err := l.control(p, syscall.EPOLL_CTL_ADD, &e)
	if err != nil {
		p.forget(l)
	}
	return err
}

// forget ends watch, if that was not done before: the number is another's then. A
// descriptor that stays open has to be taken out, too.
func (p *poller) forget(l *lean) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watched[l.number] != l {
		return
	}
	p.watched[l.number] = nil
	p.uses[l.number]++
	p.free = append(p.free, l.number)
}

// control changes what is watched of l's descriptor.
func (l *lean) control(p *poller, op int, e *syscall.EpollEvent) error {
	var failed error
	err := l.raw.Control(func(fd uintptr) {
		err := p.raw.Control(func(epoll uintptr) {
			failed = os.NewSyscallError("epoll_ctl", syscall.EpollCtl(int(epoll), op, int(fd), e))
		})
		failed = errors.Join(failed, err)
	})
	return errors.Join(failed, err)
}
