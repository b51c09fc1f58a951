package link_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	"rollcall/internal/link"
)

// parrot says again what it hears.
type parrot struct {
	link.Conn
	b     *testing.B
	ended sync.WaitGroup
}

func (s *parrot) Received(data []byte, err error) {
	if err != nil {
		s.Close(nil, 0)
		return
	}
	if _, err := s.Queue(data); err != nil {
		s.b.Error(err)
	}
	s.Flush()
}

func (*parrot) Sent()        {}
func (*parrot) Broken(error) {}
func (*parrot) Shutdown()    {}
func (s *parrot) Ended()     { s.ended.Done() }

// BenchmarkEcho measures 300 bytes there and back, over one connection and over 64 at
// once; the client's part, on goroutines of its own, is included.
func BenchmarkEcho(b *testing.B) {
	b.Run("conns=1", func(b *testing.B) { echoes(b, 1) })
	b.Run("conns=64", func(b *testing.B) { echoes(b, 64) })
}

func echoes(b *testing.B, conns int) {
	p := link.New(link.Config{OutboxBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	clients := make([]net.Conn, conns)
	for i := range clients {
		if clients[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
			b.Fatal(err)
		}
		nc, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		s := &parrot{b: b}
		s.ended.Add(1)
		s.Init(p, nc, s)
		s.Start(nil)
		defer s.ended.Wait()
	}
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			defer c.Close()
			buf := make([]byte, 300)
			for range (b.N + i) / conns {
				if _, err := c.Write(buf); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	if err := p.Close(context.Background()); err != nil {
		b.Error(err)
	}
}
