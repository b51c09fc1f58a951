package blocking

import (
	"fmt"
	"testing"

	"rollcall/internal/jid"
	"rollcall/server"
)

func parse(t testing.TB, s string) jid.JID {
	t.Helper()
	j, err := jid.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// crowd is the lists of n users, each of whom blocks the next one.
func crowd(t testing.TB, n int) *lists {
	ls := new(lists)
	ls.init([]string{"example.com"})
	for i := range n {
		ls.set(parse(t, fmt.Sprintf("u%d@example.com", i)), []jid.JID{parse(t, fmt.Sprintf("u%d@example.com", i+1))})
	}
	return ls
}

// TestCrowd: lists are found among many, and everybody is forgotten again.
func TestCrowd(t *testing.T) {
	const n = 2000
	ls := crowd(t, n)
	for i := range n {
		this, next, other := parse(t, fmt.Sprintf("u%d@example.com/x", i)), parse(t, fmt.Sprintf("u%d@example.com/y", i+1)), parse(t, "zoe@example.com/z")
		if ls.verdict(this, next) != server.Shuns || ls.verdict(next, this) != server.Shunned || ls.verdict(this, other) != server.Pass {
			t.Fatalf("user %d", i)
		}
	}
	if got := len(ls.all()); got != n || ls.count.Load() != n {
		t.Errorf("%d users, %d counted", got, ls.count.Load())
	}
	for i := range n {
		ls.set(parse(t, fmt.Sprintf("u%d@example.com", i)), nil)
	}
	if got := len(ls.all()); got != 0 || ls.count.Load() != 0 {
		t.Errorf("%d users are left, %d counted", got, ls.count.Load())
	}
}

// TestHosts: virtual hosts themselves are blocked in no direction.
func TestHosts(t *testing.T) {
	ls := crowd(t, 1)
	user := parse(t, "u0@example.com")
	ls.set(user, []jid.JID{parse(t, "example.com"), parse(t, "other.example")})
	for address, want := range map[string][2]server.Verdict{
		"example.com": {server.Pass, server.Pass}, "example.com/x": {server.Pass, server.Pass},
		"x@example.com": {server.Shuns, server.Shunned}, "other.example": {server.Shuns, server.Shunned},
	} {
		if j := parse(t, address); ls.verdict(user, j) != want[0] || ls.verdict(j, user) != want[1] {
			t.Errorf("%s: %d, %d", address, ls.verdict(user, j), ls.verdict(j, user))
		}
	}
}

// A stanza asks for a verdict: that must not cost memory.
func TestAllocation(t *testing.T) {
	ls := crowd(t, 100)
	from, to := parse(t, "u5@example.com/x"), parse(t, "u50@example.com/y")
	if n := testing.AllocsPerRun(100, func() { ls.verdict(from, to) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkVerdict(b *testing.B) {
	for _, users := range []int{0, 10_000} {
		b.Run(fmt.Sprint(users), func(b *testing.B) {
			ls := crowd(b, users)
			from, to := parse(b, "u5@example.com/x"), parse(b, "u50@example.com/y")
			b.ReportAllocs()
			for b.Loop() {
				ls.verdict(from, to)
			}
		})
	}
}
