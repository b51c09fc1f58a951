package app

import (
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"rollcall/conf"
)

// serverName is the first name of the certificate that a client gets which asks
// for host.
func serverName(t *testing.T, c *Certificates, host string) string {
	t.Helper()
	client, srv := net.Pipe()
	defer client.Close()
	done := make(chan error, 1)
	go func() {
		defer srv.Close()
		done <- tls.Server(srv, c.Config(conf.TLS{MinVersion: conf.TLS13}, "xmpp-client")).Handshake()
	}()
	conn := tls.Client(client, &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: []string{"xmpp-client"}})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != "xmpp-client" {
		t.Errorf("ALPN %q", got)
	}
	return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
}

func writeCertificate(t *testing.T, dir string, hosts ...string) conf.Certificate {
	t.Helper()
	cert, key, err := makeCertificate(hosts)
	if err != nil {
		t.Fatal(err)
	}
	files := conf.Certificate{Cert: filepath.Join(dir, hosts[0]+".crt"), Key: filepath.Join(dir, hosts[0]+".key")}
	for name, data := range map[string][]byte{files.Cert: cert, files.Key: key} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestCertificateByName(t *testing.T) {
	dir := t.TempDir()
	c := conf.Default()
	c.TLS.Certificates = []conf.Certificate{writeCertificate(t, dir, "a.example"), writeCertificate(t, dir, "b.example", "c.example")}
	certs, err := LoadCertificates(c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"a.example": "a.example", "b.example": "b.example", "c.example": "b.example", "d.example": "a.example", "": "a.example"} {
		if got := serverName(t, certs, host); got != want {
			t.Errorf("%q got the certificate of %s, want %s", host, got, want)
		}
	}
	// A broken file leaves everything as it was.
	if err := os.WriteFile(c.TLS.Certificates[0].Key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := certs.Reload(); err == nil {
		t.Error("a broken key was read")
	}
	if got := serverName(t, certs, "a.example"); got != "a.example" {
		t.Errorf("after a failed reload: %s", got)
	}
}

func TestSelfSigned(t *testing.T) {
	c := conf.Default()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	c.Hosts = []string{"a.example"}
	load := func() *Certificates {
		t.Helper()
		certs, err := LoadCertificates(c, quiet())
		if err != nil {
			t.Fatal(err)
		}
		return certs
	}
	serial := func(certs *Certificates) string { return (*certs.list.Load())[0].Leaf.SerialNumber.String() }
	first := serial(load())
	if info, err := os.Stat(filepath.Join(c.DataDir, "self-signed.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v %v", info, err)
	}
	if again := serial(load()); again != first {
		t.Error("a restart made another certificate")
	}
	c.Hosts = []string{"a.example", "b.example", "bücher.example", "127.0.0.1"}
	certs := load()
	if again := serial(load()); again != serial(certs) {
		t.Error("a restart made another certificate for these hosts")
	}
	if serial(certs) == first {
		t.Error("the certificate does not name the new host")
	}
	if got := serverName(t, certs, "xn--bcher-kva.example"); got != "a.example" {
		t.Errorf("certificate of %s", got)
	}
}

func TestSecretIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := loadSecret(dir)
	if err != nil || len(first) != secretSize {
		t.Fatal(first, err)
	}
	again, err := loadSecret(dir)
	if err != nil || string(again) != string(first) {
		t.Errorf("another secret: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "auth.secret"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSecret(dir); err == nil {
		t.Error("a short secret was taken")
	}
}
