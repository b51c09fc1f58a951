package auth

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"rollcall/storage"
)

func djangoSum(t testing.TB, password string) string {
	t.Helper()
	sum, err := pbkdf2.Key(sha256.New, password, []byte("salt"), 1, 32)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sum)
}

const (
	bcryptBody = "eel9mzvUWzhmUdltY7d1f.q7Tl7ovPrGAB7aizxUicGZsMg70by7C"
	b64Salt    = "4ySSowUEvlXqKFQ5s18xAg"
	b64Sum     = "0ejFQWI3IMn3TI/jeIWBnrcGzmm88nIyZHzlEf+H0oE"
)

// TestHashRefused sees that what cannot be checked, or at too high a cost, is refused before
// anything is spent on it, and that the error shows nothing of it.
func TestHashRefused(t *testing.T) {
	tail := "$" + b64Salt + "$" + b64Sum
	for _, hash := range []string{
		"", "$", "$$$$", "secret", "5f4dcc3b5aa765d61d8327deb882cf99", "$1$salt$qJH7.N4xYta3aEG/dfqo/0", "{SSHA}x",
		"$2x$04$" + bcryptBody, "$2$04$" + bcryptBody, "$2b$03$" + bcryptBody, "$2b$16$" + bcryptBody, "$2b$31$" + bcryptBody,
		"$2b$04$" + bcryptBody[1:], "$2b$04$" + bcryptBody + "x", "$2b$04$=" + bcryptBody[1:], "$2b$+4$" + bcryptBody, "$2b$4$" + bcryptBody + "x",
		"$argon2id$m=64,t=1,p=1" + tail, "$argon2id$v=16$m=64,t=1,p=1" + tail, "$argon2i$v=19$m=64,t=1,p=1" + tail, "$argon2d$v=19$m=64,t=1,p=1" + tail,
		"$argon2id$v=19$m=262145,t=1,p=1" + tail, "$argon2id$v=19$m=262144,t=9,p=1" + tail, "$argon2id$v=19$m=2147483647,t=2147483647,p=1" + tail,
		"$argon2id$v=19$m=64,t=2147483647,p=1" + tail, "$argon2id$v=19$m=7,t=1,p=1" + tail, "$argon2id$v=19$m=1024,t=1,p=65" + tail,
		"$argon2id$v=19$m=64,t=0,p=1" + tail, "$argon2id$v=19$m=64,t=1" + tail, "$argon2id$v=19$m=64,t=1,p=1,p=1" + tail, "$argon2id$v=19$m=64,m=64,p=1" + tail,
		"$argon2id$v=19$m=64,t=1,p=1$" + b64Salt, "$argon2id$v=19$m=64,t=1,p=1$AAAA$" + b64Sum, "$argon2id$v=19$m=64,t=1,p=1$" + b64Salt + "$AAAA",
		"$argon2id$v=19$m=64,t=1,p=1$" + b64Salt + "$" + b64Sum[:10] + "\n" + b64Sum[10:],
		"$scrypt$ln=16,r=8" + tail, "$scrypt$ln=0,r=8,p=1" + tail, "$scrypt$ln=25,r=1,p=1" + tail, "$scrypt$ln=22,r=8,p=1" + tail,
		"$scrypt$ln=14,r=8,p=33" + tail, "$scrypt$ln=1,r=1,p=1025" + tail, "$scrypt$ln=8,r=1024,p=1024" + tail, "$scrypt$ln=1,r=2147483647,p=1" + tail,
		"$scrypt$ln=4,r=8,p=1$$" + b64Sum, "$scrypt$ln=4,r=8,p=1$*$" + b64Sum, "scrypt$ln=4,r=8,p=1",
		"$pbkdf2-sha256$5000001" + tail, "$pbkdf2-sha256$0" + tail, "$pbkdf2-sha256$-1" + tail, "$pbkdf2-sha256$1_000" + tail, "$pbkdf2-md5$1000" + tail,
		"$pbkdf2_sha256$1000" + tail, "pbkdf2-sha256$1000" + tail, "pbkdf2$1000" + tail, "$pbkdf2-sha256$1000$" + b64Salt, "$pbkdf2-sha256$1000" + tail + "$",
		"pbkdf2_sha256$1000$$" + b64Sum, "$pbkdf2-sha256$1000$" + b64Salt + "$" + strings.Repeat("A", 1400), "$pbkdf2-sha256$1000$" + strings.Repeat("A", 5000) + "$" + b64Sum,
		"SCRAM-SHA-256$4096:" + b64Salt + "$" + b64Sum + ":" + b64Sum, // keys, not a hash
	} {
		scheme, err := Hashed(hash)
		if !errors.Is(err, storage.ErrInvalid) || scheme != "" {
			t.Errorf("%.80q: %q, %v", hash, scheme, err)
			continue
		}
		for _, secret := range []string{bcryptBody[:8], b64Salt[:8], b64Sum[:8], "5f4d", "qJH7"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%.80q: %v", hash, err)
			}
		}
		if Verify(storage.Credentials{Hash: hash}, "pencil") {
			t.Errorf("%.80q: let in", hash)
		}
	}
	for _, hash := range []string{ // at the limits
		"$2b$15$" + bcryptBody, "$argon2id$v=19$m=262144,t=8,p=64" + tail, "$argon2id$v=19$p=1,m=64,t=1" + tail,
		"$scrypt$ln=17,r=8,p=4" + tail, "$pbkdf2-sha256$5000000" + tail, "$pbkdf2-sha256$1" + tail + "=",
	} {
		if _, err := Hashed(hash); err != nil {
			t.Errorf("%s: %v", hash, err)
		}
	}
}

