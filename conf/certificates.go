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
		chain, ok1 := r.pemFile(path+".cert", cert.Cert)
		key, ok2 := r.pemFile(path+".key", cert.Key)
		if ok1 {
			if problem := certificateProblem(chain); problem != "" {
				r.add(path+".cert", "%s: %s", quote(cert.Cert), problem)
				ok1 = false
			}
		}
		if !ok1 || !ok2 {
			continue
		}
		if _, err := tls.X509KeyPair(chain, key); err != nil {
			r.add(path+".key", "%s does not go with the certificate: %v", quote(cert.Key), err)
		}
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
