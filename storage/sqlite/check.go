package sqlite

import (
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"rollcall/internal/jid"
	"rollcall/storage"
)

// knownMechanisms lists the SCRAM mechanisms, strongest first.
func knownMechanisms() []string {
	return []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"}
}

// keySize is the length of a mechanism's keys in bytes; 0 for any other.
func keySize(mechanism string) int {
	switch mechanism {
	case "SCRAM-SHA-1":
		return sha1.Size
	case "SCRAM-SHA-256":
		return sha256.Size
	case "SCRAM-SHA-512":
		return sha512.Size
	}
	return 0
}

// checkID wants a local part as RFC 7622 section 3.3 prescribes it.
func checkID(what, id string) error {
	j, err := jid.New(id, "host.invalid", "")
	switch {
	case id == "":
		return invalid("%s id: empty", what)
	case err != nil:
		return invalid("%s id %q: %v", what, id, err)
	case j.Local() != id:
		return invalid("%s id %q: write %q", what, id, j.Local())
	}
	return nil
}

// checkName wants text that XML can carry (XML 1.0 section 2.2).
func checkName(what, id, name string) error {
	if len(name) > storage.MaxName {
		return invalid("%s %q: name: %d bytes, the most is %d", what, id, len(name), storage.MaxName)
	}
	if !utf8.ValidString(name) {
		return invalid("%s %q: name: not UTF-8", what, id)
	}
	forbidden := func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff
	}
	if strings.ContainsFunc(name, forbidden) {
		return invalid("%s %q: name: a character that XML forbids", what, id)
	}
	return nil
}

func checkProject(p storage.Project) error {
	return cmp.Or(checkID("project", p.ID), checkName("project", p.ID, p.Name))
}

func (s *Store) checkUser(u storage.UserRecord) error {
	err := cmp.Or(checkID("user", u.ID), checkName("user", u.ID, u.Name))
	if err == nil && u.Credentials != nil {
		err = s.checkCredentials(u.ID, *u.Credentials)
	}
	return err
}

// checkCredentials wants what Mechanisms promises: keys for every mechanism,
// unless plain passwords are allowed.
func (s *Store) checkCredentials(id string, c storage.Credentials) error {
	if c.Plain != "" && !s.plainPasswords {
		return invalid("user %q: this store keeps no plain passwords", id)
	}
	if !utf8.ValidString(c.Plain) {
		return invalid("user %q: password: not UTF-8", id)
	}
	if len(c.SCRAM) == 0 && c.Plain == "" {
		return invalid("user %q: empty credentials", id)
	}
	seen := make(map[string]bool, len(c.SCRAM))
	for _, k := range c.SCRAM {
		size := keySize(k.Mechanism)
		switch {
		case size == 0 || seen[k.Mechanism]:
			return invalid("user %q: keys for %q, which is unknown or there already", id, k.Mechanism)
		case len(k.Salt) == 0 || k.Iterations <= 0 || len(k.StoredKey) != size || len(k.ServerKey) != size:
			return invalid("user %q: unusable keys for %s", id, k.Mechanism)
		}
		seen[k.Mechanism] = true
	}
	for _, m := range knownMechanisms() {
		if !seen[m] && !s.plainPasswords {
			return invalid("user %q: no keys for %s", id, m)
		}
	}
	return nil
}

func sameCredentials(a, b storage.Credentials) bool {
	sorted := func(c storage.Credentials) []storage.SCRAMKeys {
		return slices.SortedFunc(slices.Values(c.SCRAM), func(x, y storage.SCRAMKeys) int {
			return cmp.Compare(x.Mechanism, y.Mechanism)
		})
	}
	return a.Plain == b.Plain && reflect.DeepEqual(sorted(a), sorted(b))
}
