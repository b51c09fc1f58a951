package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"rollcall/storage"
)

// Roster implements storage.Rosters.
func (s *Store) Roster(ctx context.Context, user string) (items []storage.RosterItem, err error) {
	err = s.read(ctx, queryRoster, func(row []sqldriver.Value) error {
		item, err := rosterItem(row)
		items = append(items, item)
		return err
	}, user)
	if err != nil {
		return nil, err
	}
	return items, nil
}

// RosterItem implements storage.Rosters.
func (s *Store) RosterItem(ctx context.Context, user, contact string) (item storage.RosterItem, err error) {
	found := false
	err = s.read(ctx, queryRosterItem, func(row []sqldriver.Value) (err error) {
		found = true
		item, err = rosterItem(row)
		return err
	}, user, contact)
	if err == nil && !found {
		err = notFound("roster item", contact)
	}
	if err != nil {
		return storage.RosterItem{}, err
	}
	return item, nil
}

// rosterItem reads a row of rosterColumns.
func rosterItem(row []sqldriver.Value) (storage.RosterItem, error) {
	item := storage.RosterItem{
		Contact: text(row[0]), Name: text(row[1]), Subscription: storage.Subscription(number(row[3])),
		Ask: number(row[4]) != 0, Approved: number(row[5]) != 0, Hidden: number(row[6]) != 0, Request: blob(row[7]),
	}
	if groups := text(row[2]); groups != "[]" {
		if err := json.Unmarshal([]byte(groups), &item.Groups); err != nil {
			return item, fmt.Errorf("sqlite: the groups of roster item %q: %w", item.Contact, err)
		}
	}
	return item, nil
}

// ChangeRosterItem implements storage.Rosters. f runs within the transaction, once; what
// it panics with is its caller's.
func (s *Store) ChangeRosterItem(ctx context.Context, user, contact string, limit int, f func(storage.RosterItem) (storage.RosterItem, bool)) (storage.RosterItem, error) {
	if err := cmp.Or(storage.CheckUser(user), (storage.RosterItem{Contact: contact}).Check()); err != nil {
		return storage.RosterItem{}, err
	}
	var item storage.RosterItem
	var panicked any
	err := s.write(ctx, func(st *statements) (err error) {
		done := false
		defer func() {
			if !done {
				panicked = recover()
				err = errPanicked
			}
		}()
		item, err = st.own.changeRosterItem(user, contact, limit, f)
		done = true
		return err
	})
	if panicked != nil {
		panic(panicked)
	}
	return item, err
}

// errPanicked undoes a write whose function panicked.
var errPanicked = errors.New("sqlite: a change of a roster item panicked")

func (s *ownStatements) changeRosterItem(user, contact string, limit int, f func(storage.RosterItem) (storage.RosterItem, bool)) (storage.RosterItem, error) {
	old, found, err := s.findRosterItem(user, contact)
	if err != nil {
		return old, err
	}
	item, keep := f(old)
	item.Contact = contact
	switch {
	case !keep && !found, keep && found && reflect.DeepEqual(item, old):
		return item, nil
	case !keep:
		_, err := exec(s.removeRosterItem, user, contact)
		return item, err
	}
	if err := item.Check(); err != nil {
		return item, err
	}
	if !found && limit > 0 {
		var n int
		if err := s.rosterSize.QueryRow(user, limit).Scan(&n); err != nil {
			return item, err
		}
		if n >= limit {
			return item, fmt.Errorf("%w: %d roster items of %q", storage.ErrFull, limit, user)
		}
	}
	return item, s.storeRosterItem(user, item)
}

func (s *ownStatements) findRosterItem(user, contact string) (item storage.RosterItem, found bool, err error) {
	row, to := make([]sqldriver.Value, 8), make([]any, 8)
	for i := range row {
		to[i] = (*any)(&row[i])
	}
	err = s.rosterItem.QueryRow(user, contact).Scan(to...)
	if errors.Is(err, sql.ErrNoRows) {
		return storage.RosterItem{Contact: contact}, false, nil
	}
	if err == nil {
		item, err = rosterItem(row)
	}
	return item, err == nil, err
}

func (s *ownStatements) storeRosterItem(user string, i storage.RosterItem) error {
	groups := []byte("[]")
	if len(i.Groups) > 0 {
		var err error
		if groups, err = json.Marshal(i.Groups); err != nil {
			return err
		}
	}
	var request any // NULL
	if len(i.Request) > 0 {
		request = i.Request
	}
	_, err := exec(s.putRosterItem, user, i.Contact, i.Name, string(groups), int64(i.Subscription), i.Ask, i.Approved, i.Hidden, request)
	return err
}

// RemoveRoster implements storage.Rosters.
func (s *Store) RemoveRoster(ctx context.Context, user string) error {
	return s.write(ctx, func(st *statements) error {
		_, err := exec(st.own.removeRoster, user)
		return err
	})
}
