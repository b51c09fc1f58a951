package app

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"rollcall/conf"
	"rollcall/internal/redistest"
	"rollcall/internal/transcript"
	"rollcall/storage"
	"rollcall/storage/redis"
)

// node makes the options of one server on loopback: without a grace, with the embedded
// store at file.
func node(t *testing.T, name, file string, at *redistest.Server, change ...func(*conf.Config)) Options {
	t.Helper()
	c := conf.Default()
	c.DataDir = t.TempDir()
	c.Listen = conf.Listen{
		TCP:     []conf.TCPListener{{Address: "127.0.0.1:0", TLS: conf.TLSNone, PlainWithoutTLS: true}},
		Metrics: "127.0.0.1:0",
	}
	c.Modules.Projects.Grace = 0
	c.Storage.SQLite = conf.SQLite{Path: file, Passwords: conf.PasswordsPlain}
	if at != nil {
		c.Cluster.Node = name
		c.Storage.Presence = conf.PresenceRedis
		c.Storage.Redis.Addresses = []string{at.Addr()}
	}
	for _, f := range change {
		f(c)
	}
	return Options{Config: c, Log: quiet()}
}

// begin starts a server that the end of the test stops.
func begin(t *testing.T, o Options) *App {
	t.Helper()
	a, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, a) })
	return a
}

func end(t *testing.T, a *App) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := a.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// fill makes alice and bob the members of p1.
func fill(t *testing.T, a *App) {
	t.Helper()
	var records []storage.Record
	for _, id := range []string{"alice", "bob"} {
		records = append(records, storage.Record{User: &storage.UserRecord{
			User: storage.User{ID: id}, Credentials: &storage.Credentials{Plain: "secret"},
		}})
	}
	records = append(records, storage.Record{Project: &storage.ProjectRecord{
		Project: storage.Project{ID: "p1"}, Members: []string{"alice", "bob"},
	}})
	if err := a.Store().Import(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

// client is somebody who is connected.
type client struct {
	transcript.Client
	t   *testing.T
	jid string
}

// login connects somebody over TCP.
func login(t *testing.T, a *App, address, password string) *client {
	t.Helper()
	tcp, _ := a.Addresses()
	target := transcript.Target{Kind: transcript.KindTCP, Address: tcp[0].String(), Host: "localhost", Timeout: 20 * time.Second}
	c, bound, err := transcript.SignIn(t.Context(), target, transcript.Account{JID: address, Password: password, Mechanism: "PLAIN"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// It may be over already.
		_ = c.Drop()
	})
	return &client{c, t, bound}
}

// say sends elements.
func (c *client) say(elements string) {
	c.t.Helper()
	if err := c.Send(elements); err != nil {
		c.t.Fatal(err)
	}
}

// hear waits for an element that contains all texts, in whatever else comes.
func (c *client) hear(texts ...string) *etree.Element {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	for {
		e, err := c.Receive(ctx)
		if err != nil {
			c.t.Fatalf("%s waits for %q: %v", c.jid, texts, err)
		}
		found := true
		for _, text := range texts {
			found = found && strings.Contains(transcript.Text(e), text)
		}
		if found {
			return e
		}
	}
}

// What the web application reads is true while a user is online, and afterwards.
func TestRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	r := server.Client(t)
	a := begin(t, node(t, "one", "rollcall.db", server))
	fill(t, a)
	alice := login(t, a, "alice@localhost/web", "secret")
	alice.say("<presence><show>dnd</show></presence>")
	alice.hear("<presence", "alice@localhost/web")
	if got, err := r.Get(t.Context(), "wt_user_presence:alice").Result(); got != "2" || err != nil {
		t.Errorf("the state is %q, %v", got, err)
	}
	if got, err := r.SMembers(t.Context(), "wt_proj_online_users:p1").Result(); len(got) != 1 || got[0] != "alice" || err != nil {
		t.Errorf("online are %q, %v", got, err)
	}
	if n, err := r.Exists(t.Context(), "wt_node:one").Result(); n != 1 || err != nil {
		t.Errorf("no lease: %d, %v", n, err)
	}
	metrics := observe(t, a)
	if !strings.Contains(metrics, "rollcall_redis_") {
		t.Errorf("no metrics of Redis in\n%s", metrics)
	}
	end(t, a)
	if got, err := r.Get(t.Context(), "wt_user_presence:alice").Result(); got != "0" || err != nil {
		t.Errorf("after the end the state is %q, %v", got, err)
	}
	for _, key := range []string{"wt_proj_online_users:p1", "wt_sess:alice", "wt_node:one"} {
		if n, err := r.Exists(t.Context(), key).Result(); n != 0 || err != nil {
			t.Errorf("after the end there is %s, %v", key, err)
		}
	}
}

// observe reads the metrics.
func observe(t *testing.T, a *App) string {
	t.Helper()
	families, err := a.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names strings.Builder
	for _, f := range families {
		names.WriteString(f.GetName() + "\n")
	}
	return names.String()
}

// Two servers on one Redis are one community.
func TestTwoServers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	file := filepath.Join(t.TempDir(), "rollcall.db")
	one := begin(t, node(t, "one", file, server))
	fill(t, one)
	alice := login(t, one, "alice@localhost/web", "secret")
	alice.say("<presence/>")
	alice.hear("<presence", "alice@localhost/web")
	// The second one starts while alice is there, and knows her before it listens.
	two := begin(t, node(t, "two", file, server))
	bob := login(t, two, "bob@localhost/phone", "secret")
	bob.say("<presence/>")
	bob.hear("<presence", "from='alice@localhost/web'")
	alice.hear("<presence", "from='bob@localhost/phone'")
	bob.say("<message to='alice@localhost' type='chat'><body>hello</body></message>")
	alice.hear("<message", "hello")
	alice.say("<message to='bob@localhost/phone' type='chat'><body>good day</body></message>")
	bob.hear("<message", "good day")
	end(t, one)
	bob.hear("<presence", "type='unavailable'", "from='alice@localhost/web'")
	if n, err := server.Client(t).Exists(t.Context(), "wt_sess:alice", "wt_node:one").Result(); n != 0 || err != nil {
		t.Errorf("of the one that ended %d keys are left, %v", n, err)
	}
}

