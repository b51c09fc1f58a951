package auth

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"slices"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"rollcall/storage"
)

// MinIterations is the least PBKDF2 iteration count (RFC 5802 section 5.1).
const MinIterations = 4096

// saltSize is the length of the salts made here, in bytes.
const saltSize = 16

const (
	plainName   = "PLAIN"
	scramSHA1   = "SCRAM-SHA-1"
	scramSHA256 = "SCRAM-SHA-256"
	scramSHA512 = "SCRAM-SHA-512"
)

// byStrength lists the SCRAM mechanisms, strongest first.
func byStrength() []string { return []string{scramSHA512, scramSHA256, scramSHA1} }

// byCost lists the SCRAM mechanisms in the order in which PLAIN uses their
// keys. SHA-256 and SHA-1 cost the same where the processor has instructions
// for them, SHA-512 about three times as much. Dearer keys would protect
// nobody: the store holds the cheaper ones too, and those are what a thief
// would attack.
func byCost() []string { return []string{scramSHA256, scramSHA1, scramSHA512} }

// hashOf returns the hash function of a SCRAM mechanism; nil for any other.
func hashOf(mechanism string) func() hash.Hash {
	switch mechanism {
	case scramSHA1:
		return sha1.New
	case scramSHA256:
		return sha256.New
	case scramSHA512:
		return sha512.New
	}
	return nil
}

// NewCredentials derives the keys of SCRAM-SHA-1, SCRAM-SHA-256 and
// SCRAM-SHA-512 (RFC 5802 section 3), each with a fresh salt of 16 bytes and
// the given number of PBKDF2 iterations, MinIterations or more. The password is
// prepared with the OpaqueString profile (RFC 8265 section 4.2). An empty or
// forbidden password is an error that wraps storage.ErrInvalid.
func NewCredentials(password string, iterations int) (storage.Credentials, error) {
	if iterations < MinIterations {
		return storage.Credentials{}, fmt.Errorf("%w: %d iterations, the least is %d", storage.ErrInvalid, iterations, MinIterations)
	}
	prepared, err := prepare(password)
	if err != nil {
		return storage.Credentials{}, fmt.Errorf("%w: password: %w", storage.ErrInvalid, err)
	}
	var c storage.Credentials
	for _, mechanism := range byStrength() {
		salt := make([]byte, saltSize)
		rand.Read(salt) // never fails, says its documentation
		keys, err := derive(mechanism, prepared, salt, iterations)
		if err != nil {
			return storage.Credentials{}, err
		}
		c.SCRAM = append(c.SCRAM, keys)
	}
	return c, nil
}

// Verify reports whether the password belongs to the credentials. A plain
// password decides alone when there is one; otherwise one mechanism's keys do, or
// the hash when there are none.
// How long it takes does not depend on how much of the password is right.
func Verify(c storage.Credentials, password string) bool {
	if onlyHash(c) {
		h, err := parseHash(c.Hash)
		if err != nil || password == "" {
			return false
		}
		ok, err := newWork().matches(context.Background(), h, password)
		return ok && err == nil
	}
	ok, err := check(c, password, func() storage.SCRAMKeys {
		return storage.SCRAMKeys{Mechanism: scramSHA256, Salt: make([]byte, saltSize), Iterations: MinIterations}
	}, derive)
	return ok && err == nil
}

// check is Verify that works on a decoy when the credentials have no usable keys,
// so that a user without any costs as much. Keys for the decoy's mechanism are used
// before others. The error is that of derive.
func check(c storage.Credentials, password string, makeDecoy func() storage.SCRAMKeys, derive deriver) (bool, error) {
	prepared, forbidden := prepare(password)
	if forbidden != nil {
		// It belongs to nobody, but that must not show in the time it takes.
		prepared = password
	}
	if c.Plain != "" && sameText(preparedOr(c.Plain), prepared) {
		return forbidden == nil, nil
	}
	decoy := makeDecoy()
	keys, found := keysFor(c, decoy.Mechanism)
	for _, mechanism := range byCost() {
		if !found {
			keys, found = keysFor(c, mechanism)
		}
	}
	if !found {
		keys = decoy
	}
	derived, err := derive(keys.Mechanism, prepared, keys.Salt, keys.Iterations)
	if err != nil {
		return false, err
	}
	same := subtle.ConstantTimeCompare(derived.StoredKey, keys.StoredKey) == 1
	return same && found && forbidden == nil && c.Plain == "", nil
}

// onlyHash reports whether the hash is what decides.
func onlyHash(c storage.Credentials) bool { return c.Hash != "" && c.Plain == "" && !hasKeys(c) }

func hasKeys(c storage.Credentials) bool {
	return slices.ContainsFunc(byCost(), func(m string) bool { _, ok := keysFor(c, m); return ok })
}

// keysFor returns the keys for a mechanism, provided that they can be used.
func keysFor(c storage.Credentials, mechanism string) (storage.SCRAMKeys, bool) {
	for _, k := range c.SCRAM {
		if k.Mechanism != mechanism {
			continue
		}
		size := hashOf(mechanism)().Size()
		if len(k.Salt) > 0 && k.Iterations > 0 && k.Iterations <= maxIterations && len(k.StoredKey) == size && len(k.ServerKey) == size {
			return k, true
		}
	}
	return storage.SCRAMKeys{}, false
}

// deriver is what derive is; tests count its calls.
type deriver func(mechanism, password string, salt []byte, iterations int) (storage.SCRAMKeys, error)

// derive computes the keys of RFC 5802 section 3 from a prepared password.
func derive(mechanism, password string, salt []byte, iterations int) (storage.SCRAMKeys, error) {
	newHash := hashOf(mechanism)
	salted, err := pbkdf2.Key(newHash, password, salt, iterations, newHash().Size())
	if err != nil {
		return storage.SCRAMKeys{}, fmt.Errorf("auth: deriving keys: %w", err)
	}
	return storage.SCRAMKeys{
		Mechanism:  mechanism,
		Salt:       salt,
		Iterations: iterations,
		StoredKey:  digest(newHash, mac(newHash, salted, "Client Key")),
		ServerKey:  mac(newHash, salted, "Server Key"),
	}, nil
}

func mac(newHash func() hash.Hash, key []byte, text string) []byte {
	h := hmac.New(newHash, key)
	h.Write([]byte(text)) // a hash.Hash never returns an error
	return h.Sum(nil)
}

func digest(newHash func() hash.Hash, data []byte) []byte {
	h := newHash()
	h.Write(data) // a hash.Hash never returns an error
	return h.Sum(nil)
}

// prepare enforces the OpaqueString profile (RFC 8265 section 4.2.2).
func prepare(password string) (string, error) {
	if password == "" {
		return "", errors.New("empty")
	}
	if !utf8.ValidString(password) {
		return "", errors.New("not UTF-8")
	}
	if isASCII(password) {
		return password, nil
	}
	return precis.OpaqueString.String(password)
}

// isASCII reports whether s is printable ASCII, which OpaqueString leaves alone.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// preparedOr is the prepared form of a stored password, or the password itself
// when it has none.
func preparedOr(password string) string {
	if p, err := prepare(password); err == nil {
		return p
	}
	return password
}

// sameText compares without telling the length of either by the time it takes.
func sameText(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
