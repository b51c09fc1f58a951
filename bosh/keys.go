package bosh

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
)

// unlocks checks a request's key, and takes the next one: each key is the origin of
// the one before (XEP-0124 section 15).
func (s *session) unlocks(r *request) bool {
	if s.key != "" {
		sum := sha1.Sum([]byte(r.key))
		if !strings.EqualFold(hex.EncodeToString(sum[:]), s.key) {
			return false
		}
		s.key = r.key
	}
	if r.newKey != "" {
		s.key = r.newKey
	}
	return true
}