// A name belongs to one server.
func TestNameInUse(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	begin(t, node(t, "one", "rollcall.db", server))
	_, err := Start(t.Context(), node(t, "one", "rollcall.db", server))
	if !errors.Is(err, redis.ErrName) {
		t.Fatalf("the second one: %v", err)
	}
	for _, want := range []string{server.Addr(), `"one"`, "cluster.node"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in %v", want, err)
		}
	}
}

// Credentials and TLS come from where the configuration says.
func TestRedisCredentials(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.ACL("default-secret", "rollcall", "pass-word", "~wt_* &wt_* +@all"))
	o := node(t, "one", "rollcall.db", server, func(c *conf.Config) { c.Storage.Redis.Username = "rollcall" })
	variable := func(password string) func(string) string {
		return func(name string) string {
			if name == conf.RedisPasswordVariable {
				return password
			}
			return ""
		}
	}
	for password, want := range map[string]string{"wrong": "WRONGPASS", "": "NOAUTH"} {
		o.Getenv = variable(password)
		start := time.Now()
		_, err := Start(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), server.Addr()) {
			t.Errorf("password %q: %v", password, err)
		}
		if d := time.Since(start); d > storesTime {
			t.Errorf("it took %s to say so", d)
		}
	}
	o.Getenv = variable("pass-word\n")
	begin(t, o)
}

func TestRedisTLS(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.WithTLS())
	o := node(t, "one", "rollcall.db", server, func(c *conf.Config) {
		c.Storage.Redis.TLS = conf.RedisTLS{Enabled: true, CAFile: caFile(t, server), ServerName: "localhost"}
	})
	begin(t, o)
	o = node(t, "two", "rollcall.db", server, func(c *conf.Config) {
		c.Storage.Redis.TLS = conf.RedisTLS{Enabled: true, ServerName: "localhost"}
	})
	if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with an unknown certificate: %v", err)
	}
}

