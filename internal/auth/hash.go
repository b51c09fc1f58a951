package auth

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"

	"rollcall/storage"
)

// What a hash may cost. The database is the product's, and a login must not cost the
// server its memory or minutes of a processor. Each limit is several times what is
// recommended today, and a few seconds of one core.
const (
	maxBcryptCost = 15
	maxMemory     = 256 << 20 // bytes, for argon2id and scrypt
	maxArgon2Work = 2 << 30   // bytes times passes
	maxLanes      = 64        // of argon2id
	maxScryptWork = 512 << 20 // bytes written, all p together
	maxIterations = 5_000_000 // of PBKDF2, SCRAM keys included
)

// Lengths in bytes. A sum of fewer than minSum could be met by chance.
const (
	maxHash = 4096
	minSum  = 16
	maxSum  = 1024
	maxSalt = 1024
)

var errHash = fmt.Errorf("%w: password hash", storage.ErrInvalid)

// hashed is a password hash that was read. Its parameters are within the limits.
type hashed struct {
	scheme string
	memory int64 // bytes that matches takes, if they are worth counting
	// matches reports whether a password was hashed. How long that takes depends on the
	// parameters and the length of the password only.
	matches func(password string) (bool, error)
	// decoy is a hash with the same parameters that no password is known to fit.
	decoy func() *hashed
}

// Hashed names the scheme of a password hash that PLAIN can check, as it may stand in
// storage.Credentials.Hash:
//
//   - "bcrypt": $2a$, $2b$ and $2y$. Only the first 72 bytes of a password count.
//   - "argon2id": the PHC string $argon2id$v=19$m=…,t=…,p=…$salt$hash.
//   - "scrypt": $scrypt$ln=…,r=…,p=…$salt$hash, which is also passlib's.
//   - "pbkdf2": passlib's $pbkdf2-sha256$rounds$salt$hash, with sha1 (or $pbkdf2$) and
//     sha512, and Django's pbkdf2_sha256$rounds$salt$hash, with sha1 and sha512.
//
// Salts and hashes are base64 without padding, except Django's, whose salt is text.
// passlib's '.' for '+' is understood everywhere. The error wraps storage.ErrInvalid and
// says what is wrong without showing the hash; a hash that would cost too much to check
// is one.
func Hashed(hash string) (scheme string, err error) {
	h, err := parseHash(hash)
	if err != nil {
		return "", err
	}
	return h.scheme, nil
}

func parseHash(s string) (*hashed, error) {
	var h *hashed
	err := errors.New("unknown scheme")
	switch scheme := schemeOf(s); {
	case len(s) > maxHash:
		err = fmt.Errorf("longer than %d bytes", maxHash)
	case scheme == "2a", scheme == "2b", scheme == "2y":
		h, err = parseBcrypt(s)
	case scheme == "argon2id":
		h, err = parseArgon2id(s)
	case scheme == "scrypt":
		h, err = parseScrypt(s)
	case strings.HasPrefix(scheme, "pbkdf2"):
		h, err = parsePBKDF2(s)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHash, err)
	}
	return h, nil
}

// schemeOf is what a hash begins with, without dollar signs.
func schemeOf(s string) string {
	scheme, _, _ := strings.Cut(strings.TrimPrefix(s, "$"), "$")
	return scheme
}

// bcryptDigits is bcrypt's own base64.
const bcryptDigits = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// parseBcrypt reads version, cost, and 22 and 31 characters of salt and sum.
func parseBcrypt(s string) (*hashed, error) {
	const prefix, length = len("$2b$10$"), 60
	if len(s) != length || s[prefix-1] != '$' || strings.Trim(s[prefix:], bcryptDigits) != "" {
		return nil, errors.New("malformed bcrypt")
	}
	cost, err := positive(s[prefix-3 : prefix-1])
	if err != nil || cost < bcrypt.MinCost || cost > maxBcryptCost {
		return nil, fmt.Errorf("bcrypt of cost %d, the most is %d", cost, maxBcryptCost)
	}
	h := &hashed{scheme: "bcrypt"}
	h.matches = func(password string) (bool, error) {
		err := bcrypt.CompareHashAndPassword([]byte(s), []byte(password))
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return false, nil
		}
		return err == nil, err
	}
	h.decoy = func() *hashed {
		d, err := parseBcrypt(s[:prefix] + strings.Repeat(".", length-prefix))
		if err != nil {
			return h // cannot be: the form is the same
		}
		return d
	}
	return h, nil
}

// derivation computes the sum of a hash from a password and a salt.
type derivation func(password, salt []byte) ([]byte, error)

// newHashed is the hash of a scheme that is a derivation.
func newHashed(scheme string, memory int64, salt, sum []byte, derive derivation) *hashed {
	h := &hashed{scheme: scheme, memory: memory}
	h.matches = func(password string) (bool, error) {
		got, err := derive([]byte(password), salt)
		return err == nil && subtle.ConstantTimeCompare(got, sum) == 1, err
	}
	h.decoy = func() *hashed {
		return newHashed(scheme, memory, make([]byte, len(salt)), make([]byte, len(sum)), derive)
	}
	return h
}

