package tsung

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Run runs a scenario to its end and returns what tsung counted. The folder gets the
// scenario, as tsung.xml, and tsung's logs.
func Run(ctx context.Context, dir string, scenario []byte) (*Result, error) {
	file, logs := filepath.Join(dir, "tsung.xml"), filepath.Join(dir, "log")
	if err := os.WriteFile(file, scenario, 0o600); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	names, env, err := startNames(ctx, dir)
	if err != nil {
		cancel()
		return nil, err
	}
	// tsung makes a folder in the home of its user, and Erlang a cookie.
	cmd := exec.CommandContext(ctx, "tsung", "-f", file, "-l", logs, "-I", "127.0.0.1", "-n", "start")
	cmd.Env = append(env, "HOME="+dir, "ERL_FLAGS=-kernel inet_dist_use_interface {127,0,0,1}")
	// It is a script with Erlang as its child: both have to go.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	cancel()
	// It was killed: that is how it ends.
	_ = names.Wait()
	if err != nil {
		return nil, fmt.Errorf("tsung: %w\n%s", err, out)
	}
	found, err := filepath.Glob(filepath.Join(logs, "*", "tsung.log"))
	if err != nil || len(found) != 1 {
		return nil, errors.Join(fmt.Errorf("tsung left %d logs\n%s", len(found), out), err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		return nil, err
	}
	r, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, bytes.TrimSpace(out))
	}
	r.Dir = filepath.Dir(found[0])
	return r, nil
}

// namesTime is how long Erlang's name server may take to begin.
const namesTime = 30 * time.Second

// startNames starts Erlang's name server, which would otherwise stay when tsung has
// ended, and returns what leads there.
func startNames(ctx context.Context, dir string) (*exec.Cmd, []string, error) {
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, "epmd", "-address", "127.0.0.1", "-port", strconv.Itoa(port))
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	deadline := time.Now().Add(namesTime)
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			err = c.Close()
		}
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return nil, nil, errors.Join(fmt.Errorf("epmd does not begin: %w", err), cmd.Process.Kill(), cmd.Wait())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return cmd, append(os.Environ(), "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+strconv.Itoa(port)), nil
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := ln.Addr().(*net.TCPAddr).Port
	return port, ln.Close()
}