// caFile holds the certificate that a server shows.
func caFile(t *testing.T, server *redistest.Server) string {
	t.Helper()
	conn, err := tls.Dial("tcp", server.Addr(), server.TLS())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	block := pem.Block{Type: "CERTIFICATE", Bytes: conn.ConnectionState().PeerCertificates[0].Raw}
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&block), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// closedPort is where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// A store that is not there ends the start, with its address and without secrets.
func TestStoresMissing(t *testing.T) {
	t.Parallel()
	nobody := closedPort(t)
	for name, change := range map[string]func(*conf.Config){
		"redis": func(c *conf.Config) {
			c.Storage.Presence, c.Storage.Redis.Addresses = conf.PresenceRedis, []string{nobody}
			c.Cluster.Node = "one"
		},
		"mongodb": func(c *conf.Config) {
			c.Storage.Users, c.Storage.Mongo.Database = conf.UsersMongo, "product"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := node(t, "one", "rollcall.db", nil, change)
			o.Getenv = func(name string) string {
				if name == conf.MongoURIVariable {
					return "mongodb://reader:hush@" + nobody + "/"
				}
				return ""
			}
			start := time.Now()
			a, err := Start(t.Context(), o)
			if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), name+" at "+nobody) {
				t.Errorf("%v", err)
			}
			if strings.Contains(fmt.Sprint(err), "hush") {
				t.Error("the error shows the password")
			}
			if d := time.Since(start); d < storesTime/2 || d > storesTime+5*time.Second {
				t.Errorf("it took %s", d)
			}
			if a.tcp != nil {
				t.Error("it listened")
			}
		})
	}
}

// What is wrong is found without asking a store.
func TestCheck(t *testing.T) {
	o := node(t, "one", "rollcall.db", nil, func(c *conf.Config) {
		c.Storage.Users, c.Storage.Presence, c.Storage.Mongo.Database = conf.UsersMongo, conf.PresenceRedis, "product"
		c.Storage.Redis.Addresses = []string{"redis.invalid:1"}
		c.Storage.Mongo.URI = "mongodb://mongo.invalid:1"
		c.Cluster.Node = "one"
	})
	if err := Check(o.Config, func(string) string { return "" }); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
	err := Check(o.Config, func(name string) string { return "two\nlines of " + name })
	for _, want := range []string{conf.RedisPasswordVariable, conf.SentinelPasswordVariable, conf.MongoURIVariable} {
		if err == nil || !strings.Contains(err.Error(), want+": ") {
			t.Errorf("no %s in %v", want, err)
		}
	}
	o.Config.Storage.Mongo.URI = "mongodb://a,b/?directConnection=true"
	if err := Check(o.Config, func(string) string { return "" }); err == nil {
		t.Error("the driver would not take that address")
	}
}

// What the configuration accepts, storage/mongo does.
func TestCheckAgrees(t *testing.T) {
	for _, text := range []string{
		"",
		"users: {login: name, name: name}",
		"users: {scheme: plain, allow_plain: true}",
		"users: {scheme: scram, mechanisms: [SCRAM-SHA-1, SCRAM-SHA-256, SCRAM-SHA-512]}",
		"users: {scheme: pbkdf2, hash: {salt: salt, digest: sha512, iterations_field: rounds, encoding: base64-text}}",
		"users: {scheme: scrypt, hash: {salt: salt, n: 32768}}",
		"users: {id: uid, id_type: objectid, blocked: state.blocked, updated_at: at, filter: {deleted: {$ne: true}}}",
		"projects: {member: uid, member_type: integer, filter: {$or: [{a: 1}, {b: {$oid: 507f1f77bcf86cd799439011}}]}}",
		"watch: {mode: stream}, timeout: 100ms, server_selection: 10s, pool: 1, create_indexes: true",
		"watch: {mode: poll}, users: {database: a}, projects: {database: b}",
		"watch: {mode: none}, cache: {age: 1s, projects: 100, users: 100, bytes: 1MiB}",
	} {
		c, err := conf.Parse("test", []byte("storage: {users: mongo, mongo: {database: product, "+text+"}}\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if err := Check(c, func(string) string { return "" }); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