// hashUsers keeps nothing but hashes, of "pencil" and cheap, and cannot serve SCRAM.
func hashUsers() *fakeUsers {
	u := &fakeUsers{credentials: map[string]storage.Credentials{
		"broken": {Hash: "$2b$31$" + bcryptBody}, "empty": {},
	}}
	for _, v := range hashVectors() {
		if v.password == "pencil" && u.credentials[v.scheme].Hash == "" {
			u.credentials[v.scheme] = storage.Credentials{Hash: v.hash}
		}
	}
	return u
}

func plain(t testing.TB, a *Authenticator, user, password string) *Failure {
	t.Helper()
	_, done, f := start(t, a, plainName).Step(t.Context(), encode("\x00"+user+"\x00"+password))
	if !done {
		t.Fatal("not done")
	}
	return f
}

func TestPlainByHash(t *testing.T) {
	u := hashUsers()
	a := newAuthenticator(t, u)
	for _, tt := range []struct {
		user, password, condition string
		cause                     error
	}{
		{"bcrypt", "pencil", "", nil}, {"argon2id", "pencil", "", nil}, {"scrypt", "pencil", "", nil}, {"pbkdf2", "pencil", "", nil},
		{"bcrypt", "pencils", NotAuthorized, errWrongPassword}, {"argon2id", "pencils", NotAuthorized, errWrongPassword},
		{"scrypt", "pencils", NotAuthorized, errWrongPassword}, {"pbkdf2", "pencils", NotAuthorized, errWrongPassword},
		{"broken", "pencil", NotAuthorized, errHash}, {"nobody", "pencil", NotAuthorized, storage.ErrNotFound},
		{"empty", "pencil", NotAuthorized, errNoKeys},
	} {
		f := plain(t, a, tt.user, tt.password)
		if conditionOf(f) != tt.condition || f != nil && !errors.Is(f, tt.cause) {
			t.Errorf("%s, %s: %v", tt.user, tt.password, f)
		}
	}
	if got := strings.Join(a.Mechanisms(true), " "); got != plainName {
		t.Errorf("offered: %s", got)
	}
	for _, m := range byStrength() {
		if _, f := a.Start(testHost, m, true); conditionOf(f) != InvalidMechanism {
			t.Errorf("%s: %v", m, f)
		}
	}
	if names := a.Mechanisms(false); len(names) != 0 {
		t.Errorf("offered in the clear: %v", names)
	}
}

// TestPrecedence sees which of several credentials decides, and that somebody with a hash
// alone cannot come by SCRAM where others can.
func TestPrecedence(t *testing.T) {
	keys, err := makeCheap()
	if err != nil {
		t.Fatal(err)
	}
	u := newCheapUsers(t)
	hash := "pbkdf2_sha256$1$salt$" + djangoSum(t, "hashed")
	u.credentials["keys"] = storage.Credentials{SCRAM: keys.SCRAM, Hash: hash}
	u.credentials["text"] = storage.Credentials{Plain: "text", Hash: hash}
	u.credentials["hash"] = storage.Credentials{Hash: hash, SCRAM: []storage.SCRAMKeys{{Mechanism: "SCRAM-MD5"}}}
	a := newAuthenticator(t, u)
	for user, right := range map[string]string{"keys": "pencil", "text": "text", "hash": "hashed"} {
		for _, password := range []string{"pencil", "text", "hashed"} {
			if f := plain(t, a, user, password); (f == nil) != (password == right) || Verify(u.credentials[user], password) != (password == right) {
				t.Errorf("%s, %s: %v", user, password, f)
			}
		}
	}
	e := start(t, a, scramSHA256)
	reply, _, f := e.Step(t.Context(), encode("n,,n=hash,r=abc"))
	if f != nil {
		t.Fatal(f)
	}
	_, _, f = e.Step(t.Context(), encode(finalMessage(t, scramSHA256, "hashed", "n,,", "n=hash,r=abc", decode(t, reply), "")))
	if conditionOf(f) != NotAuthorized || !errors.Is(f, errNoKeys) {
		t.Errorf("SCRAM with a hash: %v", f)
	}
}

