package redistest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"rollcall/internal/testkit"
)

// Option says how a server differs.
type Option func(*Server)

// Config adds lines of redis.conf; they override those before them.
func Config(lines ...string) Option {
	return func(s *Server) { s.config = append(s.config, lines...) }
}

// AOF lets the server keep what it has on disk, each command before it is answered.
func AOF() Option {
	return Config("appendonly yes", "appendfsync always")
}

// ACL makes the password of the user "default" required, and adds one user with the
// rules given ("~wt_* &wt_* +@all" for example). The server's own clients use default.
func ACL(defaultPassword, user, password, rules string) Option {
	return func(s *Server) {
		s.config = append(s.config, "requirepass "+defaultPassword,
			fmt.Sprintf("user %s on >%s %s", user, password, rules))
		s.user, s.pass = "default", defaultPassword
	}
}

// WithTLS lets the server speak TLS alone, with a certificate for "localhost" that
// Server.TLS trusts.
func WithTLS() Option {
	return func(s *Server) {
		s.t.Helper()
		config, err := testkit.Certificate("localhost")
		if err != nil {
			s.t.Fatal(err)
		}
		cert := config.Certificates[0]
		key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		if err != nil {
			s.t.Fatal(err)
		}
		for name, block := range map[string]*pem.Block{
			"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
			"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
		} {
			if err := os.WriteFile(filepath.Join(s.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
				s.t.Fatal(err)
			}
		}
		s.config = append(s.config,
			"tls-cert-file "+filepath.Join(s.dir, "cert.pem"), "tls-key-file "+filepath.Join(s.dir, "key.pem"),
			"tls-ca-cert-file "+filepath.Join(s.dir, "cert.pem"), "tls-auth-clients no", "tls-replication yes")
		s.tls = &tls.Config{RootCAs: config.RootCAs, ServerName: config.ServerName}
	}
}

// ReplicaOf makes the server a replica of another.
func ReplicaOf(master *Server) Option {
	return func(s *Server) {
		s.config = append(s.config, fmt.Sprintf("replicaof 127.0.0.1 %d", master.port))
		if master.pass != "" {
			s.config = append(s.config, "masterauth "+master.pass)
		}
	}
}

// sentinel makes the server a Sentinel that watches a master and takes it for dead
// after a quarter of a second.
func sentinel(name string, master *Server) Option {
	return func(s *Server) {
		s.args = []string{"--sentinel"}
		// Nothing of a server's own configuration is known to a Sentinel.
		s.config = []string{
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 1", name, master.port),
			"sentinel down-after-milliseconds " + name + " 250",
			"sentinel failover-timeout " + name + " 2000",
		}
		if master.pass != "" {
			s.config = append(s.config, strings.Join([]string{"sentinel auth-pass", name, master.pass}, " "))
		}
	}
}
