package mongo

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/storage"
)

var errNoPassword = errors.New("nothing in the password field that the scheme can use")

// passwords reads what a user's password is checked against.
type passwords struct {
	scheme              Scheme
	hash                HashFields
	field, salt, rounds path
}

func newPasswords(u Users) passwords {
	return passwords{u.Scheme, u.Hash, newPath(u.Password), newPath(u.Hash.Salt), newPath(u.Hash.IterationsField)}
}

// fields are what is read.
func (p passwords) fields() []path { return []path{p.field, p.salt, p.rounds} }

// of returns the credentials in a user's document.
func (p passwords) of(doc bson.Raw) (storage.Credentials, error) {
	v := p.field.in(doc)
	hash, isText := v.StringValueOK()
	switch {
	case p.scheme == SchemePlain:
		if hash == "" {
			return storage.Credentials{}, errNoPassword
		}
		return storage.Credentials{Plain: hash}, nil
	case len(p.salt) > 0:
		return p.assemble(doc, v)
	case isText && schemeOf(hash) != "" && schemeOf(hash) != SchemeSCRAM:
		if p.scheme != SchemeAuto && p.scheme != schemeOf(hash) {
			return storage.Credentials{}, errNoPassword
		}
		return storage.Credentials{Hash: hash}, nil
	case p.scheme == SchemeAuto || p.scheme == SchemeSCRAM:
		return keysIn(v)
	}
	return storage.Credentials{}, errNoPassword
}

// schemeOf goes by the beginning of a self-describing hash; "" for none that is known.
func schemeOf(hash string) Scheme {
	for _, known := range []struct {
		prefix string
		scheme Scheme
	}{
		{"$2a$", SchemeBcrypt}, {"$2b$", SchemeBcrypt}, {"$2y$", SchemeBcrypt},
		{"$argon2id$", SchemeArgon2id},
		{"$pbkdf2$", SchemePBKDF2}, {"$pbkdf2-sha1$", SchemePBKDF2}, {"$pbkdf2-sha256$", SchemePBKDF2}, {"$pbkdf2-sha512$", SchemePBKDF2},
		{"pbkdf2_sha1$", SchemePBKDF2}, {"pbkdf2_sha256$", SchemePBKDF2}, {"pbkdf2_sha512$", SchemePBKDF2}, // Django
		{"$scrypt$", SchemeScrypt},
		{"SCRAM-SHA-", SchemeSCRAM},
	} {
		if strings.HasPrefix(hash, known.prefix) {
			return known.scheme
		}
	}
	return ""
}

// assemble writes a hash whose parameters are elsewhere in the form that says
// everything itself.
func (p passwords) assemble(doc bson.Raw, v bson.RawValue) (storage.Credentials, error) {
	sum, err := decode(v, p.hash.Encoding)
	if err != nil {
		return storage.Credentials{}, fmt.Errorf("password: %w", err)
	}
	salt, err := decodeSalt(p.salt.in(doc), p.hash.Encoding)
	if err != nil {
		return storage.Credentials{}, fmt.Errorf("salt: %w", err)
	}
	if p.scheme == SchemeScrypt {
		h := p.hash
		return storage.Credentials{Hash: fmt.Sprintf("$scrypt$ln=%d,r=%d,p=%d$%s$%s",
			bits.TrailingZeros(uint(h.N)), h.R, h.P, base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))}, nil
	}
	n := int64(p.hash.Iterations)
	if v := p.rounds.in(doc); v.Type != 0 {
		var ok bool
		if n, ok = integer(v); !ok {
			return storage.Credentials{}, errors.New("iterations that are no number")
		}
	}
	if n < 1 {
		return storage.Credentials{}, errors.New("no iterations")
	}
	return storage.Credentials{Hash: fmt.Sprintf("$pbkdf2-%s$%d$%s$%s", p.hash.Digest, n, passlib64(salt), passlib64(sum))}, nil
}

// passlib64 is the base64 of passlib's hashes: '.' for '+', and no padding.
func passlib64(b []byte) string {
	return strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(b), "+", ".")
}

