package redis_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"rollcall/internal/redistest"
	"rollcall/storage"
	"rollcall/storage/redis"
)

// processEnv makes this test binary a node: the address of its server, and its name.
const processEnv = "ROLLCALL_TEST_NODE"

func TestMain(m *testing.M) {
	if where := os.Getenv(processEnv); where != "" {
		if err := beNode(where); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	// Most of these tests wait most of the time: more run at once than there are CPUs,
	// unless somebody says how many.
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "6"); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// beNode is a node in a process of its own, until its standard input ends.
func beNode(where string) error {
	addr, name, _ := strings.Cut(where, " ")
	store, err := redis.Open(context.Background(), redis.Config{
		Addresses: []string{addr}, Node: name, Lease: shortLease,
	})
	if err != nil {
		return err
	}
	if _, err := store.Set(context.Background(), storage.ConnState{
		Conn: "c1", User: name + "-user", Show: storage.Online, At: time.Now(),
	}, []string{"p"}); err != nil {
		return err
	}
	_, epoch := store.Node()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		// The end of the input is the end.
		_, _ = io.Copy(io.Discard, os.Stdin) // and so is an error
		cancel()
	}()
	if err := store.Listen(ctx, func(e storage.BusEvent) {
		if e.Kind == storage.BusReady {
			fmt.Println("ready", epoch)
		}
	}); err != nil {
		return err
	}
	return store.Close(context.Background())
}

// process is such a node.
type process struct {
	cmd   *exec.Cmd
	in    io.Closer
	epoch uint64
}

func startProcess(t testing.TB, s *redistest.Server, name string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), processEnv+"="+s.Addr()+" "+name)
	p.cmd.Stderr = t.Output()
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	epoch, ready := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ready {
		t.Fatalf("the process says %q, %v", line, err)
	}
	if p.epoch, err = strconv.ParseUint(epoch, 10, 64); err != nil {
		t.Fatal(err)
	}
	return p
}

// kill ends it as kill -9 does.
func (p *process) kill() {
	// An error is that it has ended already, or was killed.
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// A killed process is told to be down when its lease has run out, and at the next look;
// its rows are removed.
func TestKilledNode(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := pair(t, s, short)
	p := startProcess(t, s, "c")
	for _, n := range []*node{a, b} {
		n.await(t, "c", func(e storage.BusEvent) bool {
			return e.Kind == storage.NodeUp && e.Node == "c" && e.Epoch == p.epoch
		})
	}
	start := time.Now()
	p.kill()
	for _, n := range []*node{a, b} {
		n.await(t, "that c is down", isDownOf("c", p.epoch))
		if got := n.count(isDown); got != 1 {
			t.Errorf("%s was told %d times that a node is down", n.name, got)
		}
	}
	lease := shortLease
	took := time.Since(start)
	t.Logf("down %v after it was killed, with a lease of %v", took, lease)
	if most := lease + lease/6 + time.Second; took > most { // the second is for a busy machine
		t.Errorf("down after %v, want %v at most", took, most)
	}
	redistest.Until(t, "its user is offline", func() bool {
		show, err := a.Status(t.Context(), []string{"c-user"})
		return err == nil && show[0] == storage.Offline
	})
	if online, _, err := b.OnlineIn(t.Context(), "p"); len(online) != 0 || err != nil {
		t.Errorf("online: %v, %v", online, err)
	}
	redistest.Until(t, "it is forgotten", func() bool {
		in, err := s.Client(t).SIsMember(t.Context(), "wt_nodes", "c").Result()
		return err == nil && !in
	})
}

// The next process of a name need not wait for the lease of one that was killed.
func TestKilledNodeComesBack(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a := listen(t, config(t, s, "a"))
	p := startProcess(t, s, "c")
	a.await(t, "c", func(e storage.BusEvent) bool { return e.Kind == storage.NodeUp && e.Epoch == p.epoch })
	a.forget()
	p.kill()
	c := listen(t, config(t, s, "c"))
	a.await(t, "the new c", isUp(c))
	if got := a.all(); len(got) != 2 || !isDownOf("c", p.epoch)(got[0]) {
		t.Errorf("told %v, want that %d is down and %d is up", got, p.epoch, c.epoch)
	}
	if show, err := a.Status(t.Context(), []string{"c-user"}); err != nil || show[0] != storage.Offline {
		t.Errorf("the old user is %v, %v", show, err)
	}
	a.reaches(t, c)
}

// A process that ends says so: nobody waits for its lease.
func TestNodeThatEnds(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	c := config(t, s, "a")
	c.Lease = time.Hour
	a := listen(t, c)
	p := startProcess(t, s, "c")
	a.await(t, "c", func(e storage.BusEvent) bool { return e.Kind == storage.NodeUp && e.Epoch == p.epoch })
	if err := p.in.Close(); err != nil {
		t.Fatal(err)
	}
	a.await(t, "that c is down", isDownOf("c", p.epoch))
	redistest.Until(t, "its lease is given back", func() bool {
		n, err := s.Client(t).Exists(t.Context(), "wt_node:c").Result()
		return err == nil && n == 0
	})
}

// A node that finds its lease gone has it again at once, and knows that others may have
// taken it for dead.
func TestNodeWithoutLease(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	a, b := pair(t, s)
	if err := s.Client(t).Set(t.Context(), "wt_node:b", b.epoch, time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "b has its lease again", func() bool {
		ttl, err := s.Client(t).PTTL(t.Context(), "wt_node:b").Result()
		return err == nil && ttl > 100*time.Millisecond
	})
	b.await(t, "a gap, since others may have taken it for dead", isGap)
	a.reaches(t, b)
	b.reaches(t, a)
}
