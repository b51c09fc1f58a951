package auth

import (
	"errors"
	"testing"

	"rollcall/internal/jid"
	"rollcall/storage"
)

func TestKnown(t *testing.T) {
	users := newUsers(t)
	a := newAuthenticator(t, users)
	for address, want := range map[string]string{
		"plain@example.com": "", "nobody@example.com": NotAuthorized, "plain@example.org": NotAuthorized,
		"plain@example.com/web": NotAuthorized, "example.com": NotAuthorized,
	} {
		j, err := jid.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if f := a.Known(t.Context(), "example.com", j); f != nil {
			got = f.Condition
		}
		if got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	users.err = storage.ErrUnavailable
	j, err := jid.Parse("alice@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if f := a.Known(t.Context(), "example.com", j); f == nil || f.Condition != TemporaryAuthFailure || !errors.Is(f, storage.ErrUnavailable) {
		t.Errorf("without a store: %v", f)
	}
}
