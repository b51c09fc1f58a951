package link_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"rollcall/internal/link"
)

// A deadline that passes while the Handler is busy holds, though more bytes came
// meanwhile: nothing else tells of it.
func TestReadDeadlineWhileBusy(t *testing.T) {
	every(t, limits, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		begun, over := make(chan struct{}), make(chan struct{})
		s := newServer(func(s *server, data string) {
			if data != "first" {
				return
			}
			if err := s.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
				t.Error(err)
			}
			close(begun)
			<-over
		})
		c := connect(s)
		say(t, c, "first")
		wait(t, begun)
		say(t, c, "second")
		// Time enough for both to be told.
		time.AfterFunc(50*time.Millisecond, func() { close(over) })
		if err := wait(t, s.errs); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		c.Close()
		wait(t, s.ended)
	})
}
