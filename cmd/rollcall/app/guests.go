package app

import (
	"context"
	"strings"

	"rollcall/internal/auth"
	"rollcall/storage"
)

// Anonymous users (XEP-0175) own nothing: their share of each store is none, so that
// whatever a module wants to keep for them does not fit, and nobody's contacts last that
// have no account.

// keepNoGuests bounds the stores so.
func (s *stores) keepNoGuests() {
	s.spool, s.rosters, s.documents = guestSpool{s.spool}, guestRosters{s.rosters}, guestDocuments{s.documents}
}

// guestSpool is a Spool that keeps nothing for them.
type guestSpool struct{ storage.Spool }

// Keep implements storage.Spool.
func (s guestSpool) Keep(ctx context.Context, limit storage.KeepLimit, list ...storage.Kept) (refused []string, err error) {
	var rest []storage.Kept
	for _, k := range list {
		if isGuest(k.User) {
			refused = append(refused, k.ID)
		} else {
			rest = append(rest, k)
		}
	}
	if len(rest) == 0 {
		return refused, nil
	}
	more, err := s.Spool.Keep(ctx, limit, rest...)
	return append(refused, more...), err
}

// guestRosters are Rosters without their items and without them as items.
type guestRosters struct{ storage.Rosters }

// ChangeRosterItem implements storage.Rosters.
func (s guestRosters) ChangeRosterItem(ctx context.Context, user, contact string, limit int,
	f func(storage.RosterItem) (storage.RosterItem, bool)) (storage.RosterItem, error) {
	if !isGuest(user) && !isGuest(contact) {
		return s.Rosters.ChangeRosterItem(ctx, user, contact, limit, f)
	}
	item, keep := f(storage.RosterItem{Contact: contact})
	if keep {
		return item, storage.ErrFull
	}
	return item, nil
}

// guestDocuments are Documents without theirs.
type guestDocuments struct{ storage.Documents }

// PutDocument implements storage.Documents.
func (s guestDocuments) PutDocument(ctx context.Context, user, key string, data []byte, limit storage.DocumentLimit) error {
	if isGuest(user) && len(data) > 0 {
		return storage.ErrFull
	}
	return s.Documents.PutDocument(ctx, user, key, data, limit)
}

// isGuest reports whether a user id, or a bare address, is an anonymous user's.
func isGuest(user string) bool {
	local, _, _ := strings.Cut(user, "@")
	return auth.IsAnonymous(local)
}
