package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"rollcall/storage"
)

// Rosters checks everything that storage.Rosters promises. open returns two stores on
// the same empty data, as two processes would open it, which are closed with t.Cleanup.
func Rosters(t *testing.T, open func(t *testing.T) (s, other storage.Rosters)) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s, other storage.Rosters)
	}{
		{"empty", rostersEmpty},
		{"every field", rostersFields},
		{"order", rostersOrder},
		{"remove", rostersRemove},
		{"limit", rostersLimit},
		{"invalid", rostersInvalid},
		{"caller's slices", rostersSlices},
		{"large", rostersLarge},
		{"panic", rostersPanic},
		{"ended context", rostersEndedContext},
		{"one item at once", rostersOneItem},
		{"come and go at once", rostersComeAndGo},
		{"border at once", rostersBorder},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, other := open(t)
			test.run(t, s, other)
		})
	}
}

// becomes is a change that does not ask what was there.
func becomes(item storage.RosterItem) func(storage.RosterItem) (storage.RosterItem, bool) {
	return func(storage.RosterItem) (storage.RosterItem, bool) { return item, true }
}

// goes is a change that removes an item.
func goes(item storage.RosterItem) (storage.RosterItem, bool) { return item, false }

// putItem stores an item.
func putItem(t *testing.T, s storage.Rosters, user string, item storage.RosterItem) {
	t.Helper()
	got, err := s.ChangeRosterItem(t.Context(), user, item.Contact, 0, becomes(item))
	directoryOK(t, err)
	rosterEqual(t, "changed", []storage.RosterItem{got}, []storage.RosterItem{item})
}

// rosterEqual compares without printing what is large.
func rosterEqual(t *testing.T, what string, got, want []storage.RosterItem) {
	t.Helper()
	equal := func(a, b storage.RosterItem) bool { return reflect.DeepEqual(a, b) }
	if !slices.EqualFunc(got, want, equal) {
		t.Errorf("%s: %.1000v, want %.1000v", what, rosterText(got), rosterText(want))
	}
}

func rosterText(items []storage.RosterItem) string {
	var b strings.Builder
	for _, i := range items {
		fmt.Fprintf(&b, "{%.40q %.40q %.40q %d %t %t %t %.40q}", i.Contact, i.Name, i.Groups, i.Subscription, i.Ask, i.Approved, i.Hidden, i.Request)
	}
	return b.String()
}

// rosterHolds checks a roster in both stores, as a list and each item by itself.
func rosterHolds(t *testing.T, user string, want []storage.RosterItem, stores ...storage.Rosters) {
	t.Helper()
	for _, s := range stores {
		got, err := s.Roster(t.Context(), user)
		directoryOK(t, err)
		rosterEqual(t, "roster of "+user, got, want)
		for _, item := range want {
			got, err := s.RosterItem(t.Context(), user, item.Contact)
			directoryOK(t, err)
			rosterEqual(t, "item", []storage.RosterItem{got}, []storage.RosterItem{item})
		}
	}
}

func rostersEmpty(t *testing.T, s, other storage.Rosters) {
	rosterHolds(t, "ann", nil, s, other)
	_, err := s.RosterItem(t.Context(), "ann", "bob@x")
	directoryIs(t, "RosterItem", err, storage.ErrNotFound)
	directoryOK(t, s.RemoveRoster(t.Context(), "ann"))
	// What is removed and was not there: f is asked all the same.
	asked := 0
	_, err = s.ChangeRosterItem(t.Context(), "ann", "bob@x", 1, func(item storage.RosterItem) (storage.RosterItem, bool) {
		asked++
		rosterEqual(t, "a new item", []storage.RosterItem{item}, []storage.RosterItem{{Contact: "bob@x"}})
		return item, false
	})
	directoryOK(t, err)
	if asked == 0 {
		t.Error("f was not called")
	}
	rosterHolds(t, "ann", nil, s, other)
}

