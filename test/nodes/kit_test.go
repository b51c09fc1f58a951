// Package nodes shows what several rollcall processes on one Redis do together, while
// processes are killed and Redis is stopped, flushed and restarted: real processes, a
// real redis-server, clients over TCP.
package nodes

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"rollcall/internal/redistest"
	"rollcall/storage"
	"rollcall/storage/sqlite"
)

// The sizes of the runs; `make nodes` has the large ones.
var (
	killFlag     = flag.Int("killed", 300, "sessions of the node that is killed")
	leaseFlag    = flag.Duration("lease", 3*time.Second, "storage.redis.lease")
	flushFlag    = flag.Int("flushed", 200, "users online while Redis is flushed and restarted")
	stallFlag    = flag.Duration("stall", 3*time.Second, "how long Redis and MongoDB stand still")
	messagesFlag = flag.Int("messages", 6000, "messages between three nodes")
	projectFlag  = flag.Int("project", 120, "members of the project that is spread over three nodes")
	stepsFlag    = flag.Int("steps", 250, "random events of TestProperty")
	seedFlag     = flag.Uint64("seed", 1, "of TestProperty")
)

const (
	host     = "localhost"
	password = "secret"
	// patience is how long anything may take that has to happen.
	patience = 2 * time.Minute
)

func user(i int) string    { return fmt.Sprintf("u%05d", i) }
func project(i int) string { return fmt.Sprintf("p%04d", i) }
func bare(user string) string {
	return user + "@" + host
}

var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "rollcall-nodes-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "rollcall")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/rollcall").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// world is what the nodes share: a Redis, and users and projects in one database.
type world struct {
	t     testing.TB
	dir   string
	redis *redistest.Server
	rdb   *redis.Client
	store *sqlite.Store
	// storage is YAML for the section of that name, instead of SQLite.
	storage string
}

// newWorld makes users of which consecutive ones share a project.
func newWorld(t testing.TB, users, group int) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), redis: redistest.Start(t)}
	w.rdb = w.redis.Client(t)
	var err error
	w.store, err = sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(w.dir, "rollcall.db"), PlainPasswords: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.store.Close(); err != nil {
			t.Error(err)
		}
	})
	var records []storage.Record
	for i := range users {
		records = append(records, storage.Record{User: &storage.UserRecord{
			User: storage.User{ID: user(i)}, Credentials: &storage.Credentials{Plain: password},
		}})
	}
	for p := 0; group > 1 && p*group < users; p++ {
		r := &storage.ProjectRecord{Project: storage.Project{ID: project(p)}}
		for i := p * group; i < min((p+1)*group, users); i++ {
			r.Members = append(r.Members, user(i))
		}
		records = append(records, storage.Record{Project: r})
	}
	if err := w.store.Import(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	return w
}

// node is one rollcall process.
type node struct {
	w       *world
	name    string
	address string // of TCP
	cmd     *exec.Cmd
	log     *logTail
}

// start starts a node; the end of the test stops it.
func (w *world) start(name string) *node {
	w.t.Helper()
	n := &node{w: w, name: name}
	stores := w.storage
	if stores == "" {
		stores = "sqlite: {passwords: plain}"
	}
	config := filepath.Join(w.dir, name+".yml")
	text := fmt.Sprintf(`
hosts: [%s]
data_dir: %s
log: {level: info, format: text}
cluster: {node: %s}
listen:
  tcp: [{address: "127.0.0.1:0", tls: none, plain_without_tls: true}]
  http: []
  metrics: ""
limits: {login_time: 60s}
modules: {projects: {grace: 1s}}
storage:
  presence: redis
  %s
  redis: {addresses: ["%s"], lease: %s}
`, host, w.dir, name, stores, w.redis.Addr(), *leaseFlag)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	n.cmd = exec.Command(binary, "serve", "-c", config)
	n.log = &logTail{to: w.t.Output(), listening: make(chan string, 1)}
	n.cmd.Stderr = n.log
	if err := n.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { n.end(syscall.SIGTERM) })
	select {
	case n.address = <-n.log.listening:
	case <-time.After(patience):
		w.t.Fatalf("node %s does not listen", name)
	}
	return n
}

