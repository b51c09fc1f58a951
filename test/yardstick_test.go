//go:build unix

package test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/transcript"
)

// freePort is one that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// said keeps what a program says, and tells of the first match of a pattern.
type said struct {
	mu      sync.Mutex
	text    bytes.Buffer
	pattern *regexp.Regexp
	found   chan string
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b)
	if m := s.pattern.FindSubmatch(s.text.Bytes()); m != nil && s.found != nil {
		s.found <- string(m[1])
		s.found = nil
	}
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// The server for load measurements starts with each store, and leaves nothing behind
// when it is killed.
func TestYardstickServes(t *testing.T) {
	for _, store := range []string{"embedded", "redis"} {
		t.Run(store, func(t *testing.T) {
			tcp, scratch := freePort(t), t.TempDir()
			cmd := exec.Command("yardstick/serve", "--tcp", strconv.Itoa(tcp), "--http", strconv.Itoa(freePort(t)), "--users", "20", "--group", "10")
			cmd.Env = append(os.Environ(), "STORE="+store, "TMPDIR="+scratch)
			// Where the program ends without its children, this one's pipes end too.
			cmd.WaitDelay = 10 * time.Second
			ready, redis := make(chan string, 1), make(chan string, 1)
			out := &said{pattern: regexp.MustCompile(`(?m)^ready (\d+)$`), found: ready}
			errs := &said{pattern: regexp.MustCompile(`redis-server at \S+, process (\d+)\n`), found: redis}
			cmd.Stdout, cmd.Stderr = out, errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			t.Cleanup(func() {
				// It has ended already, unless something went wrong.
				_ = cmd.Process.Signal(syscall.SIGTERM)
			})
			var server string
			select {
			case server = <-ready:
			case err := <-ended:
				t.Fatalf("%v\n%s%s", err, out, errs)
			case <-time.After(5 * time.Minute): // it is built first
				t.Fatalf("not ready\n%s%s", out, errs)
			}
			target := transcript.Target{Kind: transcript.KindTCP, Address: fmt.Sprint("127.0.0.1:", tcp), Host: "localhost", Timeout: 20 * time.Second}
			c, _, err := transcript.SignIn(t.Context(), target, transcript.Account{JID: "u000019@localhost/x", Password: "secret"})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Drop(); err != nil {
				t.Error(err)
			}
			kill(t, server)
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("%v\n%s", err, errs)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("it goes on without the server\n%s", errs)
			}
			empty(t, scratch)
			if store == "redis" {
				if err := syscall.Kill(number(t, <-redis), 0); !errors.Is(err, syscall.ESRCH) {
					t.Errorf("redis-server is still there: %v", err)
				}
			}
		})
	}
}

// empty fails if anything is left in a folder but go's own.
func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if !strings.HasPrefix(entry.Name(), "go-build") {
			t.Errorf("it leaves %s", entry.Name())
		}
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// kill ends a process at once.
func kill(t *testing.T, pid string) {
	t.Helper()
	if err := syscall.Kill(number(t, pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
