package auth

import (
	"crypto/pbkdf2"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"rollcall/internal/jid"
	"rollcall/storage"
)

// finalMessage makes client-final-message as a client with that password would,
// from the two messages before it; extra follows the nonce.
func finalMessage(t testing.TB, mechanism, password, binding, bare, serverFirst, extra string) string {
	t.Helper()
	var nonce, salt string
	var iterations int
	if _, err := fmt.Sscanf(strings.ReplaceAll(serverFirst, ",", " "), "r=%s s=%s i=%d", &nonce, &salt, &iterations); err != nil {
		t.Fatalf("server-first-message %q: %v", serverFirst, err)
	}
	newHash := hashOf(mechanism)
	prepared, err := prepare(password)
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(newHash, prepared, []byte(decode(t, salt)), iterations, newHash().Size())
	if err != nil {
		t.Fatal(err)
	}
	clientKey := mac(newHash, salted, "Client Key")
	without := "c=" + encode(binding) + ",r=" + nonce + extra
	signature := mac(newHash, digest(newHash, clientKey), bare+","+serverFirst+","+without)
	subtle.XORBytes(signature, signature, clientKey)
	return without + ",p=" + base64.StdEncoding.EncodeToString(signature)
}

// TestVectors runs the exchanges printed in RFC 5802 section 5 and RFC 7677
// section 3.
func TestVectors(t *testing.T) {
	tests := []struct {
		mechanism, salt, nonce   string
		first, reply, final, end string
	}{
		{
			scramSHA1, "QSXCR+Q6sek8bf92", "3rfcNHYJY1ZVvWVs7j",
			"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
		{
			scramSHA256, "W22ZaJ0SNY7soEsUEjb6gQ==", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	}
	for _, tt := range tests {
		t.Run(tt.mechanism, func(t *testing.T) {
			keys, err := derive(tt.mechanism, "pencil", []byte(decode(t, tt.salt)), 4096)
			if err != nil {
				t.Fatal(err)
			}
			a := newAuthenticator(t, &fakeUsers{
				mechanisms:  []string{tt.mechanism},
				credentials: map[string]storage.Credentials{"user": {SCRAM: []storage.SCRAMKeys{keys}}},
			})
			a.nonce = func() string { return tt.nonce }
			e := start(t, a, tt.mechanism)
			reply, done, f := talk(t, e, encode(tt.first))
			if f != nil || done || decode(t, reply) != tt.reply {
				t.Fatalf("first: %q, %v, %v; want %q", decode(t, reply), done, f, tt.reply)
			}
			if e.Account().Local() != "" {
				t.Error("user before success")
			}
			end, done, f := talk(t, e, encode(tt.final))
			if f != nil || !done || decode(t, end) != tt.end {
				t.Fatalf("final: %q, %v, %v; want %q", decode(t, end), done, f, tt.end)
			}
			if e.Account().Local() != "user" {
				t.Errorf("user %q", e.Account().Local())
			}
		})
	}
}

func TestScramFirst(t *testing.T) {
	a := newAuthenticator(t, newCheapUsers(t))
	tests := []struct{ name, message, condition string }{
		{"plainest", "n,,n=user,r=abc", ""},
		{"no channel binding offered", "y,,n=user,r=abc", ""},
		{"authzid", "n,a=user@example.com,n=user,r=abc", ""},
		{"extension", "n,,n=user,r=abc,x=y,Z=1", ""},
		{"unknown user", "n,,n=nobody,r=abc", ""},
		{"name is no local part", "n,,n=us er,r=abc", ""},
		{"channel binding", "p=tls-exporter,,n=user,r=abc", MalformedRequest},
		{"mandatory extension", "n,,m=x,n=user,r=abc", MalformedRequest},
		{"mandatory extension behind", "n,,n=user,r=abc,m=x", MalformedRequest},
		{"empty", "", MalformedRequest},
		{"no gs2-header", "n=user,r=abc", MalformedRequest},
		{"one comma", "n,", MalformedRequest},
		{"two commas", "n,,", MalformedRequest},
		{"unknown flag", "x,,n=user,r=abc", MalformedRequest},
		{"authzid without a=", "n,user,n=user,r=abc", MalformedRequest},
		{"empty authzid", "n,a=,n=user,r=abc", MalformedRequest},
		{"no name", "n,,r=abc", MalformedRequest},
		{"empty name", "n,,n=,r=abc", MalformedRequest},
		{"bare equals sign", "n,,n=a=b,r=abc", MalformedRequest},
		{"equals sign at the end", "n,,n=a=,r=abc", MalformedRequest},
		{"cut escape", "n,,n=a=2,r=abc", MalformedRequest},
		{"bare equals sign in authzid", "n,a=x=,n=a,r=abc", MalformedRequest},
		{"no nonce", "n,,n=user", MalformedRequest},
		{"empty nonce", "n,,n=user,r=", MalformedRequest},
		{"nonce with space", "n,,n=user,r=a b", MalformedRequest},
		{"nonce beyond ASCII", "n,,n=user,r=ä", MalformedRequest},
		{"malformed extension", "n,,n=user,r=abc,1=x", MalformedRequest},
		{"empty extension", "n,,n=user,r=abc,", MalformedRequest},
		{"NUL", "n,,n=us\x00er,r=abc", MalformedRequest},
		{"not UTF-8", "n,,n=us\xffer,r=abc", MalformedRequest},
	}
	for _, tt := range tests {
		text := encode(tt.message)
		if text == "" {
			text = "="
		}
		reply, done, f := talk(t, start(t, a, scramSHA256), text)
		if conditionOf(f) != tt.condition || done != (f != nil) {
			t.Errorf("%s: %v, %v; want %q", tt.name, done, f, tt.condition)
		}
		if f == nil && !strings.HasPrefix(decode(t, reply), "r=abc") {
			t.Errorf("%s: server-first-message %q", tt.name, decode(t, reply))
		}
	}
}

func TestScramFinal(t *testing.T) {
	a := newAuthenticator(t, newCheapUsers(t))
	replace := func(old, new string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, new, 1) }
	}
	cut := func(s string) string { return s[:strings.Index(s, ",p=")] }
	tests := []struct {
		name, gs2, bare, binding, extra, password string
		change                                    func(string) string
		user, condition                           string
		cause                                     error
	}{
		{name: "right", user: "user"},
		{name: "other case", bare: "n=USER,r=abc", user: "user"},
		{name: "y flag", gs2: "y,,", user: "user"},
		{name: "own authzid", gs2: "n,a=User@EXAMPLE.com,", user: "user"},
		{name: "comma", gs2: "n,a=a=2Cb@example.com,", bare: "n=a=2Cb,r=abc", user: "a,b"},
		{name: "equals sign", gs2: "n,a=a=3Db@example.com,", bare: "n=a=3Db,r=abc", user: "a=b"},
		{name: "extensions", bare: "n=user,r=abc,x=1", extra: ",y=2,z=3==", user: "user"},
		{name: "wrong password", password: "pencils", condition: NotAuthorized, cause: errWrongPassword},
		{name: "unknown user", bare: "n=nobody,r=abc", condition: NotAuthorized, cause: storage.ErrNotFound},
		{name: "no such local part", bare: "n=us er,r=abc", condition: NotAuthorized, cause: jid.ErrMalformed},
		{name: "no keys", bare: "n=plain,r=abc", condition: NotAuthorized, cause: errNoKeys},
		{name: "no credentials", bare: "n=bare,r=abc", condition: NotAuthorized},
		{name: "foreign authzid", gs2: "n,a=plain@example.com,", condition: InvalidAuthzid},
		{name: "full JID", gs2: "n,a=user@example.com/r,", condition: InvalidAuthzid},
		{name: "foreign authzid, wrong password", gs2: "n,a=plain@example.com,", password: "x", condition: NotAuthorized},
		{name: "other binding", gs2: "y,,", binding: "n,,", condition: NotAuthorized, cause: errBinding},
		{name: "authzid left out of the binding", gs2: "n,a=user@example.com,", binding: "n,,", condition: NotAuthorized},
		{name: "other nonce", change: replace("r=abc", "r=abd"), condition: NotAuthorized, cause: errForeign},
		{name: "longer nonce, rightly signed", extra: "X", condition: NotAuthorized, cause: errForeign},
		{name: "long proof", change: func(s string) string { return cut(s) + ",p=" + encode(strings.Repeat("x", 33)) }, condition: NotAuthorized, cause: errProofLength},
		{name: "SHA-1's proof", change: func(s string) string { return cut(s) + ",p=" + encode(strings.Repeat("x", 20)) }, condition: NotAuthorized, cause: errProofLength},
		{name: "empty proof", change: func(s string) string { return cut(s) + ",p=" }, condition: NotAuthorized},
		{name: "no proof", change: cut, condition: MalformedRequest},
		{name: "proof not base64", change: func(s string) string { return cut(s) + ",p=!" }, condition: MalformedRequest},
		{name: "proof with line end", change: func(s string) string { return s + "\n" }, condition: MalformedRequest},
		{name: "something behind the proof", change: func(s string) string { return s + ",x=y" }, condition: MalformedRequest},
		{name: "mandatory extension", extra: ",m=1", condition: MalformedRequest, cause: errMandatory},
		{name: "malformed extension", extra: ",xy", condition: MalformedRequest},
		{name: "no binding", change: replace("c=", "d="), condition: MalformedRequest},
		{name: "no nonce", change: replace(",r=", ",s="), condition: MalformedRequest},
		{name: "empty", change: func(string) string { return "" }, condition: MalformedRequest},
		{name: "NUL", change: replace("r=", "r=\x00"), condition: MalformedRequest},
	}
	for _, mechanism := range byStrength() {
		for _, tt := range tests {
			if mechanism != scramSHA256 && tt.change != nil {
				continue // about the form of the message, which is the same
			}
			t.Run(mechanism+"/"+tt.name, func(t *testing.T) {
				gs2, bare := or(tt.gs2, "n,,"), or(tt.bare, "n=user,r=abc")
				e := start(t, a, mechanism)
				reply, _, f := talk(t, e, encode(gs2+bare))
				if f != nil {
					t.Fatal(f)
				}
				final := finalMessage(t, mechanism, or(tt.password, "pencil"), or(tt.binding, gs2), bare, decode(t, reply), tt.extra)
				if tt.change != nil {
					final = tt.change(final)
				}
				end, done, f := talk(t, e, or(encode(final), "="))
				if !done || conditionOf(f) != tt.condition || e.Account().Local() != tt.user {
					t.Fatalf("%v, user %q, %v; want %q, %q", done, e.Account().Local(), f, tt.user, tt.condition)
				}
				if strings.HasPrefix(decode(t, end), "v=") != (f == nil) {
					t.Errorf("end %q", decode(t, end))
				}
				if f != nil && (f.User == "" || f.Cause == nil) {
					t.Errorf("failure %+v", f)
				}
				if tt.cause != nil && !errors.Is(f, tt.cause) {
					t.Errorf("cause %v, want %v", f.Cause, tt.cause)
				}
			})
		}
	}
}
