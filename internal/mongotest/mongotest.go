//go:build unix

// Package mongotest starts servers that speak MongoDB's wire protocol, for tests:
// FerretDB v1.24.2 on SQLite, in a process of its own. It knows no authentication, no
// change streams and no transactions, and is slow where a query needs an index.
package mongotest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/testkit"
)

// patience is how long a server may take to say where it listens.
const patience = 30 * time.Second

// Server is one server with databases of its own. Its methods are for one goroutine at
// a time; they end the test when they fail.
type Server struct {
	// URI is where it listens, on the loopback interface. It outlives Restart.
	URI string

	t       testing.TB
	binary  string
	data    string
	process *exec.Cmd // nil while it is dead
	stdin   io.Closer // the process ends when this closes, at the latest when we die
	errors  *tail
}

// Start runs a server with empty databases on a free port until the test is over.
func Start(t testing.TB) *Server {
	t.Helper()
	binary, err := Binary()
	if err != nil {
		t.Fatalf("mongotest: %v", err)
	}
	s := &Server{t: t, binary: binary, data: t.TempDir()}
	s.start("127.0.0.1:0")
	t.Cleanup(s.Kill)
	return s
}

// PID is the server's process; 0 while it is dead.
func (s *Server) PID() int {
	if s.process == nil {
		return 0
	}
	return s.process.Process.Pid
}

// Kill ends the server at once, as kill -9 does, and waits until it has ended. A dead
// one stays dead.
func (s *Server) Kill() {
	s.t.Helper()
	if s.process == nil {
		return
	}
	p := s.process
	s.process = nil
	if err := p.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("mongotest: %v", err)
	}
	var killed *exec.ExitError
	if err := p.Wait(); err != nil && !errors.As(err, &killed) {
		s.t.Errorf("mongotest: %v", err)
	}
	s.stdin.Close() // nobody reads it any more
}

// Suspend stops the server without closing anything: connections stand, and the kernel
// takes new ones, but nobody answers.
func (s *Server) Suspend() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	// The signal is on its way when it was sent.
	if err := testkit.Stopped(s.process.Process.Pid); err != nil {
		s.t.Fatalf("mongotest: %v", err)
	}
}

// Resume undoes Suspend.
func (s *Server) Resume() { s.t.Helper(); s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatalf("mongotest: %v to a dead server", sig)
	}
	if err := s.process.Process.Signal(sig); err != nil {
		s.t.Fatalf("mongotest: %v: %v", sig, err)
	}
}

// Restart runs the server again, dead or not, at the same URI and with the same data.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	u, err := url.Parse(s.URI)
	if err != nil {
		s.t.Fatalf("mongotest: %v", err)
	}
	s.start(u.Host)
}

// start returns when the server listens.
func (s *Server) start(address string) {
	s.t.Helper()
	c := exec.Command(s.binary, "-listen", address, "-data", s.data, "-leash")
	c.Env = append(os.Environ(), "DO_NOT_TRACK=1")
	s.errors = &tail{}
	c.Stderr = s.errors
	stdin, err := c.StdinPipe()
	if err != nil {
		s.t.Fatalf("mongotest: %v", err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		s.t.Fatalf("mongotest: %v", err)
	}
	if err := c.Start(); err != nil {
		s.t.Fatalf("mongotest: %v", err)
	}
	s.process, s.stdin = c, stdin
	late := time.AfterFunc(patience, func() {
		// Ends the reading below; only a process that is gone already refuses.
		_ = c.Process.Kill()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	late.Stop()
	uri := strings.TrimSpace(line)
	if err != nil || !strings.HasPrefix(uri, "mongodb://") {
		s.Kill()
		s.t.Fatalf("mongotest: %s says %q instead of its URI: %v\n%s", s.binary, line, err, s.errors)
	}
	s.URI = uri
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

// Write implements io.Writer.
func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 16 << 10
	l.kept.Write(p)
	if more := l.kept.Len() - most; more > 0 {
		l.kept.Next(more)
	}
	return len(p), nil
}

// String is what was kept.
func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept.String()
}
