package auth

import (
	"context"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"errors"

	"rollcall/internal/jid"
)

var errNoPassword = errors.New("a digest needs the password itself, which is not kept")

// Digests reports whether Digest can accept anybody.
func (a *Authenticator) Digests() bool { return a.digests }

// Password checks a name and a password that came outside SASL, as PLAIN would check
// them, and returns the user's bare address.
func (a *Authenticator) Password(ctx context.Context, host, name, password string) (jid.JID, *Failure) {
	e := Exchange{a: a, host: host, mechanism: plainName}
	if f := e.plain(ctx, "\x00"+name+"\x00"+password); f != nil {
		f.User = e.claimed
		return jid.JID{}, f
	}
	return e.account, nil
}

// Digest checks a digest as in XEP-0078: SHA-1 of the stream's id and the password, in
// hexadecimal. It needs passwords themselves, as Config.Digests says.
func (a *Authenticator) Digest(ctx context.Context, host, name, stream, digest string) (jid.JID, *Failure) {
	e := Exchange{a: a, host: host}
	f := e.digest(ctx, name, stream, digest)
	if f != nil {
		f.User = e.claimed
		return jid.JID{}, f
	}
	return e.account, nil
}

func (e *Exchange) digest(ctx context.Context, name, stream, digest string) *Failure {
	acc, f := e.lookup(ctx, name)
	if f != nil {
		return f
	}
	sum := sha1.Sum([]byte(stream + acc.credentials.Plain))
	same := subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(digest)) == 1
	switch {
	case !e.a.digests:
		return &Failure{Condition: NotAuthorized, Cause: errNoPassword}
	case acc.unknown != nil:
		return &Failure{Condition: NotAuthorized, Cause: acc.unknown}
	case acc.credentials.Plain == "":
		return &Failure{Condition: NotAuthorized, Cause: errNoPassword}
	case !same:
		return &Failure{Condition: NotAuthorized, Cause: errWrongPassword}
	}
	return e.accept(acc, "")
}
