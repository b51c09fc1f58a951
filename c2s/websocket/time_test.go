package websocket_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"rollcall/c2s/websocket"
	"rollcall/conf"
	"rollcall/modules/ping"
)

// piped runs a test with a client whose connection is a pipe, in a bubble.
func piped(t *testing.T, o options, f func(t *testing.T, h *house, p *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if o.limits == nil {
			o.limits = func(l *conf.Limits) { l.LoginTime = 24 * time.Hour }
		}
		h := build(t, o)
		here, there := net.Pipe()
		h.acceptor.Take(there)
		f(t, h, newPeer(t, here))
		if err := here.Close(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := h.acceptor.Close(ctx); err != nil {
			t.Error(err)
		}
		h.expectNoPanic()
	})
}

func (p *peer) expectPing() {
	p.t.Helper()
	if f := p.next(); f.Header.OpCode != ws.OpPing {
		p.t.Fatalf("frame with opcode %d, want ping: %q", f.Header.OpCode, f.Payload)
	}
}

var pings = websocket.Config{PingInterval: time.Minute, PingTimeout: 30 * time.Second}

// TestPings: a silent client is asked, and given up when it says nothing at all.
func TestPings(t *testing.T) {
	piped(t, options{Config: pings}, func(t *testing.T, h *house, p *peer) {
		p.login("ann", "x")
		since := time.Now()
		passed := func(want time.Duration) {
			t.Helper()
			// The watchdog looks 16 times within the 30 s of an answer, and takes what
			// comes between two looks for as new as the earlier one may be.
			const late = 2 * 30 * time.Second / 16
			if got := time.Since(since); got < want || got > want+late {
				t.Errorf("after %v, want %v to %v", got, want, want+late)
			}
			since = time.Now()
		}
		p.expectPing()
		passed(time.Minute)
		time.Sleep(10 * time.Second)
		p.raw(frame(ws.OpPong, true, ""))
		p.expectPing()
		passed(10*time.Second + time.Minute)
		time.Sleep(29 * time.Second)
		p.send("<presence xmlns='jabber:client'/>") // instead of a pong
		p.expect("<presence...")
		p.expectPing()
		passed(29*time.Second + time.Minute)
		p.expect(streamError("connection-timeout"), closing)
		passed(30 * time.Second)
		h.expectClose("ping-timeout")
	})
}

// TestBusyIsNotAsked: there is no ping where something came meanwhile.
func TestBusyIsNotAsked(t *testing.T) {
	piped(t, options{Config: pings}, func(t *testing.T, _ *house, p *peer) {
		p.login("ann", "x")
		for i := range 10 {
			time.Sleep(50 * time.Second)
			p.send(fmt.Sprintf("<message xmlns='jabber:client' to='ann@example.com/x' id='%d'/>", i))
			p.expect("<message...") // nothing else
		}
	})
}

// TestBenchIsNotAsked: load generators do not answer, neither to frames nor to
// XEP-0199.
func TestBenchIsNotAsked(t *testing.T) {
	o := options{Config: pings}
	o.Bench = true
	piped(t, o, func(t *testing.T, h *house, p *peer) {
		if err := h.Start(t.Context(), ping.New(ping.Options{Interval: time.Minute, Timeout: 30 * time.Second})); err != nil {
			t.Fatal(err)
		}
		p.login("ann", "x")
		time.Sleep(10 * time.Hour)
		p.send("<message to='ann@example.com/x'/>")
		p.expect("<message...")
	})
}

// TestWrites: what one turn has to say goes out at once, but for load generators, which
// take one frame from each packet (a pipe keeps writes apart).
func TestWrites(t *testing.T) {
	for _, bench := range []bool{false, true} {
		piped(t, options{Config: websocket.Config{Bench: bench}}, func(t *testing.T, _ *house, p *peer) {
			p.send(open)
			buf := make([]byte, 64<<10)
			n, err := p.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(buf[:n]); !strings.Contains(got, "<open ") || strings.Contains(got, features) == bench {
				t.Errorf("bench=%v: the first write is %q", bench, got)
			}
			if bench {
				if n, err = p.Read(buf); err != nil || !strings.Contains(string(buf[:n]), features) {
					t.Errorf("the second write is %q %v", buf[:n], err)
				}
			}
		})
	}
}

// TestPingFlood: pongs that nobody takes do not pile up.
func TestPingFlood(t *testing.T) {
	o := options{limits: func(l *conf.Limits) { l.LoginTime, l.OutboxBytes = time.Hour, 4096 }}
	piped(t, o, func(_ *testing.T, h *house, p *peer) {
		go func() {
			flood := frame(ws.OpPing, true, strings.Repeat("x", 125))
			for {
				if _, err := p.Write(flood); err != nil {
					return
				}
			}
		}()
		h.expectClose("slow-reader")
	})
}

// TestLoginTime: who connects and says nothing is not waited for.
func TestLoginTime(t *testing.T) {
	o := options{limits: func(l *conf.Limits) { l.LoginTime = 10 * time.Second }}
	piped(t, o, func(t *testing.T, h *house, p *peer) {
		since := time.Now()
		p.expect("<open...", streamError("connection-timeout"), closing)
		if got := time.Since(since); got != 10*time.Second {
			t.Errorf("after %v", got)
		}
		h.expectClose("login-timeout")
	})
}
