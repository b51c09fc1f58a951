package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"rollcall/storage"
)

const testHost = "example.com"

// fakeUsers keeps credentials in a map and can be told to fail.
type fakeUsers struct {
	mechanisms  []string
	credentials map[string]storage.Credentials
	err         error
	blocked     bool // everybody
}

func (u *fakeUsers) User(ctx context.Context, id string) (storage.User, error) {
	_, err := u.Credentials(ctx, id)
	return storage.User{ID: id}, err
}

func (u *fakeUsers) Credentials(ctx context.Context, id string) (storage.Credentials, error) {
	if u.err != nil {
		return storage.Credentials{}, u.err
	}
	if err := ctx.Err(); err != nil {
		return storage.Credentials{}, err
	}
	c, ok := u.credentials[id]
	if !ok {
		return storage.Credentials{}, storage.ErrNotFound
	}
	if u.blocked {
		return c, fmt.Errorf("%w: moved out", storage.ErrBlocked)
	}
	return c, nil
}

func (u *fakeUsers) Mechanisms() []string { return u.mechanisms }

// makeCredentials is NewCredentials, made once for all tests.
var makeCredentials = sync.OnceValues(func() (storage.Credentials, error) {
	return NewCredentials("pencil", MinIterations)
})

// newUsers knows people whose password is "pencil", and "plain" who has it in
// plain, and "bare" who has no credentials.
func newUsers(t testing.TB) *fakeUsers {
	t.Helper()
	return usersWith(t, makeCredentials)
}

// makeCheap is like makeCredentials, with few iterations: most tests are not about what
// a password costs.
var makeCheap = sync.OnceValues(func() (storage.Credentials, error) {
	var c storage.Credentials
	for _, m := range byStrength() {
		keys, err := derive(m, "pencil", []byte(strings.Repeat(m[6:9], 6)), 7)
		if err != nil {
			return c, err
		}
		c.SCRAM = append(c.SCRAM, keys)
	}
	return c, nil
})

// newCheapUsers is newUsers with makeCheap.
func newCheapUsers(t testing.TB) *fakeUsers {
	t.Helper()
	return usersWith(t, makeCheap)
}

func usersWith(t testing.TB, makeThem func() (storage.Credentials, error)) *fakeUsers {
	t.Helper()
	c, err := makeThem()
	if err != nil {
		t.Fatal(err)
	}
	return &fakeUsers{
		mechanisms: []string{scramSHA1, scramSHA512, scramSHA256},
		credentials: map[string]storage.Credentials{
			"user": c, "a,b": c, "a=b": c, "fußball": c,
			"plain": {Plain: "pencil"},
			"bare":  {},
		},
	}
}

