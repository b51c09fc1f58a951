package storage

import (
	"context"
	"errors"
	"time"
)

// ErrFull says that a user's share of the store is used up; nothing was stored.
var ErrFull = errors.New("storage: full")

// Kept is a message that waits for a user (XEP-0160).
type Kept struct {
	User string // user id
	// ID names the message among all, and orders the user's messages: a later one has
	// an id that sorts after. At most 64 bytes of ASCII.
	ID   string
	At   time.Time // when it was sent; milliseconds are kept
	Data []byte    // the encoded stanza
}

// KeepLimit bounds what waits for one user; zero fields bound nothing.
type KeepLimit struct {
	Messages int
	Bytes    int64 // of Data
	// DropOldest makes room for new messages; otherwise those that do not fit are
	// refused.
	DropOldest bool
}

// Spool keeps messages for users who are not there (XEP-0160).
type Spool interface {
	// Keep stores messages, in order, and returns the ids of those that did not fit. An
	// id that is there already changes nothing. What was kept survives the end of the
	// process, however it ends.
	Keep(ctx context.Context, limit KeepLimit, list ...Kept) (refused []string, err error)
	// Waiting lists at most n of a user's messages, ordered by id, from the first one
	// that sorts after the id given; empty for the first of all.
	Waiting(ctx context.Context, user, after string, n int) ([]Kept, error)
	// Discard forgets messages of a user; unknown ids change nothing.
	Discard(ctx context.Context, user string, ids ...string) error
	// DiscardAll forgets all messages of a user.
	DiscardAll(ctx context.Context, user string) error
	// CountWaiting says how much waits for a user.
	CountWaiting(ctx context.Context, user string) (messages int, bytes int64, err error)
}

// Subscription is the state of a roster item (RFC 6121 section 2.1.2.5), as a set of
// the two directions.
type Subscription uint8

// The subscriptions.
const (
	SubscriptionNone Subscription = 0
	SubscriptionTo   Subscription = 1 // the user sees the contact's presence
	SubscriptionFrom Subscription = 2 // the contact sees the user's presence
	SubscriptionBoth Subscription = SubscriptionTo | SubscriptionFrom
)

// RosterItem is a contact that a user has added, or that asks for the user's presence.
type RosterItem struct {
	Contact      string // bare address, canonical
	Name         string
	Groups       []string // ordered, each once
	Subscription Subscription
	// Ask says that the user waits for the contact's approval (RFC 6121 section
	// 2.1.2.2, "pending out").
	Ask bool
	// Approved says that the user approved the contact's request in advance (RFC 6121
	// section 3.4).
	Approved bool
	// Request is the contact's subscription request that the user has not answered
	// (RFC 6121 section 3.1.3, "pending in"): the encoded stanza; nil for none.
	Request []byte
	// Hidden says that the item is there for Request alone and no part of the roster
	// that clients see.
	Hidden bool
}

// Rosters keeps the roster items that users own, beside what follows from projects.
type Rosters interface {
	// Roster lists a user's items, ordered by contact.
	Roster(ctx context.Context, user string) ([]RosterItem, error)
	// RosterItem returns one item, or ErrNotFound.
	RosterItem(ctx context.Context, user, contact string) (RosterItem, error)
	// ChangeRosterItem replaces an item by what f makes of it, all at once: nothing else
	// changes it meanwhile, though f may be called more than once for that. f gets an
	// item that says nothing but the contact when there is none, and returns whether it
	// shall be kept; otherwise it is removed. A new item beyond limit, where that is not
	// 0, is ErrFull. f must not call the store. The result is what f returned last.
	ChangeRosterItem(ctx context.Context, user, contact string, limit int, f func(RosterItem) (RosterItem, bool)) (RosterItem, error)
	// RemoveRoster removes all items of a user.
	RemoveRoster(ctx context.Context, user string) error
}

// DocumentLimit bounds the documents of one user; zero fields bound nothing.
type DocumentLimit struct {
	Documents int
	Bytes     int64 // of all together
}

// Documents keeps small pieces of data about users, each under a key.
type Documents interface {
	// Document returns a user's document, or ErrNotFound.
	Document(ctx context.Context, user, key string) ([]byte, error)
	// PutDocument stores a document in the place of the one before; an empty one
	// removes it. It returns ErrFull when the limit would be exceeded.
	PutDocument(ctx context.Context, user, key string, data []byte, limit DocumentLimit) error
	// EachDocument calls f with every user's document of that key, in no order. f
	// must not call the store.
	EachDocument(ctx context.Context, key string, f func(user string, data []byte)) error
	// RemoveDocuments removes all documents of a user.
	RemoveDocuments(ctx context.Context, user string) error
}
