package auth

import (
	"strings"
	"unicode/utf8"
)

// The SASL error conditions of RFC 6120 section 6.5 that this package gives.
const (
	Aborted              = "aborted"
	AccountDisabled      = "account-disabled"
	EncryptionRequired   = "encryption-required"
	IncorrectEncoding    = "incorrect-encoding"
	InvalidAuthzid       = "invalid-authzid"
	InvalidMechanism     = "invalid-mechanism"
	MalformedRequest     = "malformed-request"
	NotAuthorized        = "not-authorized"
	TemporaryAuthFailure = "temporary-auth-failure"
)

// maxClaimed is the longest user name a Failure carries, in bytes.
const maxClaimed = 256

// Failure ends an exchange without a login. Only the condition is for the
// client: the cause may tell a wrong password from an unknown user.
type Failure struct {
	// Condition is the element name of RFC 6120 section 6.5.
	Condition string
	// Cause says why, for the log. It holds no password and no key.
	Cause error
	// User is the name the client claimed, for the log: valid UTF-8, at most
	// 256 bytes, not prepared, perhaps with control characters. It is empty
	// when the exchange ended before a name was read.
	User string
}

// Error is the condition and its cause.
func (f *Failure) Error() string {
	if f.Cause == nil {
		return "auth: " + f.Condition
	}
	return "auth: " + f.Condition + ": " + f.Cause.Error()
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// claimed cuts a user name to what a Failure may carry.
func claimed(name string) string {
	name = strings.ToValidUTF8(name, "\ufffd")
	if len(name) <= maxClaimed {
		return name
	}
	n := maxClaimed
	for !utf8.RuneStart(name[n]) {
		n--
	}
	return name[:n]
}
