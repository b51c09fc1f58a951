package conf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// checkCertificates notes certificates that cannot be loaded. c's paths are
// resolved.
func checkCertificates(c *Config, r *report) {
	for i, cert := range c.TLS.Certificates {
		path := fmt.Sprintf("tls.certificates[%d]", i)
		if r.bad[path] {
			continue
		}
		r.pair(path+".cert", cert.Cert, path+".key", cert.Key)
	}
}

// checkRedisCertificates notes certificates for Redis that cannot be loaded. c's
// paths are resolved.
func checkRedisCertificates(c *Config, r *report) {
	const path = "storage.redis.tls"
	t := c.Storage.Redis.TLS
	r.certificate(path+".ca_file", t.CAFile)
	r.pair(path+".cert_file", t.CertFile, path+".key_file", t.KeyFile)
}

// certificate reads a file with a certificate, unless there is none to read.
func (r *report) certificate(path, name string) ([]byte, bool) {
	chain, ok := r.pemFile(path, name)
	if !ok {
		return nil, false
	}
	if problem := certificateProblem(chain); problem != "" {
		r.add(path, "%s: %s", quote(name), problem)
		return nil, false
	}
	return chain, true
}

// pair notes a certificate and a key that cannot be used together.
func (r *report) pair(certPath, cert, keyPath, key string) {
	chain, ok1 := r.certificate(certPath, cert)
	private, ok2 := r.pemFile(keyPath, key)
	if !ok1 || !ok2 {
		return
	}
	if _, err := tls.X509KeyPair(chain, private); err != nil {
		r.add(keyPath, "%s does not go with the certificate: %v", quote(key), err)
	}
}

// pemFile is readable for a path that checkPaths has looked at.
func (r *report) pemFile(path, name string) ([]byte, bool) {
	if name == "" {
		return nil, false // checkPaths has said so
	}
	return r.readable(path, name, "a PEM file")
}

// readable reads a file that is there, readable and of a sensible size, as what it is
// meant to be, for example "a PEM file".
func (r *report) readable(path, name, what string) ([]byte, bool) {
	info, err := os.Stat(name)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxFile) {
		r.add(path, "%s is not %s", quote(name), what)
		return nil, false
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.add(path, "%s does not exist", quote(name))
	case errors.Is(err, fs.ErrPermission):
		r.add(path, "%s cannot be read: permission denied", quote(name))
	case err != nil:
		r.add(path, "%s cannot be read: %v", quote(name), err)
	}
	return data, err == nil
}

func certificateProblem(chain []byte) string {
	for {
		var block *pem.Block
		if block, chain = pem.Decode(chain); block == nil {
			return "no PEM certificate in it"
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "the certificate cannot be parsed: " + err.Error()
		}
		return ""
	}
}
