package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rollcall/internal/transcript"
)

// process is the binary, running.
type process struct {
	*exec.Cmd
	address string
	mu      sync.Mutex
	log     bytes.Buffer
	lines   chan string
}

var listening = regexp.MustCompile(`msg=listening for=xmpp address=(\S+)`)

// Write takes the log.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Write(b)
	for line := range strings.Lines(string(b)) {
		p.lines <- line
	}
	return len(b), nil
}

// await waits for a line of the log.
func (p *process) await(t *testing.T, pattern *regexp.Regexp) []string {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case line := <-p.lines:
			if m := pattern.FindStringSubmatch(line); m != nil {
				return m
			}
		case <-limit:
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Fatalf("no %s in\n%s", pattern, p.log.String())
		}
	}
}

// built is the folder of the binary; TestMain removes it.
var built = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "rollcall-test-"); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "rollcall"), ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return dir, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if used.Load() {
		// Whether it could be built has been told.
		dir, _ := built()
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// used says that there may be something to remove.
var used atomic.Bool

// serve builds the binary, once, and runs it.
func serve(t *testing.T, config string, args ...string) *process {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Fatal("this test needs signals")
	}
	used.Store(true)
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(filepath.Join(dir, "rollcall"), append([]string{"serve", "--config", config}, args...)...), lines: make(chan string, 10_000)}
	p.Stderr = p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			p.Process.Kill()
			p.Wait()
		}
	})
	p.address = p.await(t, listening)[1]
	return p
}

func (p *process) target() transcript.Target {
	return transcript.Target{
		Kind: transcript.KindTCP, Address: p.address, Host: "localhost", TLS: &tls.Config{InsecureSkipVerify: true},
	}
}
