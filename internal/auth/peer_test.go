package auth

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	xdg "github.com/xdg-go/scram"
	"mellium.im/sasl"

	"rollcall/storage"
)

// TestMelliumClient lets mellium's clients log in, each checking the server's
// signature.
func TestMelliumClient(t *testing.T) {
	a := newAuthenticator(t, newUsers(t))
	for _, m := range []sasl.Mechanism{sasl.Plain, sasl.ScramSha1, sasl.ScramSha256} {
		for _, tt := range []struct {
			user, password, authzid string
			condition               string
		}{
			{"user", "pencil", "", ""},
			{"a,b", "pencil", "", ""},
			{"a=b", "pencil", "", ""},
			{"user", "pencil", "user@example.com", ""},
			{"user", "pencils", "", NotAuthorized},
			{"nobody", "pencil", "", NotAuthorized},
			{"user", "pencil", "nobody@example.com", InvalidAuthzid},
		} {
			client := sasl.NewClient(m, sasl.Credentials(func() (user, password, identity []byte) {
				return []byte(tt.user), []byte(tt.password), []byte(tt.authzid)
			}))
			e := start(t, a, m.Name)
			f := converse(t, e, func(challenge string) string {
				_, out, err := client.Step([]byte(challenge))
				if err != nil {
					t.Fatalf("%s: client: %v", m.Name, err)
				}
				return string(out)
			})
			if conditionOf(f) != tt.condition || (f == nil) != (e.Account().Local() == tt.user) {
				t.Errorf("%s: %+v: user %q, %v", m.Name, tt, e.Account().Local(), f)
			}
		}
	}
}

// TestXdgClient does the same with another implementation, which has SHA-512.
func TestXdgClient(t *testing.T) {
	a := newAuthenticator(t, newUsers(t))
	for mechanism, gen := range map[string]xdg.HashGeneratorFcn{scramSHA1: xdg.SHA1, scramSHA256: xdg.SHA256, scramSHA512: xdg.SHA512} {
		for _, password := range []string{"pencil", "pen"} {
			client, err := gen.NewClient("user", password, "user@example.com")
			if err != nil {
				t.Fatal(err)
			}
			conv := client.NewConversation()
			e := start(t, a, mechanism)
			f := converse(t, e, func(challenge string) string {
				out, err := conv.Step(challenge)
				if err != nil {
					t.Fatalf("%s: client: %v", mechanism, err)
				}
				return out
			})
			if right := password == "pencil"; (f == nil) != right || conv.Valid() != right || (e.Account().Local() == "user") != right {
				t.Errorf("%s: %q: user %q, client content %v, %v", mechanism, password, e.Account().Local(), conv.Valid(), f)
			}
		}
	}
}

// converse runs client against e, additional data of the success included.
func converse(t *testing.T, e *Exchange, client func(string) string) *Failure {
	t.Helper()
	in := ""
	for range 4 {
		out, done, f := e.Step(t.Context(), encode(client(in)))
		if f != nil {
			return f
		}
		in = decode(t, out)
		if done {
			if in != "" {
				client(in)
			}
			return nil
		}
	}
	t.Fatal("no end")
	return nil
}

// TestUnknownUser sees that nothing a client is sent tells an unknown user from
// a known one.
func TestUnknownUser(t *testing.T) {
	a := newAuthenticator(t, newUsers(t))
	first := func(a *Authenticator, mechanism, user string) (salt, iterations string) {
		t.Helper()
		reply, _, f := talk(t, start(t, a, mechanism), encode("n,,n="+user+",r=abc"))
		if f != nil {
			t.Fatal(f)
		}
		parts := regexp.MustCompile(`^r=abc[A-Za-z0-9+/]{24},s=([A-Za-z0-9+/]{22}==),i=(\d+)$`).FindStringSubmatch(decode(t, reply))
		if parts == nil {
			t.Fatalf("server-first-message of %s: %q", user, decode(t, reply))
		}
		return parts[1], parts[2]
	}
	salts := map[string]string{}
	for _, mechanism := range byStrength() {
		_, known := first(a, mechanism, "user")
		for _, user := range []string{"nobody", "no one", "bare", "plain"} {
			salt, iterations := first(a, mechanism, user)
			again, _ := first(a, mechanism, user)
			if salt != again || iterations != known {
				t.Errorf("%s, %s: salts %s and %s, %s iterations instead of %s", mechanism, user, salt, again, iterations, known)
			}
			if other, seen := salts[salt]; seen {
				t.Errorf("%s, %s has the salt of %s", mechanism, user, other)
			}
			salts[salt] = mechanism + ", " + user
		}
		if salt, _ := first(a, mechanism, "NoBody"); salts[salt] != mechanism+", nobody" {
			t.Errorf("%s: another spelling of the name has another salt", mechanism)
		}
	}
	other, err := New(Config{Users: newUsers(t), Iterations: MinIterations, Secret: []byte(strings.Repeat("t", minSecret))})
	if err != nil {
		t.Fatal(err)
	}
	if salt, _ := first(other, scramSHA256, "nobody"); salts[salt] != "" {
		t.Error("salt does not depend on the secret")
	}
}

// TestUnknownUserWork sees that PLAIN derives the same key, which takes a
// hundred times as long as all the rest, for everyone whose login fails.
func TestUnknownUserWork(t *testing.T) {
	var work []string
	count := func(mechanism, password string, salt []byte, iterations int) (storage.SCRAMKeys, error) {
		work = append(work, fmt.Sprint(mechanism, " ", password, " ", len(salt), " ", iterations))
		return derive(mechanism, password, salt, 1) // the work is counted, not done
	}
	for _, tt := range []struct {
		served []string
		want   string
	}{
		{[]string{scramSHA1, scramSHA256, scramSHA512}, "SCRAM-SHA-256"},
		{[]string{scramSHA512, scramSHA1}, "SCRAM-SHA-1"},
		{[]string{scramSHA512}, "SCRAM-SHA-512"},
		{nil, "SCRAM-SHA-256"},
	} {
		u := newUsers(t)
		u.mechanisms = tt.served
		a := newAuthenticator(t, u)
		a.derive = count
		for _, user := range []string{"user", "nobody", "no one", "bare", "plain"} {
			for _, password := range []string{"wrong", "forbidden\x01"} {
				work = nil
				_, _, f := talk(t, start(t, a, plainName), encode("\x00"+user+"\x00"+password))
				want := []string{fmt.Sprint(tt.want, " ", password, " ", saltSize, " ", MinIterations)}
				if conditionOf(f) != NotAuthorized || !slices.Equal(work, want) {
					t.Errorf("store serves %v, %s: %v, work %q; want %q", tt.served, user, f, work, want)
				}
			}
		}
	}
	work = nil
	a := newAuthenticator(t, newUsers(t))
	a.derive = count
	if _, _, f := talk(t, start(t, a, plainName), encode("\x00plain\x00pencil")); f != nil || work != nil {
		t.Errorf("plain password: %v, work %q; want none", f, work)
	}
}

// TestConcurrent shares one Authenticator, for the race detector.
func TestConcurrent(t *testing.T) {
	a := newAuthenticator(t, newCheapUsers(t))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			e, f := a.Start(testHost, plainName, true)
			if f != nil {
				t.Error(f)
				return
			}
			password, want := "pencil", ""
			if i%2 == 1 {
				password, want = "pénçil", NotAuthorized
			}
			if _, _, f := e.Step(t.Context(), encode("\x00User\x00"+password)); conditionOf(f) != want {
				t.Error(f)
			}
		})
	}
	wg.Wait()
}
