// Package subject runs the real server, built from this tree, as a process of its own to
// be loaded and looked into: with users that share projects, on loopback, with its data
// in a folder that goes with it.
package subject

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"rollcall/internal/auth"
	"rollcall/storage"
	"rollcall/storage/sqlite"
)

// What every user has in common.
const (
	Host     = "localhost"
	Password = "secret"
)

// User is the name of the i-th user.
func User(i int) string { return fmt.Sprintf("u%06d", i) }

// Options say what server to start. The zero value has nobody who could log in.
type Options struct {
	Users int
	Group int  // users i*Group to (i+1)*Group-1 share a project; with 0 or 1 nobody does
	SCRAM bool // keep SCRAM keys and not passwords
	TLS   bool // from the first byte, on every listener for clients
	// Environment is added to the server's, as in GODEBUG=gctrace=1.
	Environment []string
	// Limits are further entries of the section limits, as in "outbox_bytes: 64KiB".
	Limits string
	// Config, where set, makes the configuration instead, of a data folder and of a
	// network such as "127.3.2.", on whose hosts 1 to 4 the server has to listen for TCP
	// and HTTP clients, for metrics and for profiles, each on port 0.
	Config func(dir, network string) string
	// Records are further users and projects.
	Records []storage.Record
	// Log gets what the server says; nil for nobody.
	Log io.Writer
}

// Server is a process that serves.
type Server struct {
	TCP, HTTP, Metrics, Profiles string // host:port
	// TLS is for clients of a server with Options.TLS.
	TLS *tls.Config

	dir  string
	cmd  *exec.Cmd
	end  sync.Once
	gone chan struct{}
	err  error
}

// Build builds the server into a folder and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "rollcall")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "rollcall/cmd/rollcall").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
}

// startTime is how long a server may take until it accepts connections.
const startTime = time.Minute

// Start starts a server; Stop ends it, and so does the end of ctx.
func Start(ctx context.Context, program string, o Options) (*Server, error) {
	dir, err := os.MkdirTemp("", "rollcall-subject-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, gone: make(chan struct{})}
	if err := s.start(ctx, program, o); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, program string, o Options) error {
	if err := s.fill(ctx, o); err != nil {
		return err
	}
	// A loopback network of its own tells the listeners apart: their ports are the
	// kernel's choice.
	network := fmt.Sprintf("127.%d.%d.", 2+rand.IntN(250), rand.IntN(250))
	config := filepath.Join(s.dir, "rollcall.yml")
	text := s.config(network, o)
	if o.Config != nil {
		text = o.Config(s.dir, network)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	ready := filepath.Join(s.dir, "ready")
	s.cmd = exec.CommandContext(ctx, program, "serve", "--config", config, "--ready", ready)
	s.cmd.Env = append(os.Environ(), o.Environment...)
	var said bytes.Buffer
	s.cmd.Stderr = &said
	if o.Log != nil {
		s.cmd.Stderr = o.Log
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.gone)
	}()
	if err := s.await(ctx, ready); err != nil {
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	return s.find(network, o.TLS)
}

// await waits until the server has made a file.
func (s *Server) await(ctx context.Context, ready string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(ready); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.gone:
			return fmt.Errorf("the server ended: %w", s.err)
		case <-ctx.Done():
			return fmt.Errorf("the server does not begin: %w", ctx.Err())
		}
	}
}

func (s *Server) config(network string, o Options) string {
	tcp, http, passwords := "none, plain_without_tls: true", "none, plain_without_tls: true", "plain"
	if o.TLS {
		tcp, http = "direct", "direct"
	}
	if o.SCRAM {
		passwords = "scram"
	}
	return fmt.Sprintf(`hosts: [%[1]s]
data_dir: %[2]s
log: {level: warn}
listen:
  tcp: [{address: "%[3]s1:0", tls: %[4]s}]
  http: [{address: "%[3]s2:0", tls: %[5]s}]
  metrics: "%[3]s3:0"
  profiles: "%[3]s4:0"
storage: {sqlite: {passwords: %[6]s}}
limits: {login_time: 60s, %[7]s}
`, Host, s.dir, network, tcp, http, passwords, o.Limits)
}

// fill makes the users and projects.
func (s *Server) fill(ctx context.Context, o Options) error {
	store, err := sqlite.Open(ctx, sqlite.Options{
		Path: filepath.Join(s.dir, "rollcall.db"), PlainPasswords: !o.SCRAM, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	secret := storage.Credentials{Plain: Password}
	if o.SCRAM {
		// All have the same keys: checking them takes as long.
		if secret, err = auth.NewCredentials(Password, auth.MinIterations); err != nil {
			return errors.Join(err, store.Close())
		}
	}
	records := o.Records
	for i := range o.Users {
		records = append(records, storage.Record{User: &storage.UserRecord{
			User: storage.User{ID: User(i)}, Credentials: &secret,
		}})
	}
	for p := 0; o.Group > 1 && p*o.Group < o.Users; p++ {
		r := &storage.ProjectRecord{Project: storage.Project{ID: fmt.Sprintf("p%06d", p)}}
		for i := p * o.Group; i < min((p+1)*o.Group, o.Users); i++ {
			r.Members = append(r.Members, User(i))
		}
		records = append(records, storage.Record{Project: r})
	}
	return errors.Join(store.Import(ctx, records), store.Close())
}

// find finds the listeners.
func (s *Server) find(network string, secure bool) error {
	ports, err := s.ports(network)
	if err != nil {
		return err
	}
	for i, address := range []*string{&s.TCP, &s.HTTP, &s.Metrics, &s.Profiles} {
		ip := fmt.Sprintf("%s%d", network, i+1)
		if *address = ports[ip]; *address == "" {
			return fmt.Errorf("nobody listens on %s", ip)
		}
	}
	if !secure {
		return nil
	}
	// The server made a certificate for itself.
	pem, err := os.ReadFile(filepath.Join(s.dir, "self-signed.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	s.TLS = &tls.Config{RootCAs: roots, ServerName: Host, MinVersion: tls.VersionTLS13}
	return nil
}

// Address is where clients of a transport connect.
func (s *Server) Address(transport string) string {
	if transport == "tcp" {
		return s.TCP
	}
	return s.HTTP
}

// PID is the process's number.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends the server and removes its data. Only the first call counts.
func (s *Server) Stop() (err error) {
	s.end.Do(func() {
		defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
		if s.cmd == nil || s.cmd.Process == nil {
			return
		}
		if err = s.cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		<-s.gone
		err = errors.Join(err, s.err)
	})
	return err
}

// ports are the addresses on which somebody listens in a network, by IP address.
func (s *Server) ports(network string) (map[string]string, error) {
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", s.PID()))
	if err != nil {
		return nil, err
	}
	found := make(map[string]string)
	for line := range strings.Lines(string(table)) {
		// sl, local address, remote address, state: hexadecimal, addresses as the
		// machine keeps them (proc_pid_net(5)).
		f := strings.Fields(line)
		var d, c, b, a, port int
		if len(f) < 4 || f[3] != "0A" { // TCP_LISTEN
			continue
		}
		if _, err := fmt.Sscanf(f[1], "%02X%02X%02X%02X:%04X", &d, &c, &b, &a, &port); err != nil {
			return nil, fmt.Errorf("%s: %w", f[1], err)
		}
		if ip := fmt.Sprintf("%d.%d.%d.%d", a, b, c, d); strings.HasPrefix(ip, network) {
			found[ip] = fmt.Sprintf("%s:%d", ip, port)
		}
	}
	return found, nil
}