// end sends a signal and waits until the process is gone; it does nothing when it is.
func (n *node) end(signal syscall.Signal) {
	n.w.t.Helper()
	if n.cmd.ProcessState != nil {
		return
	}
	if err := n.cmd.Process.Signal(signal); err != nil {
		n.w.t.Errorf("node %s: %v", n.name, err)
	}
	err := n.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !(signal == syscall.SIGKILL && errors.As(err, &exit)) {
		n.w.t.Errorf("node %s: %v", n.name, err)
	}
	n.log.mu.Lock()
	defer n.log.mu.Unlock()
	if n.log.panics > 0 {
		n.w.t.Errorf("node %s caught %d panics", n.name, n.log.panics)
	}
}

// cpu is the processor time that the process used so far.
func (n *node) cpu() time.Duration {
	n.w.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	if err != nil {
		n.w.t.Fatal(err)
	}
	// utime and stime, in hundredths of a second, are the 14th and 15th field; the second
	// one may hold spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	sum := 0
	for _, f := range fields[11:13] {
		ticks, err := strconv.Atoi(f)
		if err != nil {
			n.w.t.Fatal(err)
		}
		sum += ticks
	}
	return time.Duration(sum) * 10 * time.Millisecond
}

// logTail looks for the address in what a server says. It passes on warnings and
// errors.
type logTail struct {
	to        io.Writer
	mu        sync.Mutex
	panics    int
	listening chan string
}

var addressPattern = regexp.MustCompile(`msg=listening for=xmpp address=(\S+)`)

// Write gets whole lines from slog.
func (l *logTail) Write(p []byte) (int, error) {
	if m := addressPattern.FindSubmatch(p); m != nil {
		l.listening <- string(m[1])
	}
	if bytes.Contains(p, []byte("msg=panic")) {
		l.mu.Lock()
		l.panics++
		l.mu.Unlock()
	}
	if bytes.Contains(p, []byte("level=INFO")) {
		return len(p), nil
	}
	return l.to.Write(p)
}

// until asks again and again until something holds, and returns how long that took.
func until(t testing.TB, what string, holds func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	if !within(patience, holds) {
		t.Fatalf("not within %s: %s", patience, what)
	}
	return time.Since(start)
}

// within asks again and again whether something holds, for so long.
func within(limit time.Duration, holds func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !holds(); <-tick.C {
		if time.Since(start) > limit {
			return false
		}
	}
	return true
}

// inRedis is the truth as the product's web application reads it.
type inRedis struct {
	status  map[string]int      // by user; those who are offline are left out
	members map[string][]string // online users by project, in order
}

// read reads the keys that are the contract with the web application.
func (w *world) read(users, projects int) (r inRedis, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r = inRedis{make(map[string]int), make(map[string][]string)}
	pipe := w.rdb.Pipeline()
	status := make([]*redis.StringCmd, users)
	for i := range status {
		status[i] = pipe.Get(ctx, "wt_user_presence:"+user(i))
	}
	sets := make([]*redis.StringSliceCmd, projects)
	for i := range sets {
		sets[i] = pipe.SMembers(ctx, "wt_proj_online_users:"+project(i))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return r, err
	}
	for i, s := range status {
		code, err := s.Int()
		if err != nil && !errors.Is(err, redis.Nil) {
			return r, err
		}
		if code != 0 {
			r.status[user(i)] = code
		}
	}
	for i, s := range sets {
		list, err := s.Result()
		if err != nil {
			return r, err
		}
		if len(list) > 0 {
			slices.Sort(list)
			r.members[project(i)] = list
		}
	}
	return r, nil
}
