package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"rollcall/internal/jid"
	"rollcall/storage"
)

// maxText is the longest base64 text a Step takes, in bytes.
const maxText = 16 << 10

var (
	errWrongPassword = errors.New("wrong password")
	errNoKeys        = errors.New("credentials have nothing this mechanism can use")
	errTooLong       = fmt.Errorf("more than %d bytes of base64", maxText)
	errEnded         = errors.New("step after the end of the exchange")
	errAborted       = errors.New("aborted by the client")
	errPlain         = errors.New("PLAIN: not three parts, or one is empty or not UTF-8")
)

// Exchange is one try of one client to log in. It is for one goroutine at a
// time.
type Exchange struct {
	a         *Authenticator
	host      string
	mechanism string
	prompted  bool        // the client has been asked for an initial response
	ended     bool        // by success or failure
	scram     *scramState // from the client's first message on
	claimed   string
	account   jid.JID
}

// Account is the bare address of the user who logged in; zero before the exchange has
// succeeded.
func (e *Exchange) Account() jid.JID { return e.account }

// Abort ends the exchange at the client's wish (RFC 6120 section 6.4.4).
func (e *Exchange) Abort() *Failure {
	_, _, f := e.fail(Aborted, errAborted)
	return f
}

// Step takes the text of <auth/> or <response/>: base64, "=" for data of no
// length, "" for no data (RFC 6120 section 6.4.2). It returns the text that
// goes to the client. While done is false that is a challenge, perhaps an empty
// one. When done is true the exchange is over: with a failure, or with success,
// and then the text, if any, is the additional data of <success/>.
func (e *Exchange) Step(ctx context.Context, text string) (challenge string, done bool, f *Failure) {
	if e.ended {
		return e.fail(MalformedRequest, errEnded)
	}
	if err := ctx.Err(); err != nil {
		return e.fail(TemporaryAuthFailure, err)
	}
	if len(text) > maxText {
		return e.fail(MalformedRequest, errTooLong)
	}
	if text == "" && !e.prompted && !e.Anonymous() {
		// Every mechanism but ANONYMOUS speaks first: ask for it (RFC 4422 section 3).
		e.prompted = true
		return "", false, nil
	}
	e.prompted = true
	message := ""
	if text != "=" {
		data, err := decode64(text)
		if err != nil {
			return e.fail(IncorrectEncoding, err)
		}
		message = string(data)
	}
	reply, done, f := e.next(ctx, message)
	if f != nil {
		return e.fail(f.Condition, f.Cause)
	}
	e.ended = done
	return base64.StdEncoding.EncodeToString([]byte(reply)), done, nil
}

// next is the mechanism's answer to a message of the client.
func (e *Exchange) next(ctx context.Context, message string) (reply string, done bool, f *Failure) {
	switch {
	case e.Anonymous():
		return "", true, e.anonymous(message)
	case e.mechanism == plainName:
		return "", true, e.plain(ctx, message)
	case e.scram == nil:
		reply, f = e.scramFirst(ctx, message)
		return reply, false, f
	default:
		reply, f = e.scramFinal(message)
		return reply, true, f
	}
}

func (e *Exchange) fail(condition string, cause error) (string, bool, *Failure) {
	e.ended = true
	return "", true, &Failure{Condition: condition, Cause: cause, User: e.claimed}
}

// account is whom a claimed name stands for.
type account struct {
	jid         jid.JID // zero if the name cannot be a user's
	name        string  // the id, or the name as claimed if it cannot be one
	credentials storage.Credentials
	unknown     error // why there is no such user; nil if there is
	blocked     error // why the user may not log in; nil if they may
}

// lookup finds whom the client claims to be. A name that cannot be a user's is
// an unknown user.
func (e *Exchange) lookup(ctx context.Context, name string) (account, *Failure) {
	e.claimed = claimed(name)
	j, err := jid.New(name, e.host, "")
	if err == nil && j.Local() == "" {
		err = jid.ErrMalformed
	}
	if err != nil {
		return account{name: name, unknown: err}, nil
	}
	acc := account{jid: j, name: j.Local()}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	acc.credentials, err = e.a.users.Credentials(ctx, acc.name)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		acc.credentials, acc.unknown = storage.Credentials{}, err
	case errors.Is(err, storage.ErrBlocked):
		acc.blocked = err
	case err != nil:
		return account{}, &Failure{Condition: TemporaryAuthFailure, Cause: err}
	}
	return acc, nil
}

// accept ends the exchange's check of who the client is, which is proven by now:
// the user must not be blocked (RFC 6120 section 6.5.2), and the authorization
// identity must be absent or the user's own bare JID (RFC 6120 section 6.3.8),
// which some clients always send.
func (e *Exchange) accept(acc account, authzid string) *Failure {
	if acc.blocked != nil {
		return &Failure{Condition: AccountDisabled, Cause: acc.blocked}
	}
	if authzid != "" {
		j, err := jid.Parse(authzid)
		if err != nil {
			return &Failure{Condition: InvalidAuthzid, Cause: err}
		}
		if j != acc.jid {
			return &Failure{Condition: InvalidAuthzid, Cause: fmt.Errorf("%s may not act as %s", acc.jid, j)}
		}
	}
	e.account = acc.jid
	return nil
}

// plain reads PLAIN's message and checks the password (RFC 4616 section 2).
func (e *Exchange) plain(ctx context.Context, message string) *Failure {
	authzid, rest, ok := strings.Cut(message, "\x00")
	name, password, ok2 := strings.Cut(rest, "\x00")
	if !ok || !ok2 || name == "" || password == "" || strings.Contains(password, "\x00") || !utf8.ValidString(message) {
		return &Failure{Condition: MalformedRequest, Cause: errPlain}
	}
	acc, f := e.lookup(ctx, name)
	if f != nil {
		return f
	}
	ok, err := e.a.verify(ctx, acc, password)
	switch {
	case errors.Is(err, errHash):
		// Trying again would not help (RFC 6120 section 6.5.11 is for what passes).
		return &Failure{Condition: NotAuthorized, Cause: err}
	case err != nil:
		return &Failure{Condition: TemporaryAuthFailure, Cause: err}
	case acc.unknown != nil:
		return &Failure{Condition: NotAuthorized, Cause: acc.unknown}
	case !ok && acc.credentials.Plain == "" && acc.credentials.Hash == "" && !hasKeys(acc.credentials):
		return &Failure{Condition: NotAuthorized, Cause: errNoKeys}
	case !ok:
		return &Failure{Condition: NotAuthorized, Cause: errWrongPassword}
	}
	return e.accept(acc, authzid)
}

// decode64 decodes base64 as RFC 6120 section 13.9.1 wants it: nothing but the
// alphabet, padded, no stray bits. The standard decoder skips line ends.
func decode64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line end within base64")
	}
	return strict64.DecodeString(s)
}

var strict64 = base64.StdEncoding.Strict()
