package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// origin is a server that keeps what it was sent and answers with the same.
type origin struct {
	*httptest.Server
	mu  sync.Mutex
	got []string
}

func newOrigin(t *testing.T) *origin {
	o := &origin{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		o.mu.Lock()
		o.got = append(o.got, string(body))
		o.mu.Unlock()
		// Whether anybody takes the answer is the proxy's business.
		_, _ = w.Write(body)
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *origin) bodies() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.got)
}

const body1, body2 = "<body sid='s' rid='1'>some text</body>", "<body sid='s' rid='2'/>"

// post sends a body through the proxy.
func post(p *HTTP, body string) (status int, got string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr(), strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	var transport http.Transport
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}

// TestFaults: each fault is what its name says.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		fault    Fault
		status   int // what the client gets, 0 for an error
		min, max int // how often the request arrives
	}{
		{None, 200, 1, 1},
		{Delay, 200, 1, 1},
		{Reorder, 200, 1, 1}, // alone, it goes on after a while
		{CutRequest, 0, 0, 0},
		{CutHeld, 0, 1, 1},
		{CutResponse, 0, 1, 1},
		{Repeat, 200, 2, 2},
		{HalfOpen, 0, 0, 0},
		{BadGateway, 502, 0, 1},
	} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%s/%d", c.fault, seed), func(t *testing.T) {
				o := newOrigin(t)
				p, err := ListenHTTP(HTTPConfig{
					Target: o.Listener.Addr().String(), Seed: seed, Faults: Faults{c.fault: 1}, MaxDelay: 20 * time.Millisecond,
				})
				if err != nil {
					t.Fatal(err)
				}
				status, got, err := post(p, body1)
				if c.status == 0 && err == nil || c.status != 0 && (err != nil || status != c.status) {
					t.Errorf("got %d %q %v", status, got, err)
				}
				if status == 200 && err == nil && got != body1 {
					t.Errorf("got %q", got)
				}

				await(t, func() bool { return len(o.bodies()) >= c.min })
				p.Close()
				o.Close()
				if n := len(o.bodies()); n < c.min || n > c.max {
					t.Errorf("arrived %d times", n)
				}
				if n := p.Counts()[c.fault]; c.fault != None && n != 1 {
					t.Errorf("counted %d times", n)
				}
			})
		}
	}
}

// await waits for what other goroutines do.
func await(t *testing.T, ready func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !ready(); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatal("it does not happen")
		}
	}
}

func TestReorder(t *testing.T) {
	o := newOrigin(t)
	p, err := ListenHTTP(HTTPConfig{
		Target: o.Listener.Addr().String(), Faults: Faults{Reorder: 1}, MaxDelay: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	first := make(chan error)
	go func() {
		_, _, err := post(p, body1)
		first <- err
	}()
	await(t, func() bool { return p.Counts()[Reorder] == 1 })
	p.Calm()
	await(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.behind["s"]) == 1
	})
	if _, _, err := post(p, body2); err != nil {
		t.Error(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	if got := o.bodies(); !slices.Equal(got, []string{body2, body1}) {
		t.Errorf("arrived: %q", got)
	}
	if p.Counts()[Overtaken] != 1 {
		t.Error(p.Counts())
	}
}

// TestSeed: what goes wrong depends on nothing but the seed and the numbers of
// connection and request.
func TestSeed(t *testing.T) {
	choose := func(seed uint64) (all []Fault) {
		b := &base{seed: seed}
		f := Faults{Delay: 0.2, Repeat: 0.2, HalfOpen: 0.2, CutHeld: 0.2}
		for connection := range uint64(10) {
			for n := range uint64(10) {
				all = append(all, f.choose(b.rand(connection, n)))
			}
		}
		return all
	}
	a := choose(1)
	if !slices.Equal(a, choose(1)) || slices.Equal(a, choose(2)) {
		t.Error(a)
	}
	for _, f := range []Fault{Delay, Repeat, HalfOpen, CutHeld, None} {
		if !slices.Contains(a, f) {
			t.Errorf("%s never happens", f)
		}
	}
}

// echo is a TCP server that sends everything back, and tells when a connection of
// its is over.
func echo(t *testing.T) (address string, over <-chan struct{}) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	ended := make(chan struct{}, 10)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { ended <- struct{}{} }()
				defer nc.Close()
				// How the connection ends is the proxy's business.
				_, _ = io.Copy(nc, nc)
			}()
		}
	}()
	return ln.Addr().String(), ended
}

func TestRelay(t *testing.T) {
	text := strings.Repeat("0123456789", 100)
	for _, c := range []struct {
		fault Fault
		want  error
		all   bool // comes through
	}{
		{None, nil, true}, {Stall, nil, true}, {Reset, syscall.ECONNRESET, false}, {Fin, io.EOF, false},
		{HalfOpen, context.DeadlineExceeded, false},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			address, over := echo(t)
			r, err := ListenRelay(RelayConfig{
				Target: address, Faults: Faults{c.fault: 1}, Life: time.Hour, Bytes: 1000, MaxStall: 5 * time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			nc, err := net.Dial("tcp", r.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := io.WriteString(nc, text); err != nil {
				t.Fatal(err)
			}
			limit := 10 * time.Second
			if c.fault == HalfOpen {
				limit = 50 * time.Millisecond
			}
			if err := nc.SetReadDeadline(time.Now().Add(limit)); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(text))
			n, err := io.ReadFull(nc, got)
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				err = context.DeadlineExceeded
			}
			if !errors.Is(err, c.want) || c.all != (n == len(text)) || text[:n] != string(got[:n]) {
				t.Errorf("got %d bytes and %v", n, err)
			}
			if n := r.Counts()[c.fault]; c.fault != None && n == 0 {
				t.Error("not counted")
			}
			if c.fault == HalfOpen {
				stillThere(t, nc, over)
				r.Close()
			}
			nc.Close()
			<-over
		})
	}
}

// stillThere makes sure that a server is not told that its client has gone.
func stillThere(t *testing.T, nc net.Conn, over <-chan struct{}) {
	t.Helper()
	nc.Close()
	select {
	case <-over:
		t.Error("the server was told")
	case <-time.After(50 * time.Millisecond):
	}
}
