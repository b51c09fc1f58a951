package tcp

import (
	"testing"
	"unsafe"
)

// TestSize: every connection has a conn, most of them idle.
func TestSize(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size > 256 {
		t.Errorf("%d bytes", size)
	}
}
