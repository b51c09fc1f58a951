package register

import (
	"fmt"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := newLimiter(2, 4, now)
	for _, tt := range []struct {
		after time.Duration
		key   string
		wait  time.Duration
	}{
		{0, "a", 0}, {0, "a", 0}, {0, "a", 30 * time.Minute}, // two an hour
		{0, "b", 0}, {0, "c", 0}, {0, "d", 15 * time.Minute}, // four for all
		{10 * time.Minute, "d", 5 * time.Minute},
		{5 * time.Minute, "d", 0}, {0, "d", 15 * time.Minute},
		{15 * time.Minute, "a", 0}, // half an hour after
		{0, "a", 30 * time.Minute},
		{24 * time.Hour, "a", 0}, {0, "a", 0}, {0, "a", 30 * time.Minute}, // never more than two at once
	} {
		now = now.Add(tt.after)
		if got := l.take(tt.key, now).Round(time.Second); got != tt.wait {
			t.Errorf("%s after %s: wait %s, want %s", tt.key, tt.after, got, tt.wait)
		}
	}
}

// TestLimiterForgets: no more keys are kept than the total permits in two hours.
func TestLimiterForgets(t *testing.T) {
	const total = 1000
	now := time.Unix(1e9, 0)
	l, most := newLimiter(10, total, now), 0
	for i := range 100_000 {
		l.take(fmt.Sprint(i), now)
		now = now.Add(100 * time.Millisecond)
		most = max(most, len(l.keys))
	}
	if most > 4*total {
		t.Errorf("%d keys were kept", most)
	}
}

func TestNetwork(t *testing.T) {
	for _, tt := range []struct{ remote, want string }{
		{"192.0.2.1:4000", "192.0.2.1"},
		{"192.0.2.1", "192.0.2.1"},
		{"[::ffff:192.0.2.1]:1", "192.0.2.1"},
		{"[2001:db8:1:2:3::4]:80", "2001:db8:1:2::/64"},
		{"2001:db8:1:2::5", "2001:db8:1:2::/64"},
		{"[fe80::1%eth0]:80", "fe80::/64"},
		{"pipe", "pipe"},
	} {
		if got := network(tt.remote); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.remote, got, tt.want)
		}
	}
}