// TestBlocked sees that who knows the password, and nobody else, is told.
func TestBlocked(t *testing.T) {
	u := newCheapUsers(t)
	a := newAuthenticator(t, u)
	u.blocked = true
	u.credentials["hash"] = storage.Credentials{Hash: "pbkdf2_sha256$1$salt$" + djangoSum(t, "pencil")}
	for _, user := range []string{"user", "plain", "hash"} {
		if f := plain(t, a, user, "pencil"); conditionOf(f) != AccountDisabled || !errors.Is(f, storage.ErrBlocked) {
			t.Errorf("%s: %v", user, f)
		}
		if f := plain(t, a, user, "pencils"); conditionOf(f) != NotAuthorized || !errors.Is(f, errWrongPassword) {
			t.Errorf("%s, wrong password: %v", user, f)
		}
	}
	for password, want := range map[string]string{"pencil": AccountDisabled, "pencils": NotAuthorized} {
		e := start(t, a, scramSHA1)
		reply, _, f := e.Step(t.Context(), encode("n,,n=user,r=abc"))
		if f != nil {
			t.Fatal(f)
		}
		_, done, f := e.Step(t.Context(), encode(finalMessage(t, scramSHA1, password, "n,,", "n=user,r=abc", decode(t, reply), "")))
		if !done || conditionOf(f) != want || e.Account().Local() != "" {
			t.Errorf("SCRAM, %s: %v", password, f)
		}
	}
}

// TestUnknownUserHash sees that people who do not exist cost what the last one did who
// does, in a store that has hashes alone.
func TestUnknownUserHash(t *testing.T) {
	u := hashUsers()
	a := newAuthenticator(t, u)
	var keys int
	a.derive = func(mechanism, password string, salt []byte, iterations int) (storage.SCRAMKeys, error) {
		keys++
		return derive(mechanism, password, salt, iterations)
	}
	plain(t, a, "nobody", "x")
	if keys != 1 {
		t.Errorf("%d derivations while nothing is known", keys)
	}
	for _, scheme := range []string{"bcrypt", "argon2id", "scrypt", "pbkdf2"} {
		plain(t, a, scheme, "x")
		p := a.pattern.Load()
		if p == nil || p.scheme != scheme {
			t.Fatalf("%s: the pattern is %+v", scheme, p)
		}
		var asked []string
		spy := *p
		spy.matches = func(password string) (bool, error) {
			asked = append(asked, password)
			return true, nil // even so nobody may come in
		}
		for _, user := range []string{"nobody", "empty", "broken", "no one"} {
			a.pattern.Store(&spy)
			if f := plain(t, a, user, "pencil"); conditionOf(f) != NotAuthorized {
				t.Errorf("%s: %v", user, f)
			}
		}
		if len(asked) != 4 || keys != 1 {
			t.Errorf("%s: %d checks, %d derivations", scheme, len(asked), keys)
		}
		if ok, err := p.matches("pencil"); ok || err != nil {
			t.Errorf("%s: the decoy is the hash: %v", scheme, err)
		}
	}
}

// FuzzHash reads anything: what is accepted is within the limits.
func FuzzHash(f *testing.F) {
	for _, v := range hashVectors() {
		f.Add(v.hash)
	}
	for _, v := range []string{"", "$", "$2b$", "$argon2id$v=19$m=,t=,p=$$", "$scrypt$ln=99,r=9,p=9$AAAA$AAAA", "pbkdf2_sha256$1$$"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHash(s)
		if err != nil {
			if !errors.Is(err, storage.ErrInvalid) || h != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		d := h.decoy()
		if h.memory < 0 || h.memory > maxMemory || len(s) > maxHash || d.scheme != h.scheme || d.memory != h.memory {
			t.Fatalf("%+v, decoy %+v", h, d)
		}
	})
}

// BenchmarkHash is what a check costs with the parameters of common libraries, and at the
// limits.
func BenchmarkHash(b *testing.B) {
	tail := "$" + b64Salt + "$" + b64Sum
	for _, hash := range []string{
		"$2b$10$" + bcryptBody, "$2b$12$" + bcryptBody, "$2b$15$" + bcryptBody,
		"$argon2id$v=19$m=19456,t=2,p=1" + tail, "$argon2id$v=19$m=65536,t=3,p=4" + tail, "$argon2id$v=19$m=262144,t=8,p=1" + tail,
		"$scrypt$ln=14,r=8,p=1" + tail, "$scrypt$ln=17,r=8,p=1" + tail, "$scrypt$ln=17,r=8,p=4" + tail,
		"$pbkdf2-sha256$29000" + tail, "$pbkdf2-sha256$1000000" + tail, "$pbkdf2-sha256$5000000" + tail, "$pbkdf2-sha512$5000000" + tail,
	} {
		b.Run(strings.TrimSuffix(strings.TrimSuffix(hash, tail), bcryptBody), func(b *testing.B) {
			b.ReportAllocs()
			h, err := parseHash(hash)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if ok, err := h.matches("pencils"); ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
