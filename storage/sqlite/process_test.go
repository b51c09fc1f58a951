package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"rollcall/storage"
	"rollcall/storage/sqlite"
)

// childEnv makes the test binary another process that has the file open.
const childEnv = "ROLLCALL_SQLITE_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := child(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child does what the lines of its input say and answers each with a line:
// "done" and the line once it is committed. "flood PREFIX" adds projects until
// the process is killed, from several goroutines, and "keep PREFIX" messages.
func child(path string) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		words := strings.Fields(in.Text())
		switch words[0] {
		case "flood":
			return flood(ctx, s, words[1])
		case "keep":
			return keepAndDiscard(ctx, s, words[1])
		case "join":
			err = s.Join(ctx, words[1], words[2])
		case "leave":
			err = s.Leave(ctx, words[1], words[2])
		case "add":
			err = s.AddProject(ctx, storage.Project{ID: words[1]})
		default:
			err = fmt.Errorf("no command %q", words)
		}
		if err != nil {
			return err
		}
		fmt.Println("done", in.Text())
	}
	return s.Close()
}

func flood(ctx context.Context, s *sqlite.Store, prefix string) error {
	errs := make(chan error)
	var mu sync.Mutex
	for i := range 8 {
		go func() {
			for j := 0; ; j++ {
				id := fmt.Sprintf("%s-%d-%d", prefix, i, j)
				if err := s.AddProject(ctx, storage.Project{ID: id}); err != nil {
					errs <- err
					return
				}
				mu.Lock()
				fmt.Println("done", id)
				mu.Unlock()
			}
		}()
	}
	return <-errs
}

// process is a running child.
type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(t *testing.T, path string) process {
	t.Helper()
	exe, err := os.Executable()
	ok(t, err)
	c := process{Cmd: exec.CommandContext(t.Context(), exe)}
	c.Env = append(os.Environ(), childEnv+"="+path)
	c.Stderr = os.Stderr
	c.in, err = c.StdinPipe()
	ok(t, err)
	out, err := c.StdoutPipe()
	ok(t, err)
	c.out = bufio.NewReader(out)
	ok(t, c.Start())
	return c
}

// do has the child do something and waits for it.
func (c process) do(t *testing.T, command string) {
	t.Helper()
	_, err := fmt.Fprintln(c.in, command)
	ok(t, err)
	got, err := c.out.ReadString('\n')
	ok(t, err)
	if got != "done "+command+"\n" {
		t.Fatalf("the other process says %q", got)
	}
}

// end lets the child close its store.
func (c process) end(t *testing.T) {
	t.Helper()
	ok(t, c.in.Close())
	ok(t, c.Wait())
}

// TestKill kills a process that writes, with no chance to clean up: all that it
// said was done is there, and the file is sound.
func TestKill(t *testing.T) {
	path := newFile(t)
	for round := range 5 {
		c := startChild(t, path)
		_, err := fmt.Fprintf(c.in, "flood r%d\n", round)
		ok(t, err)
		var done []string
		for {
			line, err := c.out.ReadString('\n')
			if err == io.EOF {
				break // a line cut short was not said
			}
			ok(t, err)
			done = append(done, strings.TrimSuffix(strings.TrimPrefix(line, "done "), "\n"))
			if len(done) == 100+50*round {
				ok(t, c.Process.Kill())
			}
		}
		if c.Wait() == nil || len(done) < 100 {
			t.Fatalf("round %d: not killed, or too early: %d lines", round, len(done))
		}
		s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
		ok(t, err)
		for _, id := range done {
			if _, err := s.Project(t.Context(), id); err != nil {
				t.Errorf("round %d: project %q was acknowledged: %v", round, id, err)
			}
		}
		ok(t, s.Close())
		var sound string
		ok(t, raw(t, path).QueryRow("PRAGMA integrity_check").Scan(&sound))
		if sound != "ok" {
			t.Errorf("round %d: integrity_check: %s", round, sound)
		}
	}
}

// TestTwoProcesses is the server with a command beside it: each sees what the
// other did, at once when it asks and within a second when it watches.
func TestTwoProcesses(t *testing.T) {
	path := newFile(t)
	s := open(t, sqlite.Options{Path: path})
	addUser(t, s, "ann")
	ok(t, s.AddProject(t.Context(), storage.Project{ID: "p1"}))
	c := startChild(t, path)
	c.do(t, "add p2") // it is up

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told, watching := make(chan storage.Change, 1000), make(chan error, 1)
	go func() { watching <- s.Watch(ctx, func(c storage.Change) { told <- c }) }()
	for i := byte(0); len(told) == 0; i++ {
		ok(t, s.SetCredentials(t.Context(), "ann", *keys(i)))
	}
	for range 5 {
		for command, kind := range map[string]storage.ChangeKind{"join": storage.MemberAdded, "leave": storage.MemberRemoved} {
			if command == "leave" {
				ok(t, s.Join(t.Context(), "p2", "ann"))
			}
			c.do(t, command+" p2 ann")
			since := time.Now()
			for got := range told {
				if got == (storage.Change{Kind: kind, User: "ann", Project: "p2"}) {
					break
				}
			}
			if took := time.Since(since); took > time.Second {
				t.Errorf("told after %v", took)
			}
			in, err := s.ProjectsOf(t.Context(), "ann")
			if err != nil || (len(in) == 1) != (command == "join") {
				t.Errorf("after %s: in %v, %v", command, in, err)
			}
			if command == "join" {
				ok(t, s.Leave(t.Context(), "p2", "ann"))
			}
		}
	}
	cancel()
	ok(t, <-watching)

	// Both write at once: each waits its turn.
	const n = 100
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			if err := s.AddProject(t.Context(), storage.Project{ID: fmt.Sprint("here-", i)}); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range n {
		c.do(t, fmt.Sprint("add there-", i))
	}
	wg.Wait()
	c.end(t)
	all, err := s.Projects(t.Context())
	ok(t, err)
	if len(all) != 2*n+2 {
		t.Errorf("%d projects, want %d", len(all), 2*n+2)
	}
}
