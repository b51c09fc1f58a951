// Package msgid makes the ids that the server gives to messages (XEP-0359), and under
// which it keeps them: UUIDs of version 7 (RFC 9562 section 5.7), as text. A later one
// sorts after an earlier one of the same process, and so it mostly is with those of
// others.
package msgid

import (
	"encoding/hex"
	"time"

	"github.com/google/uuid"
)

// Len is the length of an id in bytes.
const Len = 36

// Append appends a new id.
func Append(dst []byte) []byte {
	id := uuid.Must(uuid.NewV7()) // it fails only without randomness, and then Go ends the process before
	dst = append(hex.AppendEncode(dst, id[:4]), '-')
	dst = append(hex.AppendEncode(dst, id[4:6]), '-')
	dst = append(hex.AppendEncode(dst, id[6:8]), '-')
	dst = append(hex.AppendEncode(dst, id[8:10]), '-')
	return hex.AppendEncode(dst, id[10:])
}

// New returns a new id.
func New() string { return string(Append(make([]byte, 0, Len))) }

// Time is when an id was made, to the millisecond; false for what is no such id.
func Time(id string) (t time.Time, ok bool) {
	u, err := uuid.Parse(id)
	if err != nil || len(id) != Len || u.Version() != 7 {
		return t, false
	}
	return time.Unix(u.Time().UnixTime()).UTC(), true
}
