package sqlite_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"rollcall/storage"
	"rollcall/storage/sqlite"
)

// share splits b.N calls of f among so many callers. Each call gets its caller and a
// number of its own.
func share(b *testing.B, callers int, f func(caller, n int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for c := range callers {
		wg.Go(func() {
			for n := int(next.Add(1)); n <= b.N; n = int(next.Add(1)) {
				if err := f(c, n); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkKeep is what it costs to keep a message of 500 bytes, and to discard it soon
// after, for so many callers at once, each with a user of its own. limit=reached has
// every user's oldest message dropped for each new one.
func BenchmarkKeep(b *testing.B) {
	data := bytes.Repeat([]byte("x"), 500)
	for _, callers := range []int{1, 16, 256} {
		run := func(name string, limit storage.KeepLimit, discard bool) {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				s := open(b, sqlite.Options{Path: newFile(b)})
				share(b, callers, func(caller, n int) error {
					k := storage.Kept{User: fmt.Sprint("user", caller), ID: fmt.Sprintf("%012d", n), Data: data}
					refused, err := s.Keep(b.Context(), limit, k)
					if err != nil || len(refused) > 0 {
						return fmt.Errorf("refused %v, %w", refused, err)
					}
					if discard {
						return s.Discard(b.Context(), k.User, k.ID)
					}
					return nil
				})
			})
		}
		run("call=Keep", storage.KeepLimit{Messages: 1_000_000, Bytes: 1 << 40}, false)
		run("call=Keep/limit=reached", storage.KeepLimit{Messages: 10, DropOldest: true}, false)
		run("call=KeepDiscard", storage.KeepLimit{Messages: 100}, true)
	}
}

// BenchmarkWaiting reads a page of 20 messages of a user who has 1000, and of one who has
// none, as nearly everybody at login.
func BenchmarkWaiting(b *testing.B) {
	s := open(b, sqlite.Options{Path: newFile(b)})
	var list []storage.Kept
	for n := range 1000 {
		list = append(list, storage.Kept{User: "ann", ID: fmt.Sprintf("%06d", n), Data: bytes.Repeat([]byte("x"), 500)})
	}
	_, err := s.Keep(b.Context(), storage.KeepLimit{}, list...)
	ok(b, err)
	b.Run("call=Waiting", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			page, err := s.Waiting(b.Context(), "ann", "000500", 20)
			if err != nil || len(page) != 20 {
				b.Fatal(len(page), err)
			}
		}
	})
	b.Run("call=Waiting/none", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			page, err := s.Waiting(b.Context(), "bob", "", 20)
			if err != nil || len(page) != 0 {
				b.Fatal(len(page), err)
			}
		}
	})
	b.Run("call=CountWaiting", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n, _, err := s.CountWaiting(b.Context(), "ann")
			if err != nil || n != 1000 {
				b.Fatal(n, err)
			}
		}
	})
}
