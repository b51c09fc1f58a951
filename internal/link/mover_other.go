//go:build !linux

package link

import "net"

// newLean returns nil: there is no lean mover on this system.
func newLean(*Conn, net.Conn) mover { return nil }

// poller is what lean movers wait with.
type poller struct{}

func (*poller) close() {}
