package msgid

import (
	"strings"
	"sync"
	"testing"
	"time"
)

func TestOrder(t *testing.T) {
	const n = 10_000
	var mu sync.Mutex
	seen := make(map[string]struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			last := ""
			for range n {
				id := New()
				if len(id) != Len || id <= last {
					t.Errorf("%q after %q", id, last)
				}
				last = id
				mu.Lock()
				seen[id] = struct{}{}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(seen) != 4*n {
		t.Errorf("%d ids of %d", len(seen), 4*n)
	}
}

func TestTime(t *testing.T) {
	before := time.Now().Add(-time.Second)
	id := New()
	if at, ok := Time(id); !ok || at.Before(before) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("%q is of %v, %v", id, at, ok)
	}
	if at, ok := Time("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"); !ok || at != time.Date(2022, 2, 22, 19, 22, 22, 0, time.UTC) {
		t.Errorf("the example of RFC 9562 is of %v, %v", at, ok)
	}
	for _, bad := range []string{
		"", "m1", strings.Repeat("x", Len), "de305d54-75b4-431b-adb2-eb6b9e546013", "{" + id + "}", strings.ReplaceAll(id, "-", ""),
	} {
		if at, ok := Time(bad); ok {
			t.Errorf("%q is of %v", bad, at)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = Append(buf[:0])
	}
}
