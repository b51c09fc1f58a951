package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"testing"

	"rollcall/storage"
	"rollcall/storage/sqlite"
)

// keepAndDiscard keeps messages of several users until the process is killed, and
// discards every second one. It says what it is about to do and what it has done.
func keepAndDiscard(ctx context.Context, s *sqlite.Store, prefix string) error {
	said, errs := make(chan string), make(chan error)
	for i := range 8 {
		user := fmt.Sprint("user", i%3)
		go func() {
			for j := 0; ; j++ {
				id := fmt.Sprintf("%s-%d-%06d", prefix, i, j)
				if _, err := s.Keep(ctx, storage.KeepLimit{}, storage.Kept{User: user, ID: id, Data: []byte(id)}); err != nil {
					errs <- err
					return
				}
				said <- "kept " + user + " " + id
				if j%2 == 0 {
					continue
				}
				said <- "going " + user + " " + id
				if err := s.Discard(ctx, user, id); err != nil {
					errs <- err
					return
				}
				said <- "gone " + user + " " + id
			}
		}()
	}
	for {
		select {
		case line := <-said:
			fmt.Println(line)
		case err := <-errs:
			return err
		}
	}
}

// TestKillKeeping kills a process that keeps messages: each that it said was kept is
// there, none that it said was discarded, and the totals are right.
func TestKillKeeping(t *testing.T) {
	path := newFile(t)
	state := make(map[string]string) // by user and id: what was last said of it
	for round := range 5 {
		c := startChild(t, path)
		_, err := fmt.Fprintf(c.in, "keep r%d\n", round)
		ok(t, err)
		lines := 0
		for in := bufio.NewScanner(c.out); in.Scan(); lines++ {
			what, message, whole := strings.Cut(in.Text(), " ")
			if !whole || strings.Count(message, "-") != 2 || len(message) != len("user0 r0-0-000000") {
				break // a line cut short was not said
			}
			state[message] = what
			if lines == 200+100*round {
				ok(t, c.Process.Kill())
			}
		}
		if c.Wait() == nil || lines < 200 {
			t.Fatalf("round %d: not killed, or too early: %d lines", round, lines)
		}
		checkKept(t, path, state)
	}
}

func checkKept(t *testing.T, path string, state map[string]string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	ok(t, err)
	defer func() { ok(t, s.Close()) }()
	there := make(map[string]bool)
	for i := range 3 {
		user := fmt.Sprint("user", i)
		list, err := s.Waiting(t.Context(), user, "", 1_000_000)
		ok(t, err)
		var size int64
		for _, k := range list {
			if string(k.Data) != k.ID {
				t.Errorf("message %s says %q", k.ID, k.Data)
			}
			there[user+" "+k.ID] = true
			size += int64(len(k.Data))
		}
		n, bytes, err := s.CountWaiting(t.Context(), user)
		if err != nil || n != len(list) || bytes != size {
			t.Errorf("%s: %d messages of %d bytes are counted (%v), and %d of %d are there", user, n, bytes, err, len(list), size)
		}
	}
	for message, what := range state {
		if what == "kept" && !there[message] || what == "gone" && there[message] {
			t.Errorf("%s was %s; it is there: %t", message, what, there[message])
		}
	}
	var sound string
	ok(t, raw(t, path).QueryRow("PRAGMA integrity_check").Scan(&sound))
	if sound != "ok" {
		t.Errorf("integrity_check: %s", sound)
	}
}
