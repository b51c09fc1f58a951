package conf

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Redis is the store that keeps who is online for several servers, and for the web
// application beside them.
type Redis struct {
	// Addresses are host:port: one server, or, with MasterName, the Sentinels.
	Addresses  []string `yaml:"addresses"`
	MasterName string   `yaml:"master_name"`
	Username   string   `yaml:"username"`
	// PasswordFile and SentinelPasswordFile may be empty: see Config.RedisPassword.
	// Load makes them relative to the configuration file's folder.
	PasswordFile         string        `yaml:"password_file"`
	SentinelUsername     string        `yaml:"sentinel_username"`
	SentinelPasswordFile string        `yaml:"sentinel_password_file"`
	Database             int           `yaml:"database"`
	TLS                  RedisTLS      `yaml:"tls"`
	Timeout              time.Duration `yaml:"timeout"`   // to connect, to write and to read; less than a third of Lease
	Lease                time.Duration `yaml:"lease"`     // after which a silent server's users are gone
	Reconcile            time.Duration `yaml:"reconcile"` // between two comparisons of Redis with the truth
	Keys                 RedisKeys     `yaml:"keys"`
}

// RedisTLS is how connections to Redis are encrypted. Load makes the paths relative
// to the configuration file's folder.
type RedisTLS struct {
	Enabled    bool   `yaml:"enabled"`
	CAFile     string `yaml:"ca_file"` // PEM; empty for the system's
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`    // given if and only if CertFile is
	ServerName string `yaml:"server_name"` // empty for the host of each address
}

// RedisKeys name the keys. No key of one family can be one of another.
type RedisKeys struct {
	OnlineUsers string `yaml:"online_users"` // before a project's id
	Presence    string `yaml:"presence"`     // before a user's id
	Prefix      string `yaml:"prefix"`       // of all other keys and of the channels
}

// Cluster is what the servers that share a Redis know each other by.
type Cluster struct {
	Node string `yaml:"node"` // empty for the host's name: see Config.NodeName
}

func defaultRedis() Redis {
	return Redis{
		Addresses: []string{"127.0.0.1:6379"},
		Timeout:   500 * time.Millisecond, Lease: 30 * time.Second, Reconcile: 5 * time.Minute,
		Keys: RedisKeys{OnlineUsers: "wt_proj_online_users:", Presence: "wt_user_presence:", Prefix: "wt_"},
	}
}

// MaxNode is the longest name of a node in bytes.
const MaxNode = 64

// NodeName is the name of this server among those that share a Redis; hostname is
// that of the machine, which is it when none is configured.
func (c *Config) NodeName(hostname string) (string, error) {
	if c.Cluster.Node != "" {
		return c.Cluster.Node, nil
	}
	if problem := nodeProblem(hostname); problem != "" {
		return "", fmt.Errorf("the host's name cannot be the node's, write cluster.node: %s", problem)
	}
	return hostname, nil
}

// nodeProblem says why name is no name of a node.
func nodeProblem(name string) string {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	switch {
	case name == "":
		return "it is empty"
	case len(name) > MaxNode:
		return fmt.Sprintf("%s is longer than %d characters", quote(name), MaxNode)
	case strings.ContainsFunc(name, func(r rune) bool { return !ok(r) }):
		return quote(name) + " may have letters from a to z, digits, dots, hyphens and underscores only"
	}
	return ""
}

func checkCluster(c *Config, r *report) {
	const path = "cluster.node"
	if c.Cluster.Node == "" {
		return
	}
	if problem := nodeProblem(c.Cluster.Node); problem != "" {
		r.add(path, "%s", problem)
		return
	}
	if c.Storage.Presence != PresenceRedis {
		r.add(path, "has no effect, since only servers on one Redis know each other: write storage: {presence: redis}")
	}
}

func checkRedis(c *Config, r *report) {
	const path = "storage.redis"
	s := &c.Storage.Redis
	checkRedisAddresses(s, r)
	between(r, path+".database", s.Database, 0, 1<<16-1)
	between(r, path+".timeout", s.Timeout, 50*time.Millisecond, 5*time.Second)
	between(r, path+".lease", s.Lease, 3*time.Second, 10*time.Minute)
	between(r, path+".reconcile", s.Reconcile, 10*time.Second, 24*time.Hour)
	// The lease is renewed each third of it.
	if s.Timeout >= s.Lease/3 && !r.bad[path+".lease"] {
		r.add(path+".timeout", "%s is not shorter than a third of storage.redis.lease, %s: one slow answer would cost the lease", show(s.Timeout), show(s.Lease))
	}
	if s.MasterName == "" {
		for key, value := range map[string]string{"sentinel_username": s.SentinelUsername, "sentinel_password_file": s.SentinelPasswordFile} {
			if value != "" {
				r.add(path+"."+key, "has no effect without master_name, since there are no Sentinels then")
			}
		}
	}
	checkRedisTLS(&s.TLS, r)
	checkRedisKeys(&s.Keys, r)
}

func checkRedisAddresses(s *Redis, r *report) {
	const path = "storage.redis.addresses"
	if len(s.Addresses) == 0 {
		r.add(path, "no address: name one server, or the Sentinels and their master_name")
	}
	for i, text := range s.Addresses {
		if problem := redisAddressProblem(text); problem != "" {
			r.add(fmt.Sprintf("%s[%d]", path, i), "%s", problem)
		}
	}
	if len(s.Addresses) > 1 && s.MasterName == "" && !r.bad["storage.redis.master_name"] {
		r.add(path, "several addresses without master_name would be a Redis Cluster, which cannot be used, since one event changes keys of several slots at once (docs/redis-keys.md): name one server, or the Sentinels and their master_name")
	}
	if strings.ContainsFunc(s.MasterName, func(r rune) bool { return r <= ' ' || r == unicode.ReplacementChar }) {
		r.add("storage.redis.master_name", "%s is no name of a master: it is one word, after \"sentinel monitor\" in the Sentinels' configuration", quote(s.MasterName))
	}
}

// redisAddressProblem says why text is not where a Redis or a Sentinel listens.
func redisAddressProblem(text string) string {
	if strings.Contains(text, "://") {
		return "a URL, which cannot be used here: write host:port, as in redis.example.org:6379; credentials, database and TLS have options of their own, and a Redis Cluster cannot be used (docs/redis-keys.md)"
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return quote(text) + " is not an address: write host:port, as in redis.example.org:6379"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Sprintf("%s is not a port: write a number from 1 to 65535", quote(port))
	}
	if host == "" || strings.ContainsAny(host, " /@,") {
		return fmt.Sprintf("%s is neither an IP address nor a host name", quote(host))
	}
	return ""
}

func checkRedisTLS(t *RedisTLS, r *report) {
	const path = "storage.redis.tls"
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		r.add(path+".key_file", "missing: name the PEM file of the private key of cert_file")
	case t.CertFile == "" && t.KeyFile != "":
		r.add(path+".cert_file", "missing: name the PEM file of the certificate of key_file")
	}
	if t.Enabled {
		return
	}
	for key, value := range map[string]string{"ca_file": t.CAFile, "cert_file": t.CertFile, "key_file": t.KeyFile, "server_name": t.ServerName} {
		if value != "" {
			r.add(path+"."+key, "has no effect without enabled: true")
		}
	}
}

// maxKey bounds what goes out with every command.
const maxKey = 128

// checkRedisKeys notes names by which one key could be taken for another.
func checkRedisKeys(k *RedisKeys, r *report) {
	const path = "storage.redis.keys"
	named := []struct{ path, text string }{
		{path + ".online_users", k.OnlineUsers}, {path + ".presence", k.Presence}, {path + ".prefix", k.Prefix},
	}
	for _, n := range named {
		switch {
		case n.text == "":
			r.add(n.path, "empty: other keys in that database could be taken for these")
		case len(n.text) > maxKey:
			r.add(n.path, "longer than %d bytes", maxKey)
		case strings.ContainsFunc(n.text, func(r rune) bool { return r <= ' ' || unicode.IsControl(r) || r == unicode.ReplacementChar }):
			r.add(n.path, "%s contains a blank or a control character", quote(n.text))
		}
	}
	if r.bad[named[0].path] || r.bad[named[1].path] || r.bad[named[2].path] {
		return
	}
	if a, b := k.OnlineUsers, k.Presence; strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
		r.add(path+".presence", "%s and online_users, %s, begin alike: the key of a user could be that of a project", quote(b), quote(a))
	}
	for _, n := range named[:2] {
		rest, ok := strings.CutPrefix(n.text, k.Prefix)
		if !ok {
			if strings.HasPrefix(k.Prefix, n.text) {
				r.add(n.path, "%s is how storage.redis.keys.prefix, %s, begins: its keys could be taken for these", quote(n.text), quote(k.Prefix))
			}
			continue
		}
		for _, own := range redisFamilies {
			if strings.HasPrefix(rest, own) || strings.HasPrefix(own, rest) {
				r.add(n.path, "%s could be taken for the keys that begin with %s", quote(n.text), quote(cmp.Or(k.Prefix+own, k.Prefix)))
				break
			}
		}
	}
}

// redisFamilies are what follows RedisKeys.Prefix in the names of storage/redis.
var redisFamilies = [...]string{
	"sess:", "user_projs:", "proj_nodes:", "node:", "nodes", "nodesess:", "nodeprojs:", "fence:", "boot:", "reap:", "epoch", "rev",
}