// decode reads bytes, which are binary or text.
func decode(v bson.RawValue, e Encoding) (b []byte, err error) {
	if _, b, ok := v.BinaryOK(); ok && len(b) > 0 {
		return slices.Clone(b), nil
	}
	s, ok := v.StringValueOK()
	if !ok || s == "" {
		return nil, errors.New("missing")
	}
	if e == EncodingHex || e == EncodingHexText {
		b, err = hex.DecodeString(s)
	} else {
		b, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	}
	if err != nil {
		return nil, fmt.Errorf("not %s", e) // the decoder's words show part of it
	}
	return b, nil
}

// decodeSalt is decode for a salt, which may be text for its own sake.
func decodeSalt(v bson.RawValue, e Encoding) ([]byte, error) {
	if s, ok := v.StringValueOK(); ok && s != "" && (e == EncodingHexText || e == EncodingBase64Text) {
		return []byte(s), nil
	}
	return decode(v, e)
}

// keysIn reads SCRAM keys: text or several in the form of RFC 5803, or a document like
// those of MongoDB's own users, {"SCRAM-SHA-256": {iterationCount, salt, storedKey,
// serverKey}}.
func keysIn(v bson.RawValue) (c storage.Credentials, err error) {
	add := func(k storage.SCRAMKeys, ok bool) {
		if ok && wellFormed(k) && !slices.ContainsFunc(c.SCRAM, func(o storage.SCRAMKeys) bool { return o.Mechanism == k.Mechanism }) {
			c.SCRAM = append(c.SCRAM, k)
		}
	}
	if doc, ok := v.DocumentOK(); ok {
		for _, m := range scramMechanisms() {
			if keys, ok := (path{m}).in(doc).DocumentOK(); ok {
				k, ok := keysInDocument(m, keys)
				add(k, ok)
			}
		}
	}
	if s, ok := v.StringValueOK(); ok {
		add(keysInText(s))
	}
	if array, ok := v.ArrayOK(); ok {
		for i := range uint(len(scramMechanisms())) {
			v, err := array.IndexErr(i)
			if err != nil {
				break
			}
			s, _ := v.StringValueOK()
			add(keysInText(s))
		}
	}
	if len(c.SCRAM) == 0 {
		return c, errNoPassword
	}
	return c, nil
}

func keysInDocument(mechanism string, doc bson.Raw) (storage.SCRAMKeys, bool) {
	n, ok := integer(path{"iterationCount"}.in(doc))
	k := storage.SCRAMKeys{Mechanism: mechanism, Iterations: int(n)}
	for field, to := range map[string]*[]byte{"salt": &k.Salt, "storedKey": &k.StoredKey, "serverKey": &k.ServerKey} {
		b, err := decode(path{field}.in(doc), EncodingBase64)
		ok = ok && err == nil
		*to = b
	}
	return k, ok
}

// keysInText reads mechanism$iterations:salt$StoredKey:ServerKey (RFC 5803 section 2).
func keysInText(s string) (k storage.SCRAMKeys, ok bool) {
	parts := strings.Split(s, "$")
	if len(parts) != 3 {
		return k, false
	}
	iterations, salt, ok1 := strings.Cut(parts[1], ":")
	stored, server, ok2 := strings.Cut(parts[2], ":")
	n, err := strconv.Atoi(iterations)
	ok = ok1 && ok2 && err == nil
	k = storage.SCRAMKeys{Mechanism: parts[0], Iterations: n}
	for i, to := range []*[]byte{&k.Salt, &k.StoredKey, &k.ServerKey} {
		b, err := base64.StdEncoding.DecodeString([]string{salt, stored, server}[i])
		ok = ok && err == nil
		*to = b
	}
	return k, ok
}

// wellFormed reports whether keys can be those of their mechanism.
func wellFormed(k storage.SCRAMKeys) bool {
	size := map[string]int{"SCRAM-SHA-1": 20, "SCRAM-SHA-256": 32, "SCRAM-SHA-512": 64}[k.Mechanism]
	return size > 0 && len(k.StoredKey) == size && len(k.ServerKey) == size && len(k.Salt) > 0 && k.Iterations > 0
}