func rostersFields(t *testing.T, s, other storage.Rosters) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	want := []storage.RosterItem{
		{Contact: "a@x"},
		{Contact: "b@x", Name: "Bob ' \" & 日本 🎉 <b>\u2028", Groups: []string{"Friends", "  ", "日本", "", "a,b"}},
		{Contact: "c@x", Subscription: storage.SubscriptionTo},
		{Contact: "d@x", Subscription: storage.SubscriptionFrom},
		{Contact: "e@x", Subscription: storage.SubscriptionBoth},
		{Contact: "f@x", Ask: true},
		{Contact: "g@x", Approved: true},
		{Contact: "h@x", Hidden: true, Request: []byte("<presence type='subscribe'/>")},
		{Contact: "i@x", Request: all},
		{Contact: "j@x", Name: "All", Groups: []string{"b", "a"}, Subscription: 1, Ask: true, Approved: true, Hidden: true, Request: []byte{0}},
	}
	for _, item := range want {
		putItem(t, s, "ann", item)
	}
	rosterHolds(t, "ann", want, s, other)
	// Every one becomes another one; what f is given is what is there.
	for i := range want {
		next := want[(i+1)%len(want)]
		next.Contact = want[i].Contact
		_, err := other.ChangeRosterItem(t.Context(), "ann", next.Contact, 1, func(item storage.RosterItem) (storage.RosterItem, bool) {
			rosterEqual(t, "item", []storage.RosterItem{item}, want[i:i+1])
			return next, true
		})
		directoryOK(t, err)
		rosterEqual(t, "unchanged", mustRoster(t, s, "ann")[i+1:], want[i+1:])
		if i == 0 {
			continue
		}
		got, err := s.RosterItem(t.Context(), "ann", next.Contact)
		directoryOK(t, err)
		rosterEqual(t, "changed", []storage.RosterItem{got}, []storage.RosterItem{next})
	}
	// Empty slices are none, and who changes nothing leaves it as it is.
	none := storage.RosterItem{Contact: "a@x", Groups: []string{}, Request: []byte{}}
	_, err := s.ChangeRosterItem(t.Context(), "bob", "a@x", 0, becomes(none))
	directoryOK(t, err)
	rosterHolds(t, "bob", []storage.RosterItem{{Contact: "a@x"}}, s, other)
	same := func(item storage.RosterItem) (storage.RosterItem, bool) { return item, true }
	_, err = s.ChangeRosterItem(t.Context(), "bob", "a@x", 0, same)
	directoryOK(t, err)
	rosterHolds(t, "bob", []storage.RosterItem{{Contact: "a@x"}}, s, other)
}

func mustRoster(t *testing.T, s storage.Rosters, user string) []storage.RosterItem {
	t.Helper()
	items, err := s.Roster(t.Context(), user)
	directoryOK(t, err)
	return items
}

// rostersOrder has users and contacts of all sorts of names.
func rostersOrder(t *testing.T, s, other storage.Rosters) {
	ids := directoryGoodIDs() // in order
	for i := range ids {
		n := i * 7 % len(ids)
		for _, user := range ids[:4] {
			putItem(t, s, user, storage.RosterItem{Contact: ids[n], Name: user})
		}
	}
	for _, user := range ids[:4] {
		var want []storage.RosterItem
		for _, id := range ids {
			want = append(want, storage.RosterItem{Contact: id, Name: user})
		}
		rosterHolds(t, user, want, s, other)
	}
}

func rostersRemove(t *testing.T, s, other storage.Rosters) {
	a, b, c := storage.RosterItem{Contact: "a@x"}, storage.RosterItem{Contact: "b@x"}, storage.RosterItem{Contact: "c@x"}
	for _, item := range []storage.RosterItem{a, b, c} {
		putItem(t, s, "ann", item)
		putItem(t, s, "bob", item)
	}
	got, err := other.ChangeRosterItem(t.Context(), "ann", "b@x", 1, goes)
	directoryOK(t, err)
	rosterEqual(t, "removed", []storage.RosterItem{got}, []storage.RosterItem{b})
	rosterHolds(t, "ann", []storage.RosterItem{a, c}, s, other)
	_, err = s.RosterItem(t.Context(), "ann", "b@x")
	directoryIs(t, "RosterItem", err, storage.ErrNotFound)
	for range 2 {
		directoryOK(t, s.RemoveRoster(t.Context(), "ann"))
		rosterHolds(t, "ann", nil, s, other)
	}
	rosterHolds(t, "bob", []storage.RosterItem{a, b, c}, s, other)
	putItem(t, s, "ann", b)
	rosterHolds(t, "ann", []storage.RosterItem{b}, s, other)
}

