package conf

import (
	"fmt"
	"strings"
)

// The length of a key in bytes: less than 32 random digits can be guessed.
const (
	minPrebindKey = 32
	maxPrebindKey = 1024
)

// PrebindKey is the key with which a back end may open sessions for its users, or ""
// if there is none. variable is the value of PrebindKeyVariable, which goes before
// the file.
func (c *Config) PrebindKey(variable string) (string, error) {
	return c.prebindKey().read(variable)
}

func (c *Config) prebindKey() secret {
	return secret{PrebindKeyVariable, "bosh.prebind_key_file", "a file with a key", c.BOSH.PrebindKeyFile, prebindKeyProblem}
}

// prebindKeyProblem says why a key cannot be used, without showing it. It has to fit
// in a header (RFC 6750 section 2.1).
func prebindKeyProblem(key string) string {
	const hint = ": make one with `openssl rand -hex 32`"
	switch {
	case key == "":
		return "there is no key in it" + hint
	case len(key) < minPrebindKey:
		return fmt.Sprintf("the key has %d characters, and fewer than %d could be guessed%s", len(key), minPrebindKey, hint)
	case len(key) > maxPrebindKey:
		return fmt.Sprintf("the key is longer than %d bytes%s", maxPrebindKey, hint)
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "the key is not one word of plain letters, digits and signs" + hint
	}
	return ""
}
