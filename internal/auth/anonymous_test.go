package auth

import (
	"strings"
	"testing"
)

func TestAnonymous(t *testing.T) {
	a, err := New(Config{
		Users: newCheapUsers(t), Iterations: MinIterations, Secret: []byte(strings.Repeat("s", minSecret)), Anonymous: []string{testHost},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, f := a.Start("example.net", anonymousName, true); f == nil || f.Condition != InvalidMechanism {
		t.Errorf("at another host: %v", f)
	}
	seen := make(map[string]bool)
	for _, tt := range []struct{ text, want string }{
		{"", ""}, {"=", ""}, {encode("sirhc"), ""}, {encode(strings.Repeat("ß", 255)), ""},
		{encode(strings.Repeat("ß", 256)), MalformedRequest}, {encode("\xff"), MalformedRequest}, {"!", IncorrectEncoding},
	} {
		e := start(t, a, anonymousName)
		reply, done, f := e.Step(t.Context(), tt.text)
		got := ""
		if f != nil {
			got = f.Condition
		}
		if got != tt.want || reply != "" || !done {
			t.Errorf("%.20q: %q, done %v, %v", tt.text, reply, done, f)
		}
		account := e.Account()
		if tt.want == "" && (!IsAnonymous(account.Local()) || account.Domain() != testHost || seen[account.Local()]) {
			t.Errorf("%.20q: the account is %q", tt.text, account)
		}
		seen[account.Local()] = true
	}
}

func TestIsAnonymous(t *testing.T) {
	for _, tt := range []struct {
		local string
		want  bool
	}{
		{"anonymous-abcdefghijklmnopqrstuvwxyz", true},
		{"anonymous-abcdefghijklmnopqrstuvwxy7", true},
		{"anonymous-abcdefghijklmnopqrstuvwxy", false},
		{"anonymous-abcdefghijklmnopqrstuvwxyz2", false},
		{"anonymous-abcdefghijklmnopqrstuvwxy1", false},
		{"abcdefghijklmnopqrstuvwxyz", false},
		{"anonymous", false}, {"", false},
	} {
		if got := IsAnonymous(tt.local); got != tt.want {
			t.Errorf("%q: %v", tt.local, got)
		}
	}
}
