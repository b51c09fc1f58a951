package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

// However many projects change while one is read, what waits is bounded.
func TestWaitingChanges(t *testing.T) {
	t.Parallel()
	w := waiting{more: make(chan struct{}, 1)}
	drain := func() (all []string) {
		for p, ok := w.take(); ok; p, ok = w.take() {
			all = append(all, p)
		}
		slices.Sort(all)
		return all
	}
	for _, p := range []string{"b", "a", "b"} {
		w.add(p)
	}
	if got := drain(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q wait", got)
	}
	for i := range maxChanges + 10 {
		w.add(fmt.Sprint("p", i))
		if n := len(w.projects); n > maxChanges {
			t.Fatalf("%d wait", n)
		}
	}
	if got := drain(); !slices.Contains(got, "") || len(got) > 10 {
		t.Errorf("of many, %d are left, and any is one of them: %v", len(got), slices.Contains(got, ""))
	}
}

// Who announces needs no lease and no name.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := Config{Addresses: []string{server.Addr()}}
	if n, err := Announce(t.Context(), c, "p1"); n != 0 || err != nil {
		t.Errorf("%d heard it, %v", n, err)
	}
	own := c
	own.Node = "one"
	s, err := Open(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan string, 10), make(chan error, 1)
	go func() { ended <- s.Announcements(ctx, func(p string) { heard <- p }) }()
	redistest.Until(t, "somebody listens", func() bool {
		n, err := Announce(t.Context(), c, "p1")
		return n == 1 && err == nil
	})
	if p := <-heard; p != "p1" {
		t.Errorf("heard %q", p)
	}
	// An id that no project can have is nobody's.
	if n, err := Announce(t.Context(), c, string(make([]byte, maxChange+1)), "p2"); n != 1 || err != nil {
		t.Errorf("%d heard it, %v", n, err)
	}
	if p := <-heard; p != "p2" {
		t.Errorf("heard %q", p)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	server.Kill()
	if _, err := Announce(t.Context(), c, "p1"); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("without Redis: %v", err)
	}
}