func newAuthenticator(t testing.TB, u storage.Users) *Authenticator {
	t.Helper()
	a, err := New(Config{Users: u, Iterations: MinIterations, Secret: []byte(strings.Repeat("s", minSecret))})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func start(t testing.TB, a *Authenticator, mechanism string) *Exchange {
	t.Helper()
	e, f := a.Start(testHost, mechanism, true)
	if f != nil {
		t.Fatalf("Start(%s): %v", mechanism, f)
	}
	return e
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func decode(t testing.TB, s string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatalf("server sent %q: %v", s, err)
	}
	return string(b)
}

func TestNew(t *testing.T) {
	secret := make([]byte, minSecret)
	tests := []struct {
		name string
		c    Config
		ok   bool
	}{
		{"complete", Config{Users: &fakeUsers{}, Iterations: MinIterations, Secret: secret}, true},
		{"no users", Config{Iterations: MinIterations, Secret: secret}, false},
		{"few iterations", Config{Users: &fakeUsers{}, Iterations: MinIterations - 1, Secret: secret}, false},
		{"short secret", Config{Users: &fakeUsers{}, Iterations: MinIterations, Secret: secret[1:]}, false},
	}
	for _, tt := range tests {
		if a, err := New(tt.c); (err == nil) != tt.ok || (a != nil) != tt.ok {
			t.Errorf("%s: New = %v, %v", tt.name, a, err)
		}
	}
}

func TestMechanisms(t *testing.T) {
	tests := []struct {
		served []string
		plain  bool
		want   []string
	}{
		{[]string{scramSHA1, scramSHA512, scramSHA256}, true, []string{scramSHA512, scramSHA256, scramSHA1, plainName}},
		{[]string{scramSHA1, scramSHA512, scramSHA256}, false, []string{scramSHA512, scramSHA256, scramSHA1}},
		{[]string{"SCRAM-MD5", scramSHA1}, true, []string{scramSHA1, plainName}},
		{nil, true, []string{plainName}},
		{nil, false, nil},
	}
	for _, tt := range tests {
		a := newAuthenticator(t, &fakeUsers{mechanisms: tt.served})
		if got := a.Mechanisms(tt.plain); !slices.Equal(got, tt.want) {
			t.Errorf("store serves %v, plain %v: %v; want %v", tt.served, tt.plain, got, tt.want)
		}
	}
}

func TestStart(t *testing.T) {
	tests := []struct {
		mechanism string
		plain     bool
		want      string
	}{
		{scramSHA1, false, ""},
		{plainName, true, ""},
		{plainName, false, EncryptionRequired},
		{scramSHA256, true, InvalidMechanism}, // ours, but not the store's
		{scramSHA1 + "-PLUS", true, InvalidMechanism},
		{"scram-sha-1", true, InvalidMechanism},
		{"DIGEST-MD5", true, InvalidMechanism},
		{"", true, InvalidMechanism},
	}
	a := newAuthenticator(t, &fakeUsers{mechanisms: []string{scramSHA1}})
	for _, tt := range tests {
		e, f := a.Start(testHost, tt.mechanism, tt.plain)
		got := ""
		if f != nil {
			got = f.Condition
		}
		if got != tt.want || (e == nil) != (tt.want != "") {
			t.Errorf("Start(%q, plain %v): %v, %v; want %q", tt.mechanism, tt.plain, e, f, tt.want)
		}
	}
}

func TestNewCredentials(t *testing.T) {
	c, err := NewCredentials("pencil", MinIterations+1)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.SCRAM) != 3 || c.Plain != "" {
		t.Fatalf("got %d sets of keys, plain %q", len(c.SCRAM), c.Plain)
	}
	salts := map[string]bool{}
	for _, k := range c.SCRAM {
		if _, ok := keysFor(c, k.Mechanism); !ok || k.Iterations != MinIterations+1 || len(k.Salt) != saltSize {
			t.Errorf("%s: unusable keys", k.Mechanism)
		}
		salts[string(k.Salt)] = true
	}
	if len(salts) != 3 {
		t.Error("salts repeat")
	}
	for _, tt := range []struct {
		password   string
		iterations int
	}{{"", MinIterations}, {"a\x00b", MinIterations}, {"\xff", MinIterations}, {"pencil", MinIterations - 1}} {
		if _, err := NewCredentials(tt.password, tt.iterations); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("NewCredentials(%q, %d): %v; want ErrInvalid", tt.password, tt.iterations, err)
		}
	}
}

func TestVerify(t *testing.T) {
	// A non-ASCII space becomes a space, and a letter with a combining mark
	// one letter (RFC 8265 section 4.2.2).
	spaced, err := NewCredentials("a\u00a0be\u0301", MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	c, err := makeCredentials()
	if err != nil {
		t.Fatal(err)
	}
	only := func(mechanism string) storage.Credentials {
		k, _ := keysFor(c, mechanism)
		return storage.Credentials{SCRAM: []storage.SCRAMKeys{k}}
	}
	short := only(scramSHA256)
	short.SCRAM[0].StoredKey = nil
	raw, err := derive(scramSHA256, "a\x00b", make([]byte, saltSize), MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		c        storage.Credentials
		password string
		want     bool
	}{
		{"right", c, "pencil", true},
		{"wrong", c, "pencils", false},
		{"empty", c, "", false},
		{"SHA-1 only", only(scramSHA1), "pencil", true},
		{"SHA-256 only", only(scramSHA256), "pencil", true},
		{"SHA-512 only", only(scramSHA512), "pencil", true},
		{"SHA-512 only, wrong", only(scramSHA512), "Pencil", false},
		{"prepared", spaced, "a b\u00e9", true},
		{"as it was typed", spaced, "a\u00a0be\u0301", true},
		{"plain", storage.Credentials{Plain: "pencil"}, "pencil", true},
		{"plain, wrong", storage.Credentials{Plain: "pencil"}, "penci", false},
		{"plain, prepared", storage.Credentials{Plain: "a\u00a0b"}, "a b", true},
		{"plain decides alone", storage.Credentials{Plain: "other", SCRAM: c.SCRAM}, "pencil", false},
		{"forbidden, plain", storage.Credentials{Plain: "a\x00b"}, "a\x00b", false},
		{"forbidden, keys", storage.Credentials{SCRAM: []storage.SCRAMKeys{raw}}, "a\x00b", false},
		{"nothing stored", storage.Credentials{}, "pencil", false},
		{"nothing stored, empty", storage.Credentials{}, "", false},
		{"broken keys", short, "pencil", false},
		{"unknown keys", storage.Credentials{SCRAM: []storage.SCRAMKeys{{Mechanism: "SCRAM-MD5"}}}, "pencil", false},
	}
	for _, tt := range tests {
		if got := Verify(tt.c, tt.password); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
