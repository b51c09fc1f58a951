//go:build !race

package server_test

import "testing"

// TestAllocation runs without the race detector, which makes pools forget on purpose
// (make unit).
func TestAllocation(t *testing.T) {
	most := map[string]float64{
		"presence/own":    3, // the presence and its text, which are kept, and the event
		"presence/direct": 2,
		"message/nobody":  1, // an address that nobody here has
	}
	for _, turn := range turns {
		t.Run(turn.name, func(t *testing.T) {
			c := newCore(t)
			alice, mobile := c.dial(t, "alice@example.com/web-0123456789"), c.dial(t, "alice@example.com/mobile")
			bob := c.dial(t, "bob@example.com/web-0123456789")
			in := make([][]byte, len(turn.in))
			for i, text := range turn.in {
				in[i] = []byte(text)
			}
			i, own, other, bobs := 0, alice.writes, mobile.writes, bob.writes
			n := testing.AllocsPerRun(500, func() {
				alice.send(t, in[i%len(in)])
				i++
			})
			if n > most[turn.name] {
				t.Errorf("%v allocations, want %v", n, most[turn.name])
			}
			if alice.writes-own != i*turn.own || mobile.writes-other != i*turn.mobile || bob.writes-bobs != i*turn.bob {
				t.Errorf("%d turns, and %d, %d and %d elements", i, alice.writes-own, mobile.writes-other, bob.writes-bobs)
			}
		})
	}
}
