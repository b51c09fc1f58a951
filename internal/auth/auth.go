// Package auth is the server's side of SASL (RFC 4422, RFC 6120 section 6):
// PLAIN (RFC 4616) and SCRAM with SHA-1, SHA-256 and SHA-512 (RFC 5802,
// RFC 7677) over what a storage.Users keeps: keys, password hashes (see Hashed)
// or passwords.
//
// An unknown user is answered like a wrong password, with the same messages and
// the same work (RFC 6120 section 13.11). That holds as long as the store's
// keys have the iteration count the Authenticator was made with and salts of 16
// bytes; keys imported with others can be told from invented ones. Where there
// are hashes instead, an unknown user costs what the last known one did: users
// whose hashes were made in another way can be told by the time it takes, and so
// can all until the first of them has come.
//
// Checking a password is work for a processor. No more are checked at once than
// there are processors, and no more than fit in memory; whoever waits longer than
// five seconds is told to come back.
package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"rollcall/storage"
)

// minSecret is the least length of Config.Secret, in bytes.
const minSecret = 32

// nonceSize is how much randomness the server's part of a SCRAM nonce has, in
// bytes.
const nonceSize = 18

// Config is what an Authenticator needs.
type Config struct {
	Users storage.Users
	// Iterations is the PBKDF2 iteration count that unknown users seem to
	// have, MinIterations or more; it should be that of the stored keys.
	Iterations int
	// Secret, 32 bytes or more, is what the salts of unknown users are made
	// from. They change with it, so it should outlive the process.
	Secret []byte
	// Digests says that the users' passwords themselves are kept, for Digest.
	Digests bool
	// Anonymous are the hosts where anybody may log in without an account (XEP-0175).
	Anonymous []string
}

// Authenticator starts exchanges. It is safe for concurrent use.
type Authenticator struct {
	users      storage.Users
	offered    []string // the SCRAM mechanisms, strongest first, then PLAIN
	anonymous  []string // hosts
	plainKeys  string   // the mechanism whose keys PLAIN checks against, for all users alike
	iterations int
	digests    bool
	secret     []byte
	nonce      func() string // the server's part of a SCRAM nonce
	derive     deriver
	work       *work
	// pattern is what the hashes of this store are like: the last one that was read,
	// without its salt and sum.
	pattern atomic.Pointer[hashed]
}

// New returns an Authenticator, or an error that says which field is wrong.
func New(c Config) (*Authenticator, error) {
	switch {
	case c.Users == nil:
		return nil, errors.New("auth: no users")
	case c.Iterations < MinIterations:
		return nil, fmt.Errorf("auth: %d iterations, the least is %d", c.Iterations, MinIterations)
	case len(c.Secret) < minSecret:
		return nil, fmt.Errorf("auth: secret of %d bytes, the least is %d", len(c.Secret), minSecret)
	}
	served := c.Users.Mechanisms()
	return &Authenticator{
		users:      c.Users,
		offered:    append(ordered(byStrength(), served), plainName),
		plainKeys:  append(ordered(byCost(), served), byCost()[0])[0],
		iterations: c.Iterations,
		digests:    c.Digests,
		anonymous:  slices.Clone(c.Anonymous),
		secret:     slices.Clone(c.Secret),
		nonce:      randomNonce,
		derive:     derive,
		work:       newWork(),
	}, nil
}

func randomNonce() string {
	b := make([]byte, nonceSize)
	rand.Read(b) // never fails, says its documentation
	return base64.StdEncoding.EncodeToString(b)
}

// ordered lists those of all that are served.
func ordered(all, served []string) (names []string) {
	for _, m := range all {
		if slices.Contains(served, m) {
			names = append(names, m)
		}
	}
	return names
}

// Mechanisms lists the SASL names to offer, strongest first: the SCRAM
// mechanisms that the store can serve for every user, and PLAIN if plain is
// true. The list is not the caller's to change. ANONYMOUS is not in it: see Anonymous.
func (a *Authenticator) Mechanisms(plain bool) []string {
	if plain {
		return a.offered
	}
	n := len(a.offered) - 1
	return a.offered[:n:n]
}

// Start begins one exchange with a client of the host, whose users' JIDs have
// it as their domain. A mechanism that Mechanisms(plain) does not list is
// invalid-mechanism; PLAIN without plain is encryption-required.
func (a *Authenticator) Start(host, mechanism string, plain bool) (*Exchange, *Failure) {
	if mechanism == plainName && !plain {
		return nil, &Failure{Condition: EncryptionRequired, Cause: errors.New("PLAIN is not offered on this connection")}
	}
	if !slices.Contains(a.Mechanisms(plain), mechanism) && (mechanism != anonymousName || !a.Anonymous(host)) {
		return nil, &Failure{Condition: InvalidMechanism, Cause: fmt.Errorf("mechanism %q is not offered", claimed(mechanism))}
	}
	return &Exchange{a: a, host: host, mechanism: mechanism}, nil
}

// decoy returns keys for a user who has none. The salt is always the same for the same
// name; the rest has the right length, and no password fits it.
func (a *Authenticator) decoy(mechanism, user string) storage.SCRAMKeys {
	sum := mac(sha256.New, a.secret, "salt\x00"+mechanism+"\x00"+user)
	keys := bytes.Repeat(sum, 2)[:hashOf(mechanism)().Size()]
	return storage.SCRAMKeys{
		Mechanism: mechanism, Salt: sum[:saltSize], Iterations: a.iterations, StoredKey: keys, ServerKey: keys,
	}
}

// verify reports whether the password is the user's. It costs the same for one who does
// not exist. The error says why that cannot be known: it wraps errHash if the hash in
// the store is at fault.
func (a *Authenticator) verify(ctx context.Context, acc account, password string) (ok bool, err error) {
	c := acc.credentials
	var unreadable error
	if onlyHash(c) {
		var h *hashed
		if h, unreadable = parseHash(c.Hash); unreadable == nil {
			a.pattern.Store(h.decoy())
			return a.work.matches(ctx, h, password)
		}
	}
	if pattern := a.pattern.Load(); pattern != nil && c.Plain == "" && !hasKeys(c) && len(a.offered) == 1 {
		_, err = a.work.matches(ctx, pattern, password)
	} else {
		err = a.work.do(ctx, 0, func() (err error) {
			ok, err = check(c, password, func() storage.SCRAMKeys { return a.decoy(a.plainKeys, acc.name) }, a.derive)
			return err
		})
	}
	if err == nil {
		err = unreadable
	}
	return ok && err == nil, err
}
