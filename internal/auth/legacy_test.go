package auth

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"testing"

	"rollcall/storage"
)

// TestDigestVector is the example of XEP-0078 section 3.1.
func TestDigestVector(t *testing.T) {
	const id, password, digest = "3EE948B0", "Calli0pe", "48fc78be9ec8f86d8ce1c39c320c97c21d62334d"
	users := func(c storage.Credentials, err error) storage.Users {
		return oneUser{c, err}
	}
	keys, err := NewCredentials(password, MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	empty := sha1.Sum([]byte(id))
	for _, test := range []struct {
		name    string
		users   storage.Users
		digests bool
		digest  string
		want    string // condition; empty for a login
	}{
		{"right", users(storage.Credentials{Plain: password}, nil), true, digest, ""},
		{"not kept, says the configuration", users(storage.Credentials{Plain: password}, nil), false, digest, NotAuthorized},
		{"not kept", users(keys, nil), true, digest, NotAuthorized},
		{"of no password", users(keys, nil), true, hex.EncodeToString(empty[:]), NotAuthorized},
		{"wrong", users(storage.Credentials{Plain: "other"}, nil), true, digest, NotAuthorized},
		{"upper case", users(storage.Credentials{Plain: password}, nil), true, "48FC78BE9EC8F86D8CE1C39C320C97C21D62334D", NotAuthorized},
		{"unknown", users(storage.Credentials{}, storage.ErrNotFound), true, hex.EncodeToString(empty[:]), NotAuthorized},
		{"blocked", users(storage.Credentials{Plain: password}, storage.ErrBlocked), true, digest, AccountDisabled},
		{"blocked and wrong", users(storage.Credentials{Plain: "other"}, storage.ErrBlocked), true, digest, NotAuthorized},
		{"not now", users(storage.Credentials{}, storage.ErrUnavailable), true, digest, TemporaryAuthFailure},
	} {
		a, err := New(Config{Users: test.users, Iterations: MinIterations, Secret: make([]byte, minSecret), Digests: test.digests})
		if err != nil {
			t.Fatal(err)
		}
		account, f := a.Digest(context.Background(), "shakespeare.lit", "Bill", id, test.digest)
		switch {
		case test.want == "" && (f != nil || account.String() != "bill@shakespeare.lit"):
			t.Errorf("%s: %s, %v", test.name, account, f)
		case test.want != "" && (f == nil || f.Condition != test.want || f.User != "Bill" || !account.IsZero()):
			t.Errorf("%s: %s, %v, want %s", test.name, account, f, test.want)
		}
	}
}

// oneUser is a store with one answer.
type oneUser struct {
	credentials storage.Credentials
	err         error
}

func (u oneUser) User(context.Context, string) (storage.User, error) { return storage.User{}, u.err }

func (u oneUser) Credentials(context.Context, string) (storage.Credentials, error) {
	return u.credentials, u.err
}

func (u oneUser) Mechanisms() []string { return nil }

func TestPassword(t *testing.T) {
	keys, err := NewCredentials("Calli0pe", MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Users: oneUser{keys, nil}, Iterations: MinIterations, Secret: make([]byte, minSecret)})
	if err != nil {
		t.Fatal(err)
	}
	if account, f := a.Password(context.Background(), "shakespeare.lit", "bill", "Calli0pe"); f != nil || account.String() != "bill@shakespeare.lit" {
		t.Errorf("%s, %v", account, f)
	}
	for _, wrong := range []string{"wrong", "", "a\x00b"} {
		if _, f := a.Password(context.Background(), "shakespeare.lit", "bill", wrong); f == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}
