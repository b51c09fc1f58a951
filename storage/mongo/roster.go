package mongo

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/storage"
)

// roster is the document of a user's roster.
type roster struct {
	User  string        `bson:"_id"`
	Rev   bson.ObjectID `bson:"rev"`
	Items []rosterItem  `bson:"items"` // ordered by contact
}

// rosterItem is a storage.RosterItem; what says nothing is left out.
type rosterItem struct {
	Contact      string   `bson:"contact"`
	Name         string   `bson:"name,omitempty"`
	Groups       []string `bson:"groups,omitempty"`
	Subscription uint8    `bson:"subscription,omitempty"`
	Ask          bool     `bson:"ask,omitempty"`
	Approved     bool     `bson:"approved,omitempty"`
	Hidden       bool     `bson:"hidden,omitempty"`
	Request      []byte   `bson:"request,omitempty"`
}

func (i rosterItem) item() storage.RosterItem {
	return storage.RosterItem{
		Contact: i.Contact, Name: i.Name, Groups: i.Groups, Subscription: storage.Subscription(i.Subscription),
		Ask: i.Ask, Approved: i.Approved, Request: i.Request, Hidden: i.Hidden,
	}
}

func newRosterItem(i storage.RosterItem) rosterItem {
	return rosterItem{
		Contact: i.Contact, Name: i.Name, Groups: i.Groups, Subscription: uint8(i.Subscription),
		Ask: i.Ask, Approved: i.Approved, Request: i.Request, Hidden: i.Hidden,
	}
}

func (r *roster) find(contact string) (int, bool) {
	return slices.BinarySearchFunc(r.Items, contact, func(i rosterItem, c string) int { return strings.Compare(i.Contact, c) })
}

func (s *Store) rosterOf(ctx context.Context, user string) (roster, error) {
	var r roster
	err := s.own.read(ctx, "roster", func(ctx context.Context) error {
		r = roster{User: user}
		return load(ctx, s.own.rosters, user, &r)
	})
	return r, err
}

// Roster implements storage.Rosters.
func (s *Store) Roster(ctx context.Context, user string) ([]storage.RosterItem, error) {
	r, err := s.rosterOf(ctx, user)
	if err != nil {
		return nil, err
	}
	items := make([]storage.RosterItem, len(r.Items))
	for i, item := range r.Items {
		items[i] = item.item()
	}
	return items, nil
}

// RosterItem implements storage.Rosters.
func (s *Store) RosterItem(ctx context.Context, user, contact string) (storage.RosterItem, error) {
	r, err := s.rosterOf(ctx, user)
	if err != nil {
		return storage.RosterItem{}, err
	}
	i, found := r.find(contact)
	if !found {
		return storage.RosterItem{}, notFound("roster item", contact)
	}
	return r.Items[i].item(), nil
}

// ChangeRosterItem implements storage.Rosters. f is called again when another server was
// faster.
func (s *Store) ChangeRosterItem(ctx context.Context, user, contact string, limit int, f func(storage.RosterItem) (storage.RosterItem, bool)) (item storage.RosterItem, err error) {
	if err := (storage.RosterItem{Contact: contact}).Check(); err != nil {
		return item, err
	}
	err = s.own.change(ctx, "change-roster", user, func(ctx context.Context) error {
		for done := false; !done; {
			r := roster{User: user}
			if err := load(ctx, s.own.rosters, user, &r); err != nil {
				return err
			}
			rev := r.Rev
			var changed bool
			item, changed, err = r.change(contact, limit, f)
			if err != nil || !changed {
				return err
			}
			var doc any // none for an empty roster
			if len(r.Items) > 0 {
				r.Rev = bson.NewObjectID()
				doc = &r
			}
			if done, err = replace(ctx, s.own.rosters, user, rev, doc); err != nil {
				return err
			}
		}
		return nil
	})
	return item, err
}

// change changes an item, and reports whether the roster is another one now.
func (r *roster) change(contact string, limit int, f func(storage.RosterItem) (storage.RosterItem, bool)) (item storage.RosterItem, changed bool, err error) {
	i, there := r.find(contact)
	old := storage.RosterItem{Contact: contact}
	if there {
		old = r.Items[i].item()
	}
	item, keep := f(old)
	item.Contact = contact
	switch {
	case !keep && !there, keep && there && reflect.DeepEqual(item, old):
		return item, false, nil
	case !keep:
		r.Items = slices.Delete(r.Items, i, i+1)
		return item, true, nil
	}
	if err := item.Check(); err != nil {
		return item, false, err
	}
	if !there && limit > 0 && len(r.Items) >= limit {
		return item, false, fmt.Errorf("%w: %d roster items of %q", storage.ErrFull, limit, r.User)
	}
	if !there {
		r.Items = slices.Insert(r.Items, i, rosterItem{})
	}
	r.Items[i] = newRosterItem(item)
	size := 0
	for _, i := range r.Items {
		size += len(i.Contact) + len(i.Name) + len(i.Request) + 200
		for _, g := range i.Groups {
			size += len(g) + 16
		}
	}
	if size > largest {
		return item, false, fmt.Errorf("%w: a roster of %d bytes of %q", storage.ErrFull, size, r.User)
	}
	return item, true, nil
}

// RemoveRoster implements storage.Rosters.
func (s *Store) RemoveRoster(ctx context.Context, user string) error {
	return s.own.removeAll(ctx, "change-roster", user, s.own.rosters)
}
