package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/jid"
	"rollcall/storage"
)

// talk steps through an exchange with the texts given, until it is over.
func talk(t testing.TB, e *Exchange, texts ...string) (last string, done bool, f *Failure) {
	t.Helper()
	for i, text := range texts {
		last, done, f = e.Step(t.Context(), text)
		if f != nil && !done {
			t.Fatal("failed but not done")
		}
		if done {
			if i < len(texts)-1 {
				t.Fatalf("done after %d of %d messages: %v", i+1, len(texts), f)
			}
			break
		}
	}
	return last, done, f
}

func TestPlain(t *testing.T) {
	a := newAuthenticator(t, newCheapUsers(t))
	tests := []struct{ name, text, user, condition string }{
		{"right", encode("\x00user\x00pencil"), "user", ""},
		{"stored in plain", encode("\x00plain\x00pencil"), "plain", ""},
		{"own bare JID", encode("user@example.com\x00user\x00pencil"), "user", ""},
		{"own bare JID, other case", encode("USER@Example.COM\x00User\x00pencil"), "user", ""},
		{"comma", encode("\x00a,b\x00pencil"), "a,b", ""},
		{"beyond ASCII", encode("fußball@example.com\x00fußball\x00pencil"), "fußball", ""},
		{"wrong password", encode("\x00user\x00pencils"), "", NotAuthorized},
		{"wrong password, stored in plain", encode("\x00plain\x00pencils"), "", NotAuthorized},
		{"forbidden password", encode("\x00user\x00pen\x01cil"), "", NotAuthorized},
		{"unknown user", encode("\x00nobody\x00pencil"), "", NotAuthorized},
		{"user without credentials", encode("\x00bare\x00pencil"), "", NotAuthorized},
		{"name is an address", encode("\x00user@example.com\x00pencil"), "", NotAuthorized},
		{"name is no local part", encode("\x00us er\x00pencil"), "", NotAuthorized},
		{"long name", encode("\x00" + strings.Repeat("u", 5000) + "\x00pencil"), "", NotAuthorized},
		{"foreign authzid", encode("plain@example.com\x00user\x00pencil"), "", InvalidAuthzid},
		{"foreign host", encode("user@example.org\x00user\x00pencil"), "", InvalidAuthzid},
		{"full JID", encode("user@example.com/r\x00user\x00pencil"), "", InvalidAuthzid},
		{"authzid without host", encode("user\x00user\x00pencil"), "", InvalidAuthzid},
		{"authzid that is none", encode("@\x00user\x00pencil"), "", InvalidAuthzid},
		{"foreign authzid, wrong password", encode("plain@example.com\x00user\x00x"), "", NotAuthorized},
		{"foreign authzid, unknown user", encode("plain@example.com\x00nobody\x00x"), "", NotAuthorized},
		{"no data", "=", "", MalformedRequest},
		{"one separator", encode("user\x00pencil"), "", MalformedRequest},
		{"three separators", encode("\x00user\x00pen\x00cil"), "", MalformedRequest},
		{"no name", encode("\x00\x00pencil"), "", MalformedRequest},
		{"no password", encode("\x00user\x00"), "", MalformedRequest},
		{"name not UTF-8", encode("\x00us\xffer\x00pencil"), "", MalformedRequest},
		{"password not UTF-8", encode("\x00user\x00\xff"), "", MalformedRequest},
		{"not base64", "*", "", IncorrectEncoding},
		{"no padding", strings.TrimRight(encode("\x00user\x00pencil7"), "="), "", IncorrectEncoding},
		{"stray bits", "AHVzZXIAcGVuY2ls" + "QR==", "", IncorrectEncoding},
		{"line end", encode("\x00user\x00pencil") + "\n", "", IncorrectEncoding},
		{"equals sign first", "=AAA", "", IncorrectEncoding},
		{"too long", encode("\x00user\x00" + strings.Repeat("x", 12300)), "", MalformedRequest},
		{"not too long", encode("\x00user\x00" + strings.Repeat("x", 12000)), "", NotAuthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := start(t, a, plainName)
			text, done, f := talk(t, e, tt.text)
			if !done || text != "" || e.Account().Local() != tt.user || conditionOf(f) != tt.condition {
				t.Fatalf("%q, %v, user %q, %v; want user %q, %q", text, done, e.Account().Local(), f, tt.user, tt.condition)
			}
			if f != nil && (f.Cause == nil || len(f.User) > maxClaimed || strings.Contains(f.Error(), "pencil")) {
				t.Errorf("failure %+v", f)
			}
			if _, done, f := e.Step(t.Context(), tt.text); !done || f == nil {
				t.Error("step after the end did not fail")
			}
			if e.Account().Local() != tt.user {
				t.Error("step after the end changed the user")
			}
		})
	}
}

