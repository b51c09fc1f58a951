//go:build !race

package xmlscan

import "testing"

// The race detector makes pools forget on purpose, so this runs without it (make
// unit).
func TestNoAllocation(t *testing.T) {
	s := open(t)
	var el Element
	in := []byte(message)
	if n := testing.AllocsPerRun(100, func() { s.Next(in, &el) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
