//go:build !unix

package tcp

// newLean returns nil: there is no lean link on this system.
func newLean(*conn) link { return nil }
