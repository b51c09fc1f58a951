package auth

import (
	"strings"
	"testing"

	xdg "github.com/xdg-go/scram"

	"rollcall/storage"
)

// BenchmarkPLAIN is an exchange with the user's keys or password at hand. Hashing, which
// is all but nothing of it for a plain password, is what BenchmarkDerive says.
func BenchmarkPLAIN(b *testing.B) {
	for _, o := range []struct{ name, user string }{{"stored=plain", "plain"}, {"stored=keys", "user"}} {
		b.Run(o.name, func(b *testing.B) {
			a := newAuthenticator(b, newUsers(b))
			text := encode("\x00" + o.user + "\x00pencil")
			b.ReportAllocs()
			for b.Loop() {
				e, f := a.Start(testHost, plainName, true)
				if f != nil {
					b.Fatal(f)
				}
				if _, done, f := e.Step(b.Context(), text); !done || f != nil {
					b.Fatal(f)
				}
			}
		})
	}
}

// BenchmarkSCRAM is the server's part of an exchange: the client has hashed already.
func BenchmarkSCRAM(b *testing.B) {
	for _, o := range []struct {
		mechanism string
		hash      xdg.HashGeneratorFcn
	}{{scramSHA1, xdg.SHA1}, {scramSHA256, xdg.SHA256}, {scramSHA512, xdg.SHA512}} {
		b.Run("mechanism="+o.mechanism, func(b *testing.B) {
			a := newAuthenticator(b, newUsers(b))
			// The client hashes once, as the nonces are always the same.
			client, err := o.hash.NewClient("user", "pencil", "")
			if err != nil {
				b.Fatal(err)
			}
			conv := client.WithNonceGenerator(func() string { return "client" }).NewConversation()
			a.nonce = func() string { return strings.Repeat("n", 24) }
			first := clientText(b, conv, "")
			reply, _, f := benchStart(b, a, o.mechanism).Step(b.Context(), first)
			if f != nil {
				b.Fatal(f)
			}
			final := clientText(b, conv, reply)
			b.ReportAllocs()
			for b.Loop() {
				e := benchStart(b, a, o.mechanism)
				if _, done, f := e.Step(b.Context(), first); done || f != nil {
					b.Fatal(f)
				}
				if _, done, f := e.Step(b.Context(), final); !done || f != nil {
					b.Fatal(f)
				}
			}
		})
	}
}

func benchStart(b *testing.B, a *Authenticator, mechanism string) *Exchange {
	e, f := a.Start(testHost, mechanism, true)
	if f != nil {
		b.Fatal(f)
	}
	return e
}

func clientText(b *testing.B, conv *xdg.ClientConversation, challenge string) string {
	in, err := decode64(challenge)
	if err != nil {
		b.Fatal(err)
	}
	out, err := conv.Step(string(in))
	if err != nil {
		b.Fatal(err)
	}
	return encode(out)
}

// BenchmarkDerive is what a password costs the processor: with PLAIN the server, with
// SCRAM the client. The iterations are the default of auth.scram_iterations.
func BenchmarkDerive(b *testing.B) {
	for _, mechanism := range byStrength() {
		b.Run("mechanism="+mechanism+"/iterations=4096", func(b *testing.B) {
			salt := make([]byte, saltSize)
			var keys storage.SCRAMKeys
			for b.Loop() {
				var err error
				if keys, err = derive(mechanism, "pencil", salt, MinIterations); err != nil {
					b.Fatal(err)
				}
			}
			if len(keys.StoredKey) == 0 {
				b.Fatal("no keys")
			}
		})
	}
}
