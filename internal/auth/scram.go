package auth

import (
	"crypto/hmac"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"

	"mellium.im/sasl"

	"rollcall/storage"
)

var (
	errBinding     = errors.New("SCRAM: channel binding data does not match")
	errForeign     = errors.New("SCRAM: nonce is not that of this exchange")
	errProofLength = errors.New("SCRAM: proof has the wrong length")
)

// scramState is what a SCRAM exchange keeps between the client's messages.
type scramState struct {
	account account
	keys    storage.SCRAMKeys
	known   error // why the keys are invented; nil if they are the user's
	first   clientFirst
	nonce   string
	reply   string // server-first-message
}

// scram is the server's side of a SCRAM mechanism (RFC 5802 section 5) that
// needs only StoredKey and ServerKey. The framework's own wants the salted
// password, which is as good as the password, and gets names with ',' and '='
// wrong. The mechanism is for this exchange alone.
func (e *Exchange) scram(name string) sasl.Mechanism {
	return sasl.Mechanism{
		Name: name,
		Start: func(*sasl.Negotiator) (bool, []byte, any, error) {
			return false, nil, nil, sasl.ErrInvalidState // clients start
		},
		Next: func(_ *sasl.Negotiator, message []byte, data any) (bool, []byte, any, error) {
			s, begun := data.(*scramState)
			if !begun {
				s, f := e.scramFirst(name, string(message))
				if f != nil {
					return false, nil, nil, f
				}
				return true, []byte(s.reply), s, nil
			}
			reply, f := e.scramFinal(s, string(message))
			if f != nil {
				return false, nil, nil, f
			}
			return false, []byte(reply), nil, nil
		},
	}
}

// scramFirst reads client-first-message and makes server-first-message.
func (e *Exchange) scramFirst(mechanism, message string) (*scramState, *Failure) {
	first, err := parseClientFirst(message)
	if err != nil {
		return nil, &Failure{Condition: MalformedRequest, Cause: err}
	}
	acc, f := e.lookup(first.user)
	if f != nil {
		return nil, f
	}
	s := &scramState{account: acc, known: acc.unknown, first: first, nonce: first.nonce + e.a.nonce()}
	// Made for known users too, so that both cost the same.
	decoy := e.a.decoy(mechanism, acc.name)
	keys, found := keysFor(acc.credentials, mechanism)
	if !found {
		keys = decoy
		if s.known == nil {
			s.known = errNoKeys
		}
	}
	s.keys = keys
	s.reply = "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(keys.Salt) + ",i=" + strconv.Itoa(keys.Iterations)
	return s, nil
}

// scramFinal reads client-final-message, checks the proof and makes
// server-final-message.
func (e *Exchange) scramFinal(s *scramState, message string) (string, *Failure) {
	final, err := parseClientFinal(message)
	if err != nil {
		return "", &Failure{Condition: MalformedRequest, Cause: err}
	}
	newHash := hashOf(s.keys.Mechanism)
	authMessage := s.first.bare + "," + s.reply + "," + final.withoutProof
	clientKey := mac(newHash, s.keys.StoredKey, authMessage) // ClientSignature, until the proof is mixed in
	if len(final.proof) != len(clientKey) {
		return "", &Failure{Condition: NotAuthorized, Cause: errProofLength}
	}
	subtle.XORBytes(clientKey, clientKey, final.proof)
	proven := hmac.Equal(digest(newHash, clientKey), s.keys.StoredKey)
	signature := mac(newHash, s.keys.ServerKey, authMessage)
	var cause error
	switch {
	case final.binding != base64.StdEncoding.EncodeToString([]byte(s.first.gs2)):
		cause = errBinding
	case final.nonce != s.nonce:
		cause = errForeign
	case s.known != nil:
		cause = s.known
	case !proven:
		cause = errWrongPassword
	}
	if cause != nil {
		return "", &Failure{Condition: NotAuthorized, Cause: cause}
	}
	if f := e.accept(s.account, s.first.authzid); f != nil {
		return "", f
	}
	return "v=" + base64.StdEncoding.EncodeToString(signature), nil
}
