package conf

import (
	"fmt"
	"os"
	"strings"
)

// PrebindKeyVariable is the environment variable that may hold the key of the back
// end that opens sessions for its users.
const PrebindKeyVariable = "ROLLCALL_PREBIND_KEY"

// The length of a key in bytes: less than 32 random digits can be guessed.
const (
	minPrebindKey = 32
	maxPrebindKey = 1024
)

// PrebindKey is the key with which a back end may open sessions for its users, or ""
// if there is none. variable is the value of PrebindKeyVariable, which goes before
// the file.
func (c *Config) PrebindKey(variable string) (string, error) {
	key, from := variable, PrebindKeyVariable
	if variable == "" {
		if c.BOSH.PrebindKeyFile == "" {
			return "", nil
		}
		data, err := os.ReadFile(c.BOSH.PrebindKeyFile)
		if err != nil {
			return "", fmt.Errorf("bosh.prebind_key_file: %w", err)
		}
		key, from = string(data), "bosh.prebind_key_file"
	}
	key = strings.TrimSpace(key)
	if problem := prebindKeyProblem(key); problem != "" {
		return "", fmt.Errorf("%s: %s", from, problem)
	}
	return key, nil
}

// checkPrebindKey notes a key file that cannot be used. c's paths are resolved.
func checkPrebindKey(c *Config, r *report) {
	const path = "bosh.prebind_key_file"
	name := c.BOSH.PrebindKeyFile
	if name == "" || r.bad[path] {
		return
	}
	data, ok := r.readable(path, name, "a file with a key")
	if !ok {
		return
	}
	if problem := prebindKeyProblem(strings.TrimSpace(string(data))); problem != "" {
		r.add(path, "%s: %s", quote(name), problem)
	}
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
