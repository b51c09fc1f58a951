package link_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/internal/link"
	"rollcall/internal/testkit"
)

// patience is how long a test waits for what should happen at once.
const patience = 20 * time.Second

func timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

var discard = slog.New(slog.DiscardHandler)

var certificate = sync.OnceValues(func() (*tls.Config, error) { return testkit.Certificate("localhost") })

// server is the near end of one connection, whose bytes do gives their meaning.
type server struct {
	link.Conn
	do     func(s *server, data string)
	tls    *tls.Config // nil for none
	errs   chan error
	sent   chan struct{}
	broken chan error
	asked  chan struct{}
	ended  chan struct{}
}

func newServer(do func(*server, string)) *server {
	return &server{
		do: do, errs: make(chan error, 1), sent: make(chan struct{}, 100),
		broken: make(chan error, 1), asked: make(chan struct{}, 1), ended: make(chan struct{}),
	}
}

func (s *server) Received(data []byte, err error) {
	if err != nil {
		s.errs <- err
		s.Close(nil, time.Second)
		return
	}
	s.do(s, string(data))
}

func (s *server) Sent()            { s.sent <- struct{}{} }
func (s *server) Broken(err error) { s.broken <- err; s.Close(nil, time.Second) }
func (s *server) Shutdown()        { s.asked <- struct{}{}; s.Close([]byte("bye"), patience) }
func (s *server) Ended()           { close(s.ended) }

func wait[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing happens")
	}
	return v
}

// every runs a test over both kinds of connection, plain and under TLS.
func every(t *testing.T, c link.Config, f func(t *testing.T, p *link.Pool, connect func(s *server) net.Conn)) {
	t.Helper()
	secure, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []struct {
		name     string
		tls      *tls.Config
		portable bool
	}{{"plain", nil, false}, {"TLS", secure, false}, {"portable", nil, true}, {"portable TLS", secure, true}} {
		t.Run(kind.name, func(t *testing.T) {
			c.Portable = kind.portable
			p, connect := plain(t, c)
			f(t, p, func(s *server) net.Conn {
				s.tls = kind.tls
				client := connect(s)
				if kind.tls != nil {
					client = tls.Client(client, &tls.Config{InsecureSkipVerify: true})
				}
				return client
			})
		})
	}
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("%.100q, %v; want %.100q", got[:n], err, want)
	}
}

var limits = link.Config{OutboxBytes: 1 << 20}

// echo says everything again.
func echo(t *testing.T) func(*server, string) {
	return func(s *server, data string) {
		if _, err := s.Queue([]byte("<"), []byte(data), []byte(">")); err != nil {
			t.Error(err)
		}
		s.Flush()
	}
}

func TestEcho(t *testing.T) {
	every(t, limits, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		s := newServer(echo(t))
		c := connect(s)
		for range 3 {
			say(t, c, "hello")
			expect(t, c, "<hello>")
			wait(t, s.sent)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := wait(t, s.errs); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		wait(t, s.ended)
	})
}

// A connection changes hands, by way of one who waits for it as usual.
func TestDetach(t *testing.T) {
	every(t, limits, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		taken := make(chan *link.Detached, 1)
		first := newServer(func(s *server, data string) { taken <- detach(t, s, data) })
		c := connect(first)
		for range 2 {
			say(t, c, "unread")
			d := wait(t, taken)
			expect(t, d, "unread")
			if (d.TLS() != nil) != first.Secure() {
				t.Errorf("TLS: %v", d.TLS())
			}
			say(t, c, "read")
			expect(t, d, "read")
			say(t, d, "written")
			expect(t, c, "written")
			// With something early for the next one, and something that it reads.
			second := newServer(nil)
			second.do = func(s *server, data string) {
				if data == "leave" {
					taken <- detach(t, s, "")
					return
				}
				echo(t)(s, data)
			}
			second.Init(p, d, second)
			second.Start([]byte("early"))
			expect(t, c, "<early>")
			say(t, c, "hello")
			expect(t, c, "<hello>")
			say(t, c, "leave")
			d = wait(t, taken)
			first = newServer(first.do)
			first.Init(p, d, first)
			first.Start(nil)
		}
		say(t, c, "last")
		d := wait(t, taken)
		if err := d.CloseWrite(); err != nil {
			t.Error(err)
		}
		if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
			t.Errorf("%v, %q", err, rest)
		}
		if err := d.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// ReadMore waits, also under TLS, and obeys the deadline.
func TestReadMore(t *testing.T) {
	every(t, limits, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		more := make(chan error, 1)
		s := newServer(func(s *server, data string) {
			buf := make([]byte, 100)
			for !strings.HasSuffix(data, "end") {
				n, err := s.ReadMore(buf)
				if err != nil {
					more <- err
					return
				}
				data += string(buf[:n])
			}
			echo(t)(s, data)
		})
		c := connect(s)
		for range 2 {
			for _, part := range []string{"a", "b", "c", "end"} {
				say(t, c, part)
			}
			expect(t, c, "<abcend>")
		}
		if err := s.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		say(t, c, "x")
		var timeout net.Error
		select {
		case err := <-more:
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Error(err)
			}
		case err := <-s.errs: // before the first byte was read
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("the deadline does not matter")
		}
		c.Close()
	})
}

