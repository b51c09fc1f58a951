package server

import (
	"testing"
	"unsafe"
)

// TestSize keeps what there is many of within the allocator's size class: one word more
// costs 16 bytes.
func TestSize(t *testing.T) {
	if n := unsafe.Sizeof(Session{}); n > 160 {
		t.Errorf("a Session takes %d bytes", n)
	}
	if n := unsafe.Sizeof(Presence{}); n > 112 {
		t.Errorf("a Presence takes %d bytes", n)
	}
}
