package link_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"rollcall/internal/link"
)

// joint sends what is written to it when it is told to, in one piece.
type joint struct {
	net.Conn
	waits bytes.Buffer
	holds bool
}

func (j *joint) Write(p []byte) (int, error) {
	if j.holds {
		return j.waits.Write(p)
	}
	return j.Conn.Write(p)
}

func (j *joint) release(t *testing.T) {
	t.Helper()
	j.holds = false
	if _, err := j.waits.WriteTo(j.Conn); err != nil {
		t.Fatal(err)
	}
}

// Records of TLS that came together are all read, whoever has the connection.
func TestDetachBetweenRecords(t *testing.T) {
	secure, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	p, connect := plain(t, limits)
	taken := make(chan *link.Detached, 1)
	first := newServer(func(s *server, data string) { taken <- detach(t, s, data) })
	first.tls = secure
	j := &joint{Conn: connect(first)}
	c := tls.Client(j, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	j.holds = true
	// More than crypto/tls reads ahead.
	two, three := strings.Repeat("2", 3000), strings.Repeat("3", 3000)
	for _, text := range []string{"one", two, three} {
		say(t, c, text)
	}
	j.release(t)
	d := wait(t, taken)
	expect(t, d, "one")
	second := newServer(func(s *server, data string) {
		if _, err := s.Queue([]byte(data)); err != nil {
			t.Error(err)
		}
		s.Flush()
	})
	second.Init(p, d, second)
	second.Start(nil)
	expect(t, c, two+three)
	c.Close()
	wait(t, second.ended)
}

// Who is asked to close a connection after it changed hands must not.
func TestDetachedIsLeftAlone(t *testing.T) {
	every(t, limits, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		taken := make(chan *link.Detached, 1)
		s := newServer(func(s *server, data string) { taken <- detach(t, s, data) })
		c := connect(s)
		say(t, c, "hello")
		d := wait(t, taken)
		s.Close([]byte("bye"), 0)
		s.Cut()
		expect(t, d, "hello")
		say(t, d, "written")
		expect(t, c, "written")
		say(t, c, "read")
		expect(t, d, "read")
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What waits to be written comes before what the next one writes.
func TestDetachWaits(t *testing.T) {
	every(t, link.Config{OutboxBytes: 32 << 20, WriteTime: patience}, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		much := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
		taken := make(chan *link.Detached, 1)
		s := newServer(func(s *server, data string) {
			if _, err := s.Queue(much); err != nil {
				t.Error(err)
			}
			taken <- detach(t, s, data)
		})
		c := connect(s)
		say(t, c, "hello")
		expect(t, c, string(much))
		d := wait(t, taken)
		say(t, d, "written")
		expect(t, c, "written")
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A connection that is closing does not change hands.
func TestClosingStays(t *testing.T) {
	every(t, limits, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		s := newServer(func(s *server, data string) {
			s.Close([]byte("bye"), patience)
			if _, ok := s.Detach(nil); ok {
				t.Error("taken away")
			}
		})
		c := connect(s)
		say(t, c, "hello")
		expect(t, c, "bye")
		c.Close()
		wait(t, s.ended)
	})
}

// A peer that is in the middle of a long word hears the end all the same.
func TestCloseWhileTalking(t *testing.T) {
	every(t, limits, func(t *testing.T, p *link.Pool, connect func(*server) net.Conn) {
		s := newServer(func(s *server, data string) { s.Close([]byte("bye"), patience) })
		c := connect(s)
		for range 64 {
			say(t, c, strings.Repeat("x", 64<<10))
		}
		expect(t, c, "bye")
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		c.Close()
		wait(t, s.ended)
	})
}

// stuck is a connection whose writes wait.
type stuck struct {
	net.Conn
	begun, release chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	close(s.begun)
	<-s.release
	return s.Conn.Write(p)
}

// A connection that is closed while TLS waits for what was said before ends.
func TestCloseBeforeHandshake(t *testing.T) {
	secure, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	p, _ := plain(t, limits)
	near, far := net.Pipe()
	nc := &stuck{Conn: near, begun: make(chan struct{}), release: make(chan struct{})}
	s := newServer(func(s *server, _ string) {
		if _, err := s.Queue([]byte("proceed")); err != nil {
			t.Error(err)
		}
		s.Flush()
		s.StartTLS(secure)
	})
	s.Init(p, nc, s)
	s.Start(nil)
	say(t, far, "starttls")
	wait(t, nc.begun)
	s.Close(nil, patience)
	close(nc.release)
	expect(t, far, "proceed")
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	wait(t, s.ended)
}

// A connection that cannot be watched any more leaves nothing behind that others would
// share when it is taken over: they get all of their bytes.
func TestDetachUnwatched(t *testing.T) {
	p, connect := plain(t, limits)
	taken := make(chan *link.Detached, 1)
	s := newServer(func(s *server, data string) { taken <- detach(t, s, data) })
	s.Init(p, closedTCP(t), s)
	s.Start([]byte("early"))
	wait(t, taken)
	var clients []net.Conn
	for range 4 {
		clients = append(clients, connect(newServer(echo(t))))
	}
	for range 2 {
		for _, c := range clients {
			say(t, c, "hello")
			expect(t, c, "<hello>")
		}
	}
	for _, c := range clients {
		c.Close()
	}
}

// closedTCP is a connection that was closed.
func closedTCP(t *testing.T) net.Conn {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	return nc
}

// Who has cut a connection closes it, and not that of whoever takes it over.
func TestDetachAfterCut(t *testing.T) {
	every(t, limits, func(t *testing.T, _ *link.Pool, connect func(*server) net.Conn) {
		taken := make(chan bool, 1)
		s := newServer(func(s *server, data string) {
			s.Cut()
			_, ok := s.Detach([]byte(data))
			taken <- ok
		})
		c := connect(s)
		say(t, c, "x")
		if wait(t, taken) {
			t.Error("somebody has a connection that was cut")
		}
		wait(t, s.errs)
		wait(t, s.ended)
		c.Close()
	})
}

// detach takes the connection of s away.
func detach(t *testing.T, s *server, data string) *link.Detached {
	d, ok := s.Detach([]byte(data))
	if !ok {
		t.Error("not taken away")
	}
	return d
}

// plain returns a Pool, which is closed at the end, and what makes connections of it.
func plain(t *testing.T, c link.Config) (p *link.Pool, connect func(s *server) net.Conn) {
	t.Helper()
	c.HandshakeTime, c.Log = patience, discard
	p = link.New(c)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ln.Close()
		ctx, cancel := timeout()
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return p, func(s *server) net.Conn { return dial(t, p, ln, s) }
}

// dial makes a connection and has s serve it.
func dial(t *testing.T, p *link.Pool, ln net.Listener, s *server) net.Conn {
	t.Helper()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if err := client.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.Init(p, nc, s)
	if s.tls != nil {
		s.StartTLS(s.tls)
	}
	s.Start(nil)
	return client
}