func rostersLimit(t *testing.T, s, other storage.Rosters) {
	add := func(contact string, limit int) error {
		item := storage.RosterItem{Contact: contact, Name: contact, Hidden: contact == "a@x"}
		got, err := other.ChangeRosterItem(t.Context(), "ann", contact, limit, becomes(item))
		rosterEqual(t, "changed", []storage.RosterItem{got}, []storage.RosterItem{item})
		return err
	}
	directoryOK(t, add("a@x", 2))
	directoryOK(t, add("b@x", 2))
	directoryIs(t, "a third", add("c@x", 2), storage.ErrFull)
	directoryOK(t, add("b@x", 2)) // not new
	directoryOK(t, add("b@x", 1))
	_, err := s.ChangeRosterItem(t.Context(), "ann", "c@x", 2, goes)
	directoryOK(t, err)
	if n := len(mustRoster(t, s, "ann")); n != 2 {
		t.Errorf("%d items, want 2", n)
	}
	directoryOK(t, add("c@x", 0))
	directoryIs(t, "a fourth", add("d@x", 2), storage.ErrFull)
	directoryOK(t, add("d@x", 4))
}

func rostersInvalid(t *testing.T, s, other storage.Rosters) {
	for what, item := range map[string]storage.RosterItem{
		"no contact": {}, "contact": {Contact: "\xff"}, "name": {Contact: "a@x", Name: "\xff"},
		"group": {Contact: "a@x", Groups: []string{"\xff"}}, "subscription": {Contact: "a@x", Subscription: 4},
	} {
		_, err := s.ChangeRosterItem(t.Context(), "ann", item.Contact, 0, becomes(item))
		directoryIs(t, what, err, storage.ErrInvalid)
	}
	for _, user := range []string{"", "a/b", "\xff"} {
		_, err := s.ChangeRosterItem(t.Context(), user, "a@x", 0, becomes(storage.RosterItem{Contact: "a@x"}))
		directoryIs(t, user, err, storage.ErrInvalid)
	}
	rosterHolds(t, "ann", nil, s, other)
}

// rostersSlices overwrites what was passed in and what came out.
func rostersSlices(t *testing.T, s, other storage.Rosters) {
	make1 := func() storage.RosterItem {
		return storage.RosterItem{Contact: "a@x", Groups: []string{"g"}, Request: []byte("<presence/>")}
	}
	in := make1()
	got, err := s.ChangeRosterItem(t.Context(), "ann", "a@x", 0, becomes(in))
	directoryOK(t, err)
	for _, item := range []storage.RosterItem{in, got, mustRoster(t, s, "ann")[0]} {
		clear(item.Groups)
		clear(item.Request)
	}
	rosterHolds(t, "ann", []storage.RosterItem{make1()}, s, other)
}

func rostersLarge(t *testing.T, s, other storage.Rosters) {
	var want []storage.RosterItem
	for i := range 100 {
		item := storage.RosterItem{
			Contact: fmt.Sprintf("contact%03d@example.com", i), Name: strings.Repeat("n", 100), Groups: []string{"Colleagues", "Friends"},
			Subscription: storage.SubscriptionBoth, Request: bytes.Repeat([]byte("r"), 1+i*10),
		}
		if i == 99 {
			item.Request = bytes.Repeat([]byte("r"), 1<<20)
		}
		want = append(want, item)
		putItem(t, s, "ann", item)
	}
	got, err := s.RosterItem(t.Context(), "ann", want[99].Contact)
	directoryOK(t, err)
	rosterEqual(t, "item", []storage.RosterItem{got}, want[99:])
	rosterEqual(t, "roster", mustRoster(t, other, "ann"), want)
}

