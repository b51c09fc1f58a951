package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"rollcall/cmd/rollcall/app"
	"rollcall/conf"
	"rollcall/internal/redistest"
)

// configFile writes a configuration beside which nothing else is.
func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rollcall.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// With users in the product's MongoDB, the commands that change them say so, and ask
// nobody.
func TestUsersBelongToTheProduct(t *testing.T) {
	path := configFile(t, "storage: {users: mongo, mongo: {uri: \"mongodb://mongo.invalid\", database: product}}\n")
	c := "--config=" + path
	must(t, path+": no problems", "", "check-config", path)
	for _, args := range [][]string{
		{"user", "add", "alice"}, {"user", "passwd", "alice"}, {"user", "remove", "alice"}, {"user", "list"},
		{"project", "add", "p1"}, {"project", "remove", "p1"}, {"project", "list"},
		{"project", "join", "p1", "alice"}, {"project", "leave", "p1", "alice"}, {"import", "people.json"},
	} {
		fails(t, app.ErrProduct.Error(), "secret\n", append(args, c)...)
	}
	fails(t, "no server runs here", "", "project", "changed", "p1", c)
}

func TestProjectChangedCommand(t *testing.T) {
	c := "--config=" + writeConfig(t)
	must(t, "servers notice what changes in the embedded store by themselves", "", "project", "changed", "p1", "p2", c)
	must(t, "servers notice what changes in the embedded store by themselves", "", "project", "changed", "--all", c)
	fails(t, "arg", "", "project", "changed", c)
	fails(t, "unknown command", "", "project", "changed", "--all", "p1", c)
}

// check-config looks into the environment too.
func TestCheckConfigSecrets(t *testing.T) {
	path := configFile(t, "storage: {presence: redis, redis: {addresses: [\"redis.invalid:1\"]}}\ncluster: {node: one}\n")
	must(t, path+": no problems", "", "check-config", path)
	t.Setenv(conf.RedisPasswordVariable, "two\nlines")
	fails(t, conf.RedisPasswordVariable+": there is more than one line", "", "check-config", path)
}

// The binary on Redis: a killed server's name is free for its next life, which cleans up
// before it listens, and what ends politely leaves nothing.
func TestServeOnRedis(t *testing.T) {
	server := redistest.Start(t)
	r := server.Client(t)
	path := configFile(t, testConfig+"storage: {presence: redis, redis: {addresses: [\""+server.Addr()+"\"]}}\ncluster: {node: one}\n")
	leases := func(want string) {
		t.Helper()
		if got, err := r.Keys(t.Context(), "wt_node:*").Result(); strings.Join(got, " ") != want || err != nil {
			t.Fatalf("the leases are %q, %v", got, err)
		}
	}
	p := serve(t, path)
	leases("wt_node:one")
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err == nil {
		t.Fatal("it was not killed")
	}
	leases("wt_node:one")
	p = serve(t, path)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.await(t, regexp.MustCompile("msg=stopped"))
	if err := p.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, p.log.String())
	}
	leases("")
}
