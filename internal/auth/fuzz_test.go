package auth

import (
	"encoding/base64"
	"testing"

	"rollcall/storage"
)

// FuzzStep feeds two messages to every mechanism: no panic, and nobody is
// logged in without the password.
func FuzzStep(f *testing.F) {
	for _, s := range [][2]string{
		{"\x00user\x00pencil", ""},
		{"user@example.com\x00user\x00x", "x"},
		{"n,,n=user,r=abc", "c=biws,r=abcN,p=AAAA"},
		{"y,a=u=2C@h,n=u=3D,r=abc,x=y", "c=eSws,r=abcN,x=y,p="},
		{"p=tls-exporter,,n=,r=", "c=,r=,p="},
		{"n,,m=1,n=\xff,r=\x00", ",,,"},
	} {
		f.Add(s[0], s[1])
	}
	keys := storage.Credentials{}
	for _, m := range byStrength() {
		k, err := derive(m, "never guessed", []byte("salt"), 1)
		if err != nil {
			f.Fatal(err)
		}
		keys.SCRAM = append(keys.SCRAM, k)
	}
	a := newAuthenticator(f, &fakeUsers{mechanisms: byStrength(), credentials: map[string]storage.Credentials{"user": keys}})
	a.iterations = 1 // for speed
	a.nonce = func() string { return "N" }
	f.Fuzz(func(t *testing.T, first, second string) {
		for _, mechanism := range a.Mechanisms(true) {
			for _, raw := range []bool{false, true} {
				e := start(t, a, mechanism)
				over := false
				for _, s := range []string{first, second, second} {
					if !raw {
						s = encode(s)
					}
					text, done, f := e.Step(t.Context(), s)
					if over && (!done || f == nil) {
						t.Fatalf("%s: went on after the end", mechanism)
					}
					if done && f == nil || e.Account().Local() != "" {
						t.Fatalf("%s: logged in as %q", mechanism, e.Account().Local())
					}
					if f != nil && (!done || f.Cause == nil || text != "" || len(f.User) > maxClaimed) {
						t.Fatalf("%s: %q, %v, %+v", mechanism, text, done, f)
					}
					if _, err := base64.StdEncoding.DecodeString(text); err != nil {
						t.Fatal(err)
					}
					over = done
				}
			}
		}
	})
}

func BenchmarkPlain(b *testing.B) {
	for _, user := range []string{"user", "plain", "nobody"} {
		b.Run(user, func(b *testing.B) {
			a := newAuthenticator(b, newUsers(b))
			text := encode("\x00" + user + "\x00pencil")
			b.ReportAllocs()
			for b.Loop() {
				e := start(b, a, plainName)
				if _, done, f := e.Step(b.Context(), text); !done || (f == nil) != (user != "nobody") {
					b.Fatal(f)
				}
			}
		})
	}
}

// BenchmarkScram is a whole exchange on the server's side, with a proof made
// beforehand.
func BenchmarkScram(b *testing.B) {
	for _, mechanism := range byStrength() {
		b.Run(mechanism, func(b *testing.B) {
			a := newAuthenticator(b, newUsers(b))
			a.nonce = func() string { return "N" }
			first := encode("n,,n=user,r=abc")
			reply, _, f := start(b, a, mechanism).Step(b.Context(), first)
			if f != nil {
				b.Fatal(f)
			}
			final := encode(finalMessage(b, mechanism, "pencil", "n,,", "n=user,r=abc", decode(b, reply), ""))
			b.ReportAllocs()
			for b.Loop() {
				e := start(b, a, mechanism)
				if _, _, f := e.Step(b.Context(), first); f != nil {
					b.Fatal(f)
				}
				if _, done, f := e.Step(b.Context(), final); !done || f != nil {
					b.Fatal(f)
				}
			}
		})
	}
}
