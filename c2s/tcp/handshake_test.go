//go:build unix

package tcp_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"rollcall/internal/testkit"
)

// BenchmarkHandshake measures what a TLS handshake costs the process, by the kind of
// key in the certificate, the groups that the client knows, and whether it comes back
// with a ticket; the clients are in another process. A connection, a stream header and its
// answer are in it.
func BenchmarkHandshake(b *testing.B) {
	classic := []tls.CurveID{tls.X25519}
	for _, v := range []struct {
		name string
		crowd
	}{
		{"usual", crowd{}},
		{"classic", crowd{Groups: classic}},
		{"resumed", crowd{Resume: true}},
		{"TLS12", crowd{Groups: classic, Version: tls.VersionTLS12}},
	} {
		b.Run("ecdsa-p256/"+v.name, func(b *testing.B) { shake(b, v.crowd, ecdsaKey(b)) })
		b.Run("rsa-2048/"+v.name, func(b *testing.B) { shake(b, v.crowd, rsaKey(b)) })
	}
}

func ecdsaKey(b *testing.B) crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	return key
}

func rsaKey(b *testing.B) crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	return key
}

func shake(b *testing.B, c crowd, key crypto.Signer) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	h := start(b, options{direct: true, plain: true, certificate: &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}})
	c.Handshakes = 20
	h.clients(b, c)()
	c.Handshakes = b.N
	b.ReportAllocs()
	before := testkit.CPUTime(b)
	b.ResetTimer()
	h.clients(b, c)()
	b.StopTimer()
	b.ReportMetric((testkit.CPUTime(b)-before)*1e6/float64(b.N), "cpu-us/op")
}
