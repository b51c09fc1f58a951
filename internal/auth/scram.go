package auth

import (
	"context"
	"crypto/hmac"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"

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

// scramFirst reads client-first-message and makes server-first-message. All of SCRAM is
// written here (RFC 5802 section 5), as mellium's server wants the salted password, which
// is as good as the password, where StoredKey and ServerKey are enough.
func (e *Exchange) scramFirst(ctx context.Context, message string) (reply string, f *Failure) {
	first, err := parseClientFirst(message)
	if err != nil {
		return "", &Failure{Condition: MalformedRequest, Cause: err}
	}
	acc, f := e.lookup(ctx, first.user)
	if f != nil {
		return "", f
	}
	s := &scramState{account: acc, known: acc.unknown, first: first, nonce: first.nonce + e.a.nonce()}
	// Made for known users too, so that both cost the same.
	decoy := e.a.decoy(e.mechanism, acc.name)
	keys, found := keysFor(acc.credentials, e.mechanism)
	if !found {
		keys = decoy
		if s.known == nil {
			s.known = errNoKeys
		}
	}
	s.keys = keys
	s.reply = "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(keys.Salt) + ",i=" + strconv.Itoa(keys.Iterations)
	e.scram = s
	return s.reply, nil
}

// scramFinal reads client-final-message, checks the proof and makes
// server-final-message.
func (e *Exchange) scramFinal(message string) (string, *Failure) {
	s := e.scram
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
