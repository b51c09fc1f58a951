package boshclient

import (
	"crypto/sha1"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
)

// keys protect a session from those who know no more than its sid (XEP-0124 section
// 15): each key is the hash of the one that comes after it.
type keys struct {
	rnd  *rand.Rand
	left []string // the last one is used next
}

// chain is how many keys are made at a time.
const chain = 40

// attrs are the attributes of the next request.
func (k *keys) attrs() string {
	text := ""
	if n := len(k.left); n > 0 {
		text = " key='" + k.left[n-1] + "'"
		k.left = k.left[:n-1]
	}
	if len(k.left) > 0 {
		return text
	}
	key := strconv.FormatUint(k.rnd.Uint64(), 36)
	for range chain {
		sum := sha1.Sum([]byte(key))
		key = hex.EncodeToString(sum[:])
		k.left = append(k.left, key)
	}
	text += " newkey='" + k.left[chain-1] + "'"
	k.left = k.left[:chain-1]
	return text
}
