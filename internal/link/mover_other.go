//go:build !unix

package link

import "net"

// newLean returns nil: there is no lean mover on this system.
func newLean(*Conn, net.Conn) mover { return nil }
