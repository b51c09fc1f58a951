package auth

import (
	"context"
	"errors"
	"fmt"

	"rollcall/internal/jid"
	"rollcall/storage"
)

var errNotHere = errors.New("not an account of this host")

// Known checks that a bare address is an account of the host, for whoever has other
// proof than a password of who the client is. It returns nil, NotAuthorized for an
// account that is not there, or TemporaryAuthFailure if the store cannot say.
func (a *Authenticator) Known(ctx context.Context, host string, account jid.JID) *Failure {
	user := claimed(account.String())
	if account.Local() == "" || account.IsFull() || account.Domain() != host {
		return &Failure{Condition: NotAuthorized, Cause: fmt.Errorf("%w: %s", errNotHere, host), User: user}
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err := a.users.User(ctx, account.Local())
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return &Failure{Condition: NotAuthorized, Cause: err, User: user}
	case err != nil:
		return &Failure{Condition: TemporaryAuthFailure, Cause: err, User: user}
	}
	return nil
}