// TestPlainCause sees that the log can tell what the client cannot.
func TestPlainCause(t *testing.T) {
	a := newAuthenticator(t, newCheapUsers(t))
	for user, want := range map[string]error{
		"user": errWrongPassword, "nobody": storage.ErrNotFound, "no one": jid.ErrMalformed,
	} {
		_, _, f := talk(t, start(t, a, plainName), encode("\x00"+user+"\x00x"))
		if conditionOf(f) != NotAuthorized || !errors.Is(f, want) || f.User != user {
			t.Errorf("%s: %v, user %q; want %v", user, f, f.User, want)
		}
	}
}

func conditionOf(f *Failure) string {
	if f == nil {
		return ""
	}
	return f.Condition
}

// TestInitialResponse sees that a client may let itself be asked for the first
// message, once.
func TestInitialResponse(t *testing.T) {
	a := newAuthenticator(t, newCheapUsers(t))
	for _, tt := range []struct{ mechanism, text string }{
		{plainName, encode("\x00user\x00pencil")},
		{scramSHA1, encode("n,,n=user,r=abc")},
	} {
		e := start(t, a, tt.mechanism)
		if text, done, f := e.Step(t.Context(), ""); text != "" || done || f != nil {
			t.Errorf("%s: empty start: %q, %v, %v", tt.mechanism, text, done, f)
		}
		if _, _, f := e.Step(t.Context(), tt.text); f != nil {
			t.Errorf("%s: first message: %v", tt.mechanism, f)
		}
		for _, none := range []string{"", "="} {
			e = start(t, a, tt.mechanism)
			_, done, f := talk(t, e, "", none)
			if !done || conditionOf(f) != MalformedRequest {
				t.Errorf("%s: %q as answer to the empty challenge: %v, %v", tt.mechanism, none, done, f)
			}
		}
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func TestStoreErrors(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errors.New("disk on fire")
	tests := []struct {
		name string
		ctx  context.Context
		err  error
		want error
	}{
		{"unavailable", t.Context(), fmt.Errorf("no route: %w", storage.ErrUnavailable), storage.ErrUnavailable},
		{"anything else", t.Context(), broken, broken},
		{"context ended in the store", t.Context(), context.DeadlineExceeded, context.DeadlineExceeded},
		{"context ended", ended, nil, context.Canceled},
	}
	for _, tt := range tests {
		for mechanism, text := range map[string]string{
			plainName: encode("\x00user\x00pencil"),
			scramSHA1: encode("n,,n=user,r=abc"),
		} {
			u := newCheapUsers(t)
			u.err = tt.err
			e := start(t, newAuthenticator(t, u), mechanism)
			_, done, f := e.Step(tt.ctx, text)
			if !done || conditionOf(f) != TemporaryAuthFailure || !errors.Is(f, tt.want) || e.Account().Local() != "" {
				t.Errorf("%s, %s: %v, %v", tt.name, mechanism, done, f)
			}
		}
	}
}

func TestAbort(t *testing.T) {
	e := start(t, newAuthenticator(t, newCheapUsers(t)), scramSHA1)
	if _, _, f := talk(t, e, encode("n,,n=user,r=abc")); f != nil {
		t.Fatal(f)
	}
	if f := e.Abort(); f.Condition != Aborted || f.User != "user" {
		t.Errorf("Abort: %+v", f)
	}
	if _, done, f := e.Step(t.Context(), "="); !done || f == nil {
		t.Error("step after Abort did not fail")
	}
}

func TestClaimed(t *testing.T) {
	for in, want := range map[string]string{
		"user":                              "user",
		"":                                  "",
		"a\xffb":                            "a\ufffdb",
		strings.Repeat("x", 1000):           strings.Repeat("x", maxClaimed),
		strings.Repeat("x", 255) + "ä":      strings.Repeat("x", 255),
		strings.Repeat("a\xff", maxClaimed): strings.Repeat("a\ufffd", maxClaimed/4),
	} {
		if got := claimed(in); got != want {
			t.Errorf("claimed(%.20q…) = %q", in, got)
		}
	}
}