// parseArgon2id reads a PHC string. The version must be that of RFC 9106.
func parseArgon2id(s string) (*hashed, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, errors.New("malformed argon2id, or not of version 19")
	}
	n, err := parameters(parts[3], "m", "t", "p")
	if err != nil {
		return nil, fmt.Errorf("argon2id: %w", err)
	}
	salt, sum, err := saltAndSum(parts[4], parts[5])
	if err != nil {
		return nil, fmt.Errorf("argon2id: %w", err)
	}
	memory, passes, lanes := int64(n[0])<<10, int64(n[1]), int64(n[2])
	switch {
	case lanes > maxLanes || memory < 8<<10*lanes || len(salt) < 8:
		return nil, fmt.Errorf("argon2id: %d lanes with %d bytes and a salt of %d cannot be", lanes, memory, len(salt))
	case memory > maxMemory || passes > maxArgon2Work/memory:
		return nil, fmt.Errorf("argon2id: %d passes over %d bytes are too much", passes, memory)
	}
	size := uint32(len(sum))
	return newHashed("argon2id", memory, salt, sum, func(password, salt []byte) ([]byte, error) {
		return argon2.IDKey(password, salt, uint32(n[1]), uint32(n[0]), uint8(n[2]), size), nil
	}), nil
}

// parseScrypt reads $scrypt$ln=…,r=…,p=…$salt$hash (RFC 7914 has the parameters).
func parseScrypt(s string) (*hashed, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 5 {
		return nil, errors.New("malformed scrypt")
	}
	n, err := parameters(parts[2], "ln", "r", "p")
	if err != nil {
		return nil, fmt.Errorf("scrypt: %w", err)
	}
	salt, sum, err := saltAndSum(parts[3], parts[4])
	if err != nil {
		return nil, fmt.Errorf("scrypt: %w", err)
	}
	ln, r, p := n[0], int64(n[1]), int64(n[2])
	if ln > 24 || r > 1<<10 || p > 1<<10 {
		return nil, fmt.Errorf("scrypt: ln=%d, r=%d, p=%d are too much", ln, r, p)
	}
	table := int64(128) << ln * r
	memory := table + 128*r*p
	if memory > maxMemory || table*p > maxScryptWork {
		return nil, fmt.Errorf("scrypt: ln=%d, r=%d, p=%d are too much", ln, r, p)
	}
	return newHashed("scrypt", memory, salt, sum, func(password, salt []byte) ([]byte, error) {
		return scrypt.Key(password, salt, 1<<ln, int(r), int(p), len(sum))
	}), nil
}

// parsePBKDF2 reads passlib's form and Django's.
func parsePBKDF2(s string) (*hashed, error) {
	passlib, isPasslib := strings.CutPrefix(s, "$")
	parts := strings.Split(passlib, "$")
	if len(parts) != 4 {
		return nil, errors.New("malformed pbkdf2")
	}
	var newHash func() hash.Hash
	switch digest := strings.TrimPrefix(parts[0], "pbkdf2"); {
	case isPasslib && (digest == "" || digest == "-sha1"), !isPasslib && digest == "_sha1":
		newHash = sha1.New
	case isPasslib && digest == "-sha256", !isPasslib && digest == "_sha256":
		newHash = sha256.New
	case isPasslib && digest == "-sha512", !isPasslib && digest == "_sha512":
		newHash = sha512.New
	default:
		return nil, errors.New("pbkdf2: unknown digest")
	}
	rounds, err := positive(parts[1])
	if err != nil || rounds > maxIterations {
		return nil, fmt.Errorf("pbkdf2: no iterations, or more than %d", maxIterations)
	}
	encoded := parts[2]
	if !isPasslib {
		encoded = base64.RawStdEncoding.EncodeToString([]byte(encoded))
	}
	salt, sum, err := saltAndSum(encoded, parts[3])
	if err != nil {
		return nil, fmt.Errorf("pbkdf2: %w", err)
	}
	// Each block of the sum depends on the whole password (RFC 8018 section 5.2), so the
	// first is as good as all: some products keep sixteen.
	sum = sum[:min(len(sum), newHash().Size())]
	return newHashed("pbkdf2", 0, salt, sum, func(password, salt []byte) ([]byte, error) {
		return pbkdf2.Key(newHash, string(password), salt, rounds, len(sum))
	}), nil
}

// parameters reads name=number,… with exactly those names, in any order.
func parameters(s string, names ...string) ([]int, error) {
	numbers := make([]int, len(names))
	fields := strings.Split(s, ",")
	if len(fields) != len(names) {
		return nil, fmt.Errorf("parameters are not %v", names)
	}
	for _, f := range fields {
		name, text, _ := strings.Cut(f, "=")
		i := slices.Index(names, name)
		if i < 0 || numbers[i] != 0 {
			return nil, fmt.Errorf("parameters are not %v", names)
		}
		var err error
		if numbers[i], err = positive(text); err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return numbers, nil
}

// positive reads a number from 1 to 2^31-1, in digits alone.
func positive(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return 0, errors.New("not a number from 1 to 2147483647")
	}
	return int(n), nil
}

// saltAndSum decodes the last two parts of a hash.
func saltAndSum(salt, sum string) ([]byte, []byte, error) {
	x, err1 := decodeB64(salt)
	y, err2 := decodeB64(sum)
	switch {
	case err1 != nil || err2 != nil: // whose words show where
		return nil, nil, errors.New("not base64")
	case len(x) == 0 || len(x) > maxSalt:
		return nil, nil, fmt.Errorf("salt of %d bytes", len(x))
	case len(y) < minSum || len(y) > maxSum:
		return nil, nil, fmt.Errorf("hash of %d bytes", len(y))
	}
	return x, y, nil
}

func decodeB64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // the decoder would skip them
		return nil, errors.New("line end within base64")
	}
	return base64.RawStdEncoding.DecodeString(strings.ReplaceAll(strings.TrimRight(s, "="), ".", "+"))
}

// candidates are what a product may have hashed when its user typed this password: just
// that, or the OpaqueString form of it, which is composed and knows one kind of space.
// Most passwords are both. What a product lets people have in a password, it decides.
func candidates(password string) []string {
	if prepared, err := prepare(password); err == nil && prepared != password {
		return []string{password, prepared}
	}
	return []string{password}
}