// A connection that says nothing is told of its deadline, however often that was moved.
func TestReadDeadline(t *testing.T) {
	every(t, limits, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		s := newServer(echo(t))
		c := connect(s)
		say(t, c, "hello")
		expect(t, c, "<hello>")
		for _, wait := range []time.Duration{time.Minute, time.Hour, 0, 50 * time.Millisecond} {
			at := time.Time{}
			if wait > 0 {
				at = time.Now().Add(wait)
			}
			if err := s.SetReadDeadline(at); err != nil {
				t.Fatal(err)
			}
		}
		if err := wait(t, s.errs); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		c.Close()
		wait(t, s.ended)
	})
}

// Connections come and go all the time, and descriptors are used again: each gets its
// own bytes, and all end.
func TestComeAndGo(t *testing.T) {
	every(t, limits, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		var all sync.WaitGroup
		var connecting sync.Mutex
		for i := range 8 {
			all.Go(func() {
				for j := range 25 {
					s := newServer(echo(t))
					connecting.Lock() // who dials first is accepted first
					c := connect(s)
					connecting.Unlock()
					text := fmt.Sprintf("%d of %d", j, i)
					say(t, c, text)
					expect(t, c, "<"+text+">")
					if (i+j)%2 == 0 {
						s.Cut()
					} else {
						c.Close()
					}
					wait(t, s.errs)
					wait(t, s.ended)
				}
			})
		}
		all.Wait()
		if n := len(p.Open()); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

// Much for a slow reader arrives whole; more is refused.
func TestBackpressure(t *testing.T) {
	every(t, link.Config{OutboxBytes: 8 << 20, WriteTime: patience}, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		piece := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
		queued := make(chan int, 1)
		s := newServer(func(s *server, _ string) {
			n := 0
			for {
				flush, err := s.Queue(piece)
				if err != nil {
					if !errors.Is(err, link.ErrFull) {
						t.Error(err)
					}
					break
				}
				n += len(piece)
				if flush {
					s.Flush()
				}
			}
			s.Flush()
			queued <- n
		})
		c := connect(s)
		say(t, c, "go")
		n := wait(t, queued)
		if n < 6<<20 { // cipher text is longer
			t.Errorf("only %d bytes may wait", n)
		}
		for range n / len(piece) {
			expect(t, c, string(piece))
		}
		wait(t, s.sent)
		c.Close()
	})
}

// What is longer than all that may wait arrives nevertheless, also behind something short.
func TestLongPiece(t *testing.T) {
	every(t, link.Config{OutboxBytes: 1 << 20, WriteTime: patience}, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		short, long := []byte("short"), bytes.Repeat([]byte("long"), 1<<19)
		queued := make(chan [2]error, 1)
		s := newServer(func(s *server, _ string) {
			var errs [2]error
			for i, piece := range [][]byte{short, long} {
				_, errs[i] = s.Queue(piece)
			}
			s.Flush()
			queued <- errs
		})
		c := connect(s)
		say(t, c, "go")
		if errs := wait(t, queued); errs[0] != nil || errs[1] != nil {
			t.Fatal(errs)
		}
		expect(t, c, string(short)+string(long))
		c.Close()
	})
}

// A peer that takes nothing is given up after the time to write.
func TestWriteTime(t *testing.T) {
	every(t, link.Config{OutboxBytes: 64 << 20, WriteTime: 50 * time.Millisecond}, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		s := newServer(func(s *server, _ string) {
			if _, err := s.Queue(make([]byte, 32<<20)); err != nil {
				t.Error(err)
			}
			s.Flush()
		})
		c := connect(s)
		say(t, c, "go")
		if err := wait(t, s.broken); !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "timeout") {
			t.Error(err)
		}
		wait(t, s.ended)
	})
}

// The Pool's end ends every connection, also one that comes too late.
func TestPoolCloses(t *testing.T) {
	every(t, limits, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		s := newServer(echo(t))
		c := connect(s)
		say(t, c, "hello")
		expect(t, c, "<hello>")
		closed := make(chan error, 1)
		go func() { closed <- p.Close(t.Context()) }()
		wait(t, s.asked)
		expect(t, c, "bye")
		late := newServer(echo(t))
		l := connect(late)
		wait(t, late.asked)
		l.Close()
		wait(t, late.ended)
		c.Close()
		if err := wait(t, closed); err != nil {
			t.Error(err)
		}
		wait(t, s.ended)
	})
}
