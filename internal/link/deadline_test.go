package link

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The deadline that is set last is the one that counts, however it was moved.
func TestDeadline(t *testing.T) {
	for _, c := range []struct {
		name  string
		moves func(set func(time.Duration))
		want  time.Duration // after the start; 0 for never
	}{
		{"set", func(set func(time.Duration)) { set(5 * time.Second) }, 5 * time.Second},
		{"put off", func(set func(time.Duration)) { set(5 * time.Second); time.Sleep(4 * time.Second); set(5 * time.Second) }, 9 * time.Second},
		{"put off twice", func(set func(time.Duration)) { set(time.Second); set(time.Minute); set(time.Hour) }, time.Hour},
		{"brought forward", func(set func(time.Duration)) { set(time.Minute); set(time.Second) }, time.Second},
		{"lifted", func(set func(time.Duration)) { set(time.Second); set(0) }, 0},
		{"lifted and set", func(set func(time.Duration)) { set(time.Second); set(0); time.Sleep(2 * time.Second); set(time.Second) }, 3 * time.Second},
		{"over", func(set func(time.Duration)) { time.Sleep(time.Second); set(-time.Second) }, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var woke atomic.Int64
				var d *deadline
				d = &deadline{wake: func() {
					if !d.passed() {
						t.Error("woken before the deadline")
					}
					woke.Store(int64(time.Since(start)))
				}}
				c.moves(func(wait time.Duration) {
					at := time.Time{}
					if wait != 0 {
						at = time.Now().Add(wait)
					}
					if err := d.set(at); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(2 * time.Hour)
				if got := time.Duration(woke.Load()); got != c.want {
					t.Errorf("woken after %v, want %v", got, c.want)
				}
				d.stop()
			})
		})
	}
}

// A deadline that is set while somebody waits for bytes ends the wait, and none is left
// on the connection.
func TestDeadlineLent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		d := &deadline{nc: near, wake: func() {}}
		defer d.stop()
		failed := make(chan error)
		go func() {
			_, err := d.lend(near.Read, make([]byte, 1))
			failed <- err
		}()
		synctest.Wait()
		start := time.Now()
		if err := d.set(start.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if err := d.set(time.Time{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		go func() { _, err := far.Write([]byte("x")); failed <- err }()
		if _, err := near.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if err := <-failed; err != nil {
			t.Error(err)
		}
	})
}