// rostersPanic panics in f: that is the caller's, and the store lives on.
func rostersPanic(t *testing.T, s, other storage.Rosters) {
	func() {
		defer func() {
			if p := recover(); p != "a mistake" {
				t.Errorf("recovered %v", p)
			}
		}()
		_, err := s.ChangeRosterItem(t.Context(), "ann", "a@x", 0, func(storage.RosterItem) (storage.RosterItem, bool) { panic("a mistake") })
		t.Errorf("no panic, %v", err)
	}()
	rosterHolds(t, "ann", nil, s, other)
	putItem(t, s, "ann", storage.RosterItem{Contact: "a@x"})
}

func rostersEndedContext(t *testing.T, s, other storage.Rosters) {
	putItem(t, s, "ann", storage.RosterItem{Contact: "a@x"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, listErr := s.Roster(ctx, "ann")
	_, itemErr := s.RosterItem(ctx, "ann", "a@x")
	_, changeErr := s.ChangeRosterItem(ctx, "ann", "a@x", 0, goes)
	for what, err := range map[string]error{
		"Roster": listErr, "RosterItem": itemErr, "ChangeRosterItem": changeErr, "RemoveRoster": s.RemoveRoster(ctx, "ann"),
	} {
		directoryIs(t, what, err, context.Canceled)
	}
	rosterHolds(t, "ann", []storage.RosterItem{{Contact: "a@x"}}, s, other)
}

// rostersOneItem counts in one item from many callers of both stores: no change is lost.
func rostersOneItem(t *testing.T, s, other storage.Rosters) {
	const callers, rounds = 8, 5
	each(callers, func(i int) {
		for range rounds {
			_, err := []storage.Rosters{s, other}[i%2].ChangeRosterItem(t.Context(), "ann", "a@x", 1, func(item storage.RosterItem) (storage.RosterItem, bool) {
				item.Name += "x"
				return item, true
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	rosterHolds(t, "ann", []storage.RosterItem{{Contact: "a@x", Name: strings.Repeat("x", callers*rounds)}}, s, other)
}

// rostersComeAndGo adds and removes one item from many callers: each sees what the one
// before it left, so that as many added as removed it, or one more.
func rostersComeAndGo(t *testing.T, s, other storage.Rosters) {
	var added, removed atomic.Int32
	each(6, func(i int) {
		for range 5 {
			var was bool
			_, err := []storage.Rosters{s, other}[i%2].ChangeRosterItem(t.Context(), "ann", "a@x", 1, func(item storage.RosterItem) (storage.RosterItem, bool) {
				was = item.Name != ""
				item.Name = "here"
				return item, !was
			})
			switch {
			case err != nil:
				t.Error(err)
			case was:
				removed.Add(1)
			default:
				added.Add(1)
			}
		}
	})
	left := added.Load() - removed.Load()
	if left != int32(len(mustRoster(t, s, "ann"))) {
		t.Errorf("%d times added, %d times removed; left %v", added.Load(), removed.Load(), mustRoster(t, s, "ann"))
	}
}

// rostersBorder adds more items than fit from many callers of both stores.
func rostersBorder(t *testing.T, s, other storage.Rosters) {
	const n, limit = 16, 7
	var added atomic.Int32
	each(n, func(i int) {
		item := storage.RosterItem{Contact: fmt.Sprintf("c%02d@x", i)}
		switch _, err := []storage.Rosters{s, other}[i%2].ChangeRosterItem(t.Context(), "ann", item.Contact, limit, becomes(item)); {
		case err == nil:
			added.Add(1)
		case !errors.Is(err, storage.ErrFull):
			t.Error(err)
		}
	})
	if left := len(mustRoster(t, s, "ann")); left != limit || added.Load() != limit {
		t.Errorf("%d were added and %d are there, want %d", added.Load(), left, limit)
	}
}
