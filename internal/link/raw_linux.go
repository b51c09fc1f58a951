package link

import (
	"syscall"
	"unsafe"
)

// The calls of this file never wait, so the scheduler is not told of them: that a
// thread may block costs more than reading a message does, and on a busy machine the
// processor is given away meanwhile.

func read(fd int, p []byte) (int, error) { return call(syscall.SYS_READ, fd, p) }

func write(fd int, p []byte) (int, error) { return call(syscall.SYS_WRITE, fd, p) }

// epollWait takes the events that are there.
func epollWait(epoll int, events []syscall.EpollEvent) (int, error) {
	return call(syscall.SYS_EPOLL_PWAIT, epoll, events)
}

// call makes a system call with a descriptor, a place in memory and its length; what else
// it takes is 0. A signal does not end it.
func call[T any](trap uintptr, fd int, p []T) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
