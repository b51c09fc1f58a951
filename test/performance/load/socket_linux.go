package load

import "syscall"

// prepare sets a socket up before it connects: the kernel takes a port only together
// with the destination, so that one port serves several of them, and the receive
// buffer must be small before the window is told to the peer.
func prepare(fd int, o Options) error {
	const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT of linux/in.h
	if o.Source.IsValid() {
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindAddressNoPort, 1); err != nil {
			return err
		}
	}
	if o.ReadBuffer > 0 {
		return syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, o.ReadBuffer)
	}
	return nil
}
