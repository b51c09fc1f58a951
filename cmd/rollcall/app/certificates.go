package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/net/idna"

	"rollcall/conf"
)

// Certificates are the server's certificates, which can be read again while it
// runs.
type Certificates struct {
	c    *conf.Config
	log  *slog.Logger
	list atomic.Pointer[[]tls.Certificate]
}

// LoadCertificates reads the configured certificates, or makes a self-signed one
// in the data folder when there are none.
func LoadCertificates(c *conf.Config, log *slog.Logger) (*Certificates, error) {
	certs := &Certificates{c: c, log: log}
	return certs, certs.Reload()
}

// Reload reads the files again. On an error the old certificates stay.
func (c *Certificates) Reload() error {
	files := c.c.TLS.Certificates
	if len(files) == 0 {
		own, err := selfSigned(c.c.DataDir, c.c.Hosts, c.log)
		if err != nil {
			return fmt.Errorf("self-signed certificate: %w", err)
		}
		files = []conf.Certificate{own}
	}
	list := make([]tls.Certificate, len(files))
	for i, f := range files {
		cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return fmt.Errorf("certificate %s: %w", f.Cert, err)
		}
		if time.Now().After(cert.Leaf.NotAfter) {
			c.log.Warn("certificate has expired", "file", f.Cert, "at", cert.Leaf.NotAfter)
		}
		list[i] = cert
	}
	c.list.Store(&list)
	return nil
}

// Config is a TLS configuration that always presents the certificates as they
// are now.
func (c *Certificates) Config(t conf.TLS, protocols ...string) *tls.Config {
	least := uint16(tls.VersionTLS12)
	if t.MinVersion == conf.TLS13 {
		least = tls.VersionTLS13
	}
	return &tls.Config{MinVersion: least, NextProtos: protocols, GetCertificate: c.choose}
}

// choose returns the certificate that fits what the client asks for, else the
// first.
func (c *Certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	list := *c.list.Load()
	for i := range list {
		if hello.SupportsCertificate(&list[i]) == nil {
			return &list[i], nil
		}
	}
	return &list[0], nil
}

// selfSignedLife is how long a self-signed certificate is good for.
const selfSignedLife = 10 * 365 * 24 * time.Hour

// selfSigned returns the certificate in dir for the hosts, made if there is none
// that still fits.
func selfSigned(dir string, hosts []string, log *slog.Logger) (conf.Certificate, error) {
	files := conf.Certificate{
		Cert: filepath.Join(dir, "self-signed.crt"),
		Key:  filepath.Join(dir, "self-signed.key"),
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err == nil && fits(pair.Leaf, hosts) {
		return files, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return files, err
	}
	cert, key, err := makeCertificate(hosts)
	if err != nil {
		return files, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return files, err
	}
	if err := os.WriteFile(files.Key, key, 0o600); err != nil {
		return files, err
	}
	if err := os.WriteFile(files.Cert, cert, 0o644); err != nil {
		return files, err
	}
	log.Warn("made a self-signed certificate, which real clients will not trust", "file", files.Cert)
	return files, nil
}

func fits(leaf *x509.Certificate, hosts []string) bool {
	for _, h := range hosts {
		name, err := idna.Lookup.ToASCII(h)
		if err != nil || leaf.VerifyHostname(name) != nil {
			return false
		}
	}
	return time.Now().Before(leaf.NotAfter)
}

// makeCertificate makes a certificate for the hosts and its key, as PEM.
func makeCertificate(hosts []string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "rollcall"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(selfSignedLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		// Certificates hold A-labels (RFC 5280 section 7.2).
		name, err := idna.Lookup.ToASCII(h)
		if err != nil {
			return nil, nil, fmt.Errorf("host %q: %w", h, err)
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	return cert, key, nil
}

// secretSize is the length of the authenticator's secret in bytes.
const secretSize = 32

// loadSecret returns the secret that keeps the salts of unknown users the same
// over restarts.
func loadSecret(dir string) ([]byte, error) {
	path := filepath.Join(dir, "auth.secret")
	secret, err := os.ReadFile(path)
	switch {
	case err == nil && len(secret) == secretSize:
		return secret, nil
	case err == nil:
		return nil, fmt.Errorf("%s: %d bytes instead of %d", path, len(secret), secretSize)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	secret = make([]byte, secretSize)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	return secret, os.WriteFile(path, secret, 0o600)
}
