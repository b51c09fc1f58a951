// Package redistest starts real redis-servers for tests, each on a free port of the
// loopback interface with nothing kept on disk, and breaks them on request.
package redistest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rollcall/internal/testkit"

	"github.com/redis/go-redis/v9"
)

// patience is how long anything here may take. The machine may be busy.
const patience = 20 * time.Second

// Server is a redis-server, or a Sentinel, in a process of its own. Its methods fail
// the test when they cannot do what they say.
type Server struct {
	t      testing.TB
	dir    string
	port   int
	config []string // lines of redis.conf
	args   []string // after the configuration file
	tls    *tls.Config
	user   string
	pass   string

	mu   sync.Mutex
	proc *process // nil: stopped
}

// process is one life of the server.
type process struct {
	cmd  *exec.Cmd
	out  output
	done chan struct{} // closed when it has ended
	err  error         // how; read after done
}

// output keeps what a process said.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Start starts a server and waits until it answers. The end of the test stops it.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir()}
	s.config = []string{"save \"\"", "appendonly no", "enable-debug-command yes",
		// Replicas do not wait for others that might come.
		"repl-diskless-sync-delay 0"}
	for _, o := range options {
		o(s)
	}
	s.choosePort()
	t.Cleanup(s.Kill)
	s.Restart()
	return s
}

// binary is where redis-server is: $REDIS_SERVER, or in the PATH, or where Debian has it.
func binary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("REDIS_SERVER"); path != "" {
		return path
	}
	if path, err := exec.LookPath("redis-server"); err == nil {
		return path
	}
	if _, err := os.Stat("/usr/bin/redis-server"); err == nil {
		return "/usr/bin/redis-server"
	}
	t.Fatal("redis-server is not installed: run scripts/setup, or say where it is with REDIS_SERVER=/path")
	return ""
}

// choosePort finds a port that nobody listens on. It stays the server's for good, so
// that a restarted server is found again.
func (s *Server) choosePort() {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// Addr is "host:port".
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Port is where it listens.
func (s *Server) Port() int { return s.port }

// TLS is what a client needs to connect, nil without WithTLS.
func (s *Server) TLS() *tls.Config { return s.tls }

// Restart starts the server again where it was, after stopping it when it runs, and
// waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	for try := 0; ; try++ {
		err := s.run()
		if err == nil {
			return
		}
		if try == 3 || !strings.Contains(err.Error(), "Address already in use") {
			s.t.Fatal(err)
		}
	}
}

// run starts one process and waits for its first answer.
func (s *Server) run() error {
	// Sentinels write into their configuration, so it survives a restart.
	conf := filepath.Join(s.dir, "redis.conf")
	if _, err := os.Stat(conf); errors.Is(err, os.ErrNotExist) {
		lines := append([]string{"bind 127.0.0.1", "daemonize no", "dir " + s.dir}, s.config...)
		if s.tls == nil {
			lines = append(lines, "port "+strconv.Itoa(s.port))
		} else {
			lines = append(lines, "port 0", "tls-port "+strconv.Itoa(s.port))
		}
		if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			return err
		}
	}
	p := &process{done: make(chan struct{})}
	p.cmd = exec.Command(binary(s.t), append([]string{conf}, s.args...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting redis-server: %w", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	s.mu.Lock()
	s.proc = p
	s.mu.Unlock()
	return s.answers(p)
}

func (s *Server) answers(p *process) error {
	c := s.newClient()
	defer c.Close() //nolint:errcheck // nothing is lost with it
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		// The client would log every vain try.
		conn, err := net.Dial("tcp", s.Addr())
		if err == nil {
			err = errors.Join(conn.Close(), c.Ping(ctx).Err())
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("redis-server ended: %v: %s", p.err, p.out.String())
		case <-ctx.Done():
			return fmt.Errorf("redis-server does not answer: %v: %s", err, p.out.String())
		case <-tick.C:
		}
	}
}

// end sends a signal to one process and waits for its end.
func (s *Server) end(p *process, sig syscall.Signal) {
	s.t.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	// A suspended process takes SIGTERM only when it is resumed.
	for _, sig := range []syscall.Signal{sig, syscall.SIGCONT} {
		if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			s.t.Errorf("redis-server: %v: %v", sig, err)
		}
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		s.t.Errorf("redis-server did not end after %v: %s", sig, p.out.String())
	}
}

// take forgets the running process and returns it.
func (s *Server) take() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.proc
	s.proc = nil
	return p
}

// Stop ends the server as an administrator would (SIGTERM); it does nothing when it is
// stopped.
func (s *Server) Stop() {
	s.t.Helper()
	if p := s.take(); p != nil {
		s.end(p, syscall.SIGTERM)
	}
}

// Kill ends the server at once (SIGKILL).
func (s *Server) Kill() {
	s.t.Helper()
	if p := s.take(); p != nil {
		s.end(p, syscall.SIGKILL)
	}
}

// Suspend lets the server stand still (SIGSTOP): it takes connections and answers
// nothing, until Resume.
func (s *Server) Suspend() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	s.mu.Lock()
	defer s.mu.Unlock()
	// The signal is on its way when it was sent.
	if err := testkit.Stopped(s.proc.cmd.Process.Pid); err != nil {
		s.t.Fatal(err)
	}
}

// Resume lets it go on (SIGCONT).
func (s *Server) Resume() { s.t.Helper(); s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		s.t.Fatal("redis-server is stopped")
	}
	if err := s.proc.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Client is a client with full rights that the end of the test closes.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	c := s.newClient()
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			t.Error(err)
		}
	})
	return c
}

func (s *Server) newClient() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: s.Addr(), TLSConfig: s.tls, Username: s.user, Password: s.pass,
		MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, Protocol: 2, DisableIdentity: true,
	})
}
