package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrFull says that a user's share of the store is used up; nothing was stored.
var ErrFull = errors.New("storage: full")

// MaxKeptID is the longest id of a kept message in bytes.
const MaxKeptID = 64

// Kept is a message that waits for a user (XEP-0160).
type Kept struct {
	User string // user id
	// ID names the message among all of the user's and orders them: a later one has an id
	// that sorts after, byte by byte. 1 to MaxKeptID printable bytes of ASCII, no spaces.
	ID   string
	At   time.Time // when it was sent; milliseconds are kept, and returned in UTC
	Data []byte    // the encoded stanza, never empty
}

// Check returns an error that wraps ErrInvalid for a message that breaks the rules of
// its type.
func (k Kept) Check() error {
	forbidden := func(r rune) bool { return r <= ' ' || r > '~' }
	switch {
	case k.ID == "" || len(k.ID) > MaxKeptID || strings.ContainsFunc(k.ID, forbidden):
		return fmt.Errorf("%w: the message id %q", ErrInvalid, k.ID)
	case len(k.Data) == 0:
		return fmt.Errorf("%w: message %s: no stanza", ErrInvalid, k.ID)
	}
	return CheckUser(k.User)
}

// CheckUser returns an error that wraps ErrInvalid for what is no local part of an
// address, as far as stores rely on it: not empty, and without a slash (RFC 7622 section
// 3.3.1).
func CheckUser(id string) error {
	if strings.Contains(id, "/") {
		return fmt.Errorf("%w: the user id %q", ErrInvalid, id)
	}
	return checkKey("user id", id)
}

// checkKey wants text that every store can find again.
func checkKey(what, s string) error {
	if s == "" || len(s) > maxKey || !utf8.ValidString(s) || strings.Contains(s, "\x00") {
		return fmt.Errorf("%w: the %s %q", ErrInvalid, what, s)
	}
	return nil
}

// maxKey is the longest bare address (RFC 7622 section 3.1) in bytes.
const maxKey = 2047

// KeepLimit bounds what waits for one user; zero fields bound nothing.
type KeepLimit struct {
	Messages int
	Bytes    int64 // of Data
	// DropOldest makes room for a new message by dropping those that sort first, never
	// that message itself; otherwise those that do not fit are refused. One that is
	// larger than Bytes is refused in any case, and drops nothing.
	DropOldest bool
}

// Fits says whether so much may wait for a user.
func (l KeepLimit) Fits(messages int, bytes int64) bool {
	return (l.Messages <= 0 || messages <= l.Messages) && (l.Bytes <= 0 || bytes <= l.Bytes)
}

// Spool keeps messages for users who are not there (XEP-0160). It does not ask whether
// there is such a user. Ids are unique per user: the same id may name another user's
// message.
type Spool interface {
	// Keep stores messages of one user or several, one after the other as if each came
	// by itself, and returns the ids of those that did not fit, in their order. An id
	// that its user has already changes nothing and is not refused: who does not know
	// whether a call was carried out repeats it. What was kept survives the end of the
	// process, however it ends. A message that is ErrInvalid fails the call before
	// anything is stored; after another error some of them may be kept.
	Keep(ctx context.Context, limit KeepLimit, list ...Kept) (refused []string, err error)
	// Waiting lists at most n of a user's messages, ordered by id, from the first one
	// that sorts after the id given; empty for the first of all.
	Waiting(ctx context.Context, user, after string, n int) ([]Kept, error)
	// Discard forgets messages of a user; unknown ids change nothing. A discarded
	// message does not come back when the process ends; when the whole machine loses
	// its power, it may.
	Discard(ctx context.Context, user string, ids ...string) error
	// DiscardAll forgets all messages of a user.
	DiscardAll(ctx context.Context, user string) error
	// CountWaiting says how much waits for a user. It costs the same however much that
	// is.
	CountWaiting(ctx context.Context, user string) (messages int, bytes int64, err error)
}

// Owners says whose data is worth keeping.
type Owners interface {
	// UserExists says whether there is such a user, also one who may not log in now. A
	// store may tell UserRemoved of those, whose data is not to be forgotten: who forgets
	// what a user owned asks first.
	UserExists(ctx context.Context, id string) (bool, error)
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

// Check returns an error that wraps ErrInvalid for an item that breaks the rules of its
// type.
func (i RosterItem) Check() error {
	for _, text := range append([]string{i.Name}, i.Groups...) {
		if !utf8.ValidString(text) {
			return fmt.Errorf("%w: roster item %q: not UTF-8", ErrInvalid, i.Contact)
		}
	}
	if i.Subscription > SubscriptionBoth {
		return fmt.Errorf("%w: roster item %q: subscription %d", ErrInvalid, i.Contact, i.Subscription)
	}
	return checkKey("contact", i.Contact)
}

// Rosters keeps the roster items that users own, beside what follows from projects. It
// does not ask whether there is such a user.
type Rosters interface {
	// Roster lists a user's items, ordered by contact, hidden ones too.
	Roster(ctx context.Context, user string) ([]RosterItem, error)
	// RosterItem returns one item, or ErrNotFound.
	RosterItem(ctx context.Context, user, contact string) (RosterItem, error)
	// ChangeRosterItem replaces an item by what f makes of it, all at once: nothing else
	// changes it meanwhile, though f may be called more than once for that. f gets an
	// item that says nothing but the contact when there is none, and returns whether it
	// shall be kept; otherwise it is removed. f changes neither the contact nor anything
	// that the item it was given refers to, does not wait, and does not call the store;
	// it may run on another goroutine. An item that is new where the user has limit items
	// or more, hidden ones too, is ErrFull; a limit of 0 bounds nothing. The result is
	// what f returned last, also with ErrFull.
	ChangeRosterItem(ctx context.Context, user, contact string, limit int, f func(RosterItem) (RosterItem, bool)) (RosterItem, error)
	// RemoveRoster removes all items of a user.
	RemoveRoster(ctx context.Context, user string) error
}

// DocumentLimit bounds the documents of one user; zero fields bound nothing.
type DocumentLimit struct {
	Documents int
	Bytes     int64 // of all together, keys not counted
}

// Fits says whether a user may have so many documents.
func (l DocumentLimit) Fits(documents int, bytes int64) bool {
	return (l.Documents <= 0 || documents <= l.Documents) && (l.Bytes <= 0 || bytes <= l.Bytes)
}

// CheckDocument returns an error that wraps ErrInvalid for a user or key that no store
// keeps documents under.
func CheckDocument(user, key string) error {
	if err := checkKey("document key", key); err != nil {
		return err
	}
	return CheckUser(user)
}

// Documents keeps small pieces of data about users, each under a key of 1 to 2047 bytes
// of UTF-8. It does not ask whether there is such a user.
type Documents interface {
	// Document returns a user's document, or ErrNotFound.
	Document(ctx context.Context, user, key string) ([]byte, error)
	// PutDocument stores a document in the place of the one before; an empty one
	// removes it, whether there is one or not. It returns ErrFull, and the one before
	// stays, when the limit would be exceeded; a document in the place of one that is no
	// smaller fits always.
	PutDocument(ctx context.Context, user, key string, data []byte, limit DocumentLimit) error
	// EachDocument calls f with every user's document of that key, in no order; data is
	// f's to keep. f must not call the store. A document that is changed meanwhile is
	// told as it was or as it is.
	EachDocument(ctx context.Context, key string, f func(user string, data []byte)) error
	// RemoveDocuments removes all documents of a user.
	RemoveDocuments(ctx context.Context, user string) error
}
