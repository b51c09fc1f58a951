package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"rollcall/internal/xmlscan"
	"rollcall/test/performance/load"
	"rollcall/test/performance/subject"
)

// program builds the server once and returns its path.
var program func() (string, error)

// start starts a server that ends with the test.
func start(t testing.TB, o subject.Options) *subject.Server {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	srv, err := subject.Start(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

// standIn makes a test program a client of its own, which can be stopped by a signal: the
// value is an orders in JSON.
const standIn = "ROLLCALL_TEST_STAND_IN"

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if about := os.Getenv(standIn); about != "" {
		if err := standInFor(about); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	dir, err := os.MkdirTemp("", "rollcall-performance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = sync.OnceValues(func() (string, error) { return subject.Build(context.Background(), dir) })
	return m.Run()
}

// orders say what sessions a stand-in has.
type orders struct {
	Transport, Address string
	Users              []int
}

// account is what became of one of its sessions.
type account struct {
	Messages int    // that came in the right order
	Wrong    string // what came otherwise
	Ended    bool
}

// standInFor logs in, and answers each line of standard input with a line of accounts.
func standInFor(about string) error {
	var o orders
	if err := json.Unmarshal([]byte(about), &o); err != nil {
		return err
	}
	options := load.Options{
		Transport: o.Transport, Address: o.Address, Host: subject.Host, Password: subject.Password,
		Resource: "x", Roster: true, Presence: true,
	}
	var mu sync.Mutex
	accounts := make([]account, len(o.Users))
	sessions := make([]*load.Session, len(o.Users))
	for i, u := range o.Users {
		s, err := load.Login(context.Background(), options, subject.User(u))
		if err != nil {
			return err
		}
		sessions[i] = s
		s.Start(func(el *xmlscan.Element) {
			mu.Lock()
			defer mu.Unlock()
			accounts[i].take(el)
		})
	}
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for more := true; more; more = lines.Scan() {
		mu.Lock()
		for i, s := range sessions {
			select {
			case <-s.Ended():
				accounts[i].Ended = true
			default:
			}
		}
		err := out.Encode(accounts)
		mu.Unlock()
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

// take counts messages, whose ids are 1, 2 and so on.
func (a *account) take(el *xmlscan.Element) {
	if string(el.Local) != "message" || el.AttrString("type") == "error" {
		return
	}
	if n, err := strconv.Atoi(el.AttrString("id")); err != nil || n != a.Messages+1 {
		a.Wrong = fmt.Sprintf("after message %d: %s", a.Messages, el.Raw[:min(200, len(el.Raw))])
		return
	}
	a.Messages++
}

// away is a stand-in, as its test sees it.
type away struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// sendAway starts a stand-in and returns when it has logged in.
func sendAway(t testing.TB, o orders) *away {
	t.Helper()
	about, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), standIn+"="+string(about))
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	a := &away{t: t, cmd: cmd, in: in, out: json.NewDecoder(out)}
	t.Cleanup(func() {
		// A failed test may leave it stopped.
		if err := errors.Join(resume(cmd.Process), in.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	})
	a.read()
	return a
}

func (a *away) read() (accounts []account) {
	a.t.Helper()
	if err := a.out.Decode(&accounts); err != nil {
		a.t.Fatal("the stand-in: ", err)
	}
	return accounts
}

// ask asks what became of the sessions.
func (a *away) ask() []account {
	a.t.Helper()
	if _, err := io.WriteString(a.in, "\n"); err != nil {
		a.t.Fatal("the stand-in: ", err)
	}
	return a.read()
}
