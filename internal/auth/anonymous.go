package auth

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"rollcall/internal/jid"
)

const anonymousName = "ANONYMOUS"

// What the local parts of anonymous users are like: letters and digits after the prefix.
const (
	anonymousPrefix = "anonymous-"
	anonymousLength = 26
)

// maxTrace is the longest trace information in characters (RFC 4505 section 3).
const maxTrace = 255

var errTrace = errors.New("ANONYMOUS: the trace information is not UTF-8, or too long")

// IsAnonymous reports whether a local part is one that ANONYMOUS gives. No account should
// be called so.
func IsAnonymous(local string) bool {
	rest, ok := strings.CutPrefix(local, anonymousPrefix)
	return ok && len(rest) == anonymousLength && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// Anonymous reports whether anybody may log in at a host without an account (XEP-0175).
func (a *Authenticator) Anonymous(host string) bool { return slices.Contains(a.anonymous, host) }

// Anonymous reports whether the mechanism is the one of anonymous users.
func (e *Exchange) Anonymous() bool { return e.mechanism == anonymousName }

// anonymous gives the client an address that nobody else has. What it says of itself is
// of no use (RFC 4505 section 2).
func (e *Exchange) anonymous(trace string) (f *Failure) {
	if !utf8.ValidString(trace) || utf8.RuneCountInString(trace) > maxTrace {
		return &Failure{Condition: MalformedRequest, Cause: errTrace}
	}
	local := anonymousPrefix + strings.ToLower(rand.Text())[:anonymousLength]
	j, err := jid.New(local, e.host, "")
	if err != nil {
		return &Failure{Condition: TemporaryAuthFailure, Cause: err}
	}
	e.account = j
	return nil
}
