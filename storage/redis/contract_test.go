package redis

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

// example is a command of docs/redis-keys.md and what it answers.
type example struct {
	args, answer []string
}

// examples reads the blocks of commands in order.
func examples(t *testing.T, file string) [][]example {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks [][]example
	for i, part := range strings.Split(string(text), "```") {
		if i%2 == 0 || !strings.HasPrefix(part, "\n$ redis-cli ") {
			continue
		}
		var block []example
		for line := range strings.Lines(strings.TrimPrefix(part, "\n")) {
			line = strings.TrimSuffix(line, "\n")
			if command, ok := strings.CutPrefix(line, "$ redis-cli "); ok {
				block = append(block, example{args: strings.Fields(command)})
			} else {
				last := &block[len(block)-1]
				last.answer = append(last.answer, line)
			}
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// cli runs redis-cli as a shell script would.
func cli(t *testing.T, s *redistest.Server, args ...string) []string {
	t.Helper()
	binary := "redis-cli"
	if path := os.Getenv("REDIS_CLI"); path != "" {
		binary = path
	}
	cmd := exec.Command(binary, append([]string{"-p", strconv.Itoa(s.Port())}, args...)...)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal("redis-cli is not installed: run scripts/setup, or say where it is with REDIS_CLI=/path")
	}
	if err != nil {
		t.Fatalf("redis-cli %v: %v: %s", args, err, out)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return lines
}

// same compares answers. Sets have no order; an empty answer is an empty line.
func same(command string, got, want []string) bool {
	got, want = slices.Clone(got), slices.Clone(want)
	switch command {
	case "SMEMBERS", "SUNION", "SINTER":
		empty := func(s string) bool { return s == "" }
		got, want = slices.DeleteFunc(got, empty), slices.DeleteFunc(want, empty)
		slices.Sort(got)
		slices.Sort(want)
	case "SORT":
		pairs := func(list []string) []string {
			var out []string
			for pair := range slices.Chunk(list, 2) {
				out = append(out, strings.Join(pair, " "))
			}
			slices.Sort(out)
			return out
		}
		got, want = pairs(got), pairs(want)
	}
	return slices.Equal(got, want)
}

// The commands in the documentation answer what it says, at each point of its story.
func TestContractWithTheWebApplication(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	one, two := openNode(t, server, "chat-1"), openNode(t, server, "chat-2")
	p1, both := []string{"p1"}, []string{"p1", "p2"}
	set := func(s *Store, user, conn string, show storage.Show, priority int8, projects []string) {
		c := say(user, conn, show)
		c.Priority = priority
		if _, err := s.Set(t.Context(), c, projects); err != nil {
			t.Fatal(err)
		}
	}
	set(one, "ann", "desk", storage.Busy, 5, both)
	set(two, "ann", "phone", storage.Leave, 0, both)
	set(two, "bob", "1", storage.Online, 0, p1)
	set(one, "cyd", "1", storage.Offline, 0, p1)
	before := map[int]func(){ // what happens before a block of commands
		4: func() { mustRemove(t, one, "ann", "desk") },
		5: func() {
			err := errors.Join(two.Leave(t.Context(), "ann", "p1"), one.Join(t.Context(), "dan", "p2"))
			if err != nil {
				t.Fatal(err)
			}
			set(one, "cyd", "1", storage.Online, 0, p1)
		},
		6: func() {
			mustRemove(t, two, "ann", "phone")
			mustRemove(t, two, "bob", "1")
			mustRemove(t, one, "cyd", "1")
		},
	}
	blocks := examples(t, "../../docs/redis-keys.md")
	if len(blocks) != 7 {
		t.Fatalf("%d blocks of commands in the documentation, want 7", len(blocks))
	}
	for i, block := range blocks {
		if f := before[i]; f != nil {
			f()
		}
		for _, e := range block {
			if got := cli(t, server, e.args...); !same(e.args[0], got, e.answer) {
				t.Errorf("block %d: %v answers %q, the documentation says %q", i, e.args, got, e.answer)
			}
		}
	}
}

// The rights for the web application are enough for it, and for nothing else.
func TestRightsOfTheWebApplication(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/redis-keys.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\nACL SETUSER ")
	line, _, _ := strings.Cut(rest, "\n")
	if !ok {
		t.Fatal("no ACL SETUSER in the documentation")
	}
	server := redistest.Start(t)
	s := openNode(t, server, "n1")
	mustSet(t, s, "ann", "1", storage.Busy, "p1")
	cli(t, server, append([]string{"ACL", "SETUSER"}, strings.Fields(line)...)...)
	as := []string{"--user", "web", "--pass", "secret", "--no-auth-warning"}
	for command, want := range map[string]string{
		"SMEMBERS wt_proj_online_users:p1":       "ann",
		"MGET wt_user_presence:ann":              "2",
		"SREM wt_proj_online_users:p1 ann":       "NOPERM",
		"SET wt_user_presence:ann 0":             "NOPERM",
		"HGETALL wt_sess:ann":                    "NOPERM",
		"SORT wt_proj_online_users:p1 BY nosort": "NOPERM",
	} {
		got := strings.Join(cli(t, server, append(as, strings.Fields(command)...)...), " ")
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %s", command, got, want)
		}
	}
}

// Other names are used wherever the documentation says so, and none of the defaults.
func TestOtherNames(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server, "n1", func(c *Config) {
		c.Keys = Keys{OnlineUsers: "app:on:", Presence: "app:state:", Prefix: "rc."}
	})
	mustSet(t, s, "ann", "1", storage.Busy, "p")
	if _, err := s.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := cli(t, server, "SMEMBERS", "app:on:p"); !slices.Equal(got, []string{"ann"}) {
		t.Errorf("the online set is %q", got)
	}
	if got := cli(t, server, "GET", "app:state:ann"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("the state is %q", got)
	}
	if got := cli(t, server, "--scan", "--pattern", "wt_*"); len(got) != 0 {
		t.Errorf("keys of the default names: %q", got)
	}
}

// The rights that the documentation gives are enough.
func TestRightsInTheDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/redis-keys.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "rollcall's own user: `")
	rules, _, _ := strings.Cut(rest, "`")
	if !ok || !strings.HasPrefix(rules, "~wt_*") {
		t.Fatalf("no rights in the documentation: %q", rules)
	}
	server := redistest.Start(t, redistest.ACL("secret", "rollcall", "word", rules))
	s := openNode(t, server, "n1", func(c *Config) { c.Username, c.Password = "rollcall", "word" })
	mustSet(t, s, "ann", "1", storage.Busy, "p")
	if found, err := s.reconcile(t.Context()); err != nil || found != (repairs{}) {
		t.Errorf("reconcile: %+v, %v", found, err)
	}
	if _, err := s.reap(t.Context(), "n2", 1); err != nil {
		t.Error(err)
	}
	if err := s.Publish(t.Context(), "n2", []byte("x")); !errors.Is(err, storage.ErrNobody) {
		t.Errorf("Publish: %v, want ErrNobody", err)
	}
	redistest.Until(t, "ann is known", func() bool {
		users, _, err := s.OnlineIn(t.Context(), "p")
		return err == nil && len(users) == 1
	})
}
