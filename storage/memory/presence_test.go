package memory_test

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"rollcall/storage"
	"rollcall/storage/memory"
	"rollcall/storage/storagetest"
)

func TestPresence(t *testing.T) {
	storagetest.Presence(t, func(*testing.T) storage.Presence { return memory.NewPresence() })
}

func TestSetRefusesUnknownShow(t *testing.T) {
	p := memory.NewPresence()
	_, before, err := p.OnlineIn(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	for _, show := range []storage.Show{-1, 4, 257, math.MaxInt} {
		c := storage.ConnState{Conn: "c", User: "ann", Show: show}
		if _, err := p.Set(t.Context(), c, []string{"p"}); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("show %d: %v, want ErrInvalid", show, err)
		}
	}
	if users, rev, err := p.OnlineIn(t.Context(), "p"); len(users) != 0 || rev != before || err != nil {
		t.Errorf("OnlineIn = %v, %d, %v after refused calls", users, rev, err)
	}
}

// Times that nanoseconds since 1970 cannot hold keep their order.
func TestTimesFarAway(t *testing.T) {
	p := memory.NewPresence()
	set := func(conn string, show storage.Show, at time.Time) storage.Show {
		t.Helper()
		got, err := p.Set(t.Context(), storage.ConnState{Conn: conn, User: "ann", Show: show, At: at}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return got.New
	}
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	for i, tt := range []struct {
		conn string
		show storage.Show
		at   time.Time
		want storage.Show
	}{
		{"a", storage.Busy, year(2026), storage.Busy},
		{"b", storage.Leave, time.Time{}, storage.Busy},
		{"c", storage.Online, year(9999), storage.Online},
		{"a", storage.Busy, year(2027), storage.Online},
		{"b", storage.Leave, year(1500), storage.Online},
	} {
		if got := set(tt.conn, tt.show, tt.at); got != tt.want {
			t.Errorf("step %d: aggregate %d, want %d", i+1, got, tt.want)
		}
	}
}

func TestChangeOfStateDoesNotAllocate(t *testing.T) {
	p := memory.NewPresence()
	c := storage.ConnState{Conn: "c1", User: "ann", Show: storage.Online, At: time.Unix(1, 0)}
	set := func() {
		c.Show = 1 + c.Show%3
		if _, err := p.Set(t.Context(), c, []string{"p1", "p2"}); err != nil {
			t.Fatal(err)
		}
	}
	set()
	if n := testing.AllocsPerRun(100, set); n != 0 {
		t.Errorf("a change of state allocates %v times", n)
	}
}

// Users who went take no memory: a store that a million people pass through
// ends as small as it began.
func TestMemoryIsGivenBack(t *testing.T) {
	p := memory.NewPresence()
	before := heap()
	fill(t, p, 20_000)
	full := heap()
	for i := range 20_000 {
		if _, err := p.Remove(t.Context(), userID(i), connID(i)); err != nil {
			t.Fatal(err)
		}
	}
	// The shards' maps keep their tables, some 50 bytes for each user.
	if used, left := full-before, heap()-before; left > used/2 {
		t.Errorf("%d bytes with everybody online, still %d with nobody", used, left)
	}
	runtime.KeepAlive(p)
}

func userID(i int) string { return fmt.Sprintf("5f1e0c%018x", i) }

func connID(i int) string { return fmt.Sprintf("conn-%08x", i) }

// projectID puts 50 users into each project.
func projectID(i int) string { return fmt.Sprintf("6a2d1b%018x", i/50) }

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// fill brings n users online, each with one connection in one project.
func fill(tb testing.TB, p *memory.Presence, n int) {
	tb.Helper()
	for i := range n {
		c := storage.ConnState{Conn: connID(i), User: userID(i), Resource: "web", Show: storage.Online, At: time.Unix(int64(i), 0)}
		if _, err := p.Set(tb.Context(), c, []string{projectID(i)}); err != nil {
			tb.Fatal(err)
		}
	}
}
