package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/storage"
)

// Spool checks everything that storage.Spool promises. open returns two stores on the
// same empty data, as two processes would open it, which are closed with t.Cleanup.
func Spool(t *testing.T, open func(t *testing.T) (s, other storage.Spool)) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s, other storage.Spool)
	}{
		{"empty", spoolEmpty},
		{"order and pages", spoolOrder},
		{"what is kept", spoolContent},
		{"ids again", spoolAgain},
		{"invalid", spoolInvalid},
		{"refuse", spoolRefuse},
		{"drop oldest", spoolDrop},
		{"drop by bytes", spoolDropBytes},
		{"too large for anybody", spoolTooLarge},
		{"smaller limit", spoolSmallerLimit},
		{"discard", spoolDiscard},
		{"users of their own", spoolUsers},
		{"caller's slices", spoolSlices},
		{"large", spoolLarge},
		{"ended context", spoolEndedContext},
		{"model", spoolModel},
		{"border at once", spoolBorder},
		{"drop at once", spoolDropAtOnce},
		{"same ids at once", spoolSameIDs},
		{"keep and discard at once", spoolComeAndGo},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, other := open(t)
			test.run(t, s, other)
		})
	}
}

// spoolTime is when messages of the tests were sent.
func spoolTime(n int) time.Time {
	return time.Date(2026, 11, 21, 22, 46, 48, 123e6, time.UTC).Add(time.Duration(n) * time.Millisecond)
}

// kept is a message whose stanza has so many bytes.
func kept(user string, n, size int) storage.Kept {
	data := bytes.Repeat([]byte{byte('a' + n%26)}, size)
	return storage.Kept{User: user, ID: fmt.Sprintf("%06d", n), At: spoolTime(n), Data: data}
}

// keep keeps messages that fit.
func keep(t *testing.T, s storage.Spool, limit storage.KeepLimit, list ...storage.Kept) {
	t.Helper()
	refused, err := s.Keep(t.Context(), limit, list...)
	directoryOK(t, err)
	directoryEqual(t, "refused", refused, nil)
}

// spoolHolds checks all that waits for a user, in both stores.
func spoolHolds(t *testing.T, user string, want []storage.Kept, stores ...storage.Spool) {
	t.Helper()
	var size int64
	for _, k := range want {
		size += int64(len(k.Data))
	}
	for _, s := range stores {
		got, err := s.Waiting(t.Context(), user, "", len(want)+10)
		directoryOK(t, err)
		if !slices.EqualFunc(got, want, func(a, b storage.Kept) bool { return reflect.DeepEqual(a, b) }) {
			t.Fatalf("%q: waiting %v, want %v", user, keptIDs(got), keptIDs(want))
		}
		n, bytes, err := s.CountWaiting(t.Context(), user)
		if err != nil || n != len(want) || bytes != size {
			t.Fatalf("%q: %d messages of %d bytes are counted (%v), want %d of %d", user, n, bytes, err, len(want), size)
		}
	}
}

func keptIDs(list []storage.Kept) []string {
	ids := make([]string, 0, len(list))
	for _, k := range list {
		ids = append(ids, fmt.Sprintf("%s:%d", k.ID, len(k.Data)))
	}
	return ids
}

func spoolEmpty(t *testing.T, s, other storage.Spool) {
	spoolHolds(t, "ann", nil, s, other)
	directoryOK(t, s.Discard(t.Context(), "ann", "1", "2"))
	directoryOK(t, s.Discard(t.Context(), "ann"))
	directoryOK(t, s.DiscardAll(t.Context(), "ann"))
	keep(t, s, storage.KeepLimit{})
	spoolHolds(t, "ann", nil, s, other)
}

// spoolOrder keeps messages in no order and reads them in pages.
func spoolOrder(t *testing.T, s, other storage.Spool) {
	ids := []string{"!", "!!", "-", "0", "00", "01", "1", "A", "Z", "_", "a", "a!", "aa", "ab", "b", "~", "~~", strings.Repeat("~", storage.MaxKeptID)}
	want := make([]storage.Kept, len(ids))
	for i := range ids {
		n := i * 7 % len(ids) // in no order
		want[n] = storage.Kept{User: "ann", ID: ids[n], At: spoolTime(-n), Data: []byte(ids[n])}
		keep(t, s, storage.KeepLimit{}, want[n])
	}
	spoolHolds(t, "ann", want, s, other)
	for n := 1; n <= len(ids)+1; n++ {
		var got []storage.Kept
		after := ""
		for {
			page, err := other.Waiting(t.Context(), "ann", after, n)
			directoryOK(t, err)
			if len(page) > n {
				t.Fatalf("a page of %d, want %d at most", len(page), n)
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].ID
			got = append(got, page...)
		}
		directoryEqual(t, fmt.Sprintf("pages of %d", n), got, want)
	}
	for _, n := range []int{0, -1} {
		page, err := s.Waiting(t.Context(), "ann", "", n)
		directoryOK(t, err)
		directoryEqual(t, "no messages", page, nil)
	}
	page, err := s.Waiting(t.Context(), "ann", "a$", 1) // an id that is not there
	directoryOK(t, err)
	directoryEqual(t, "after a gap", page, want[12:13])
}

// spoolContent keeps bytes of every kind, and times.
func spoolContent(t *testing.T, s, other storage.Spool) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	var want []storage.Kept
	for i, k := range []storage.Kept{
		{At: spoolTime(0), Data: all},
		{At: spoolTime(0).Add(999 * time.Microsecond), Data: []byte{0}},
		{At: time.Unix(0, 0), Data: []byte("<message><body>日本 🎉</body></message>")},
		{At: time.Date(1969, 7, 20, 20, 17, 40, 1e6, time.FixedZone("", 3600)), Data: []byte("x")},
	} {
		k.User, k.ID = "ann", fmt.Sprint(i)
		keep(t, s, storage.KeepLimit{}, k)
		k.At = k.At.UTC().Truncate(time.Millisecond)
		want = append(want, k)
	}
	spoolHolds(t, "ann", want, s, other)
}

// spoolAgain keeps ids that are there: nothing changes, and nothing is refused, whether
// there is room or not.
func spoolAgain(t *testing.T, s, other storage.Spool) {
	want := []storage.Kept{kept("ann", 1, 10), kept("ann", 2, 10)}
	keep(t, s, storage.KeepLimit{}, want...)
	again := kept("ann", 1, 20)
	keep(t, other, storage.KeepLimit{}, again, again)
	for _, drop := range []bool{false, true} {
		keep(t, other, storage.KeepLimit{Messages: 2, DropOldest: drop}, again)
		keep(t, other, storage.KeepLimit{Bytes: 20, DropOldest: drop}, again, want[0], want[1])
		keep(t, other, storage.KeepLimit{Bytes: 5, DropOldest: drop}, again) // too large, but there
	}
	spoolHolds(t, "ann", want, s, other)
	// An id that was discarded is new again.
	directoryOK(t, s.Discard(t.Context(), "ann", again.ID))
	keep(t, s, storage.KeepLimit{}, again)
	spoolHolds(t, "ann", []storage.Kept{again, want[1]}, s, other)
}

func spoolInvalid(t *testing.T, s, other storage.Spool) {
	for what, k := range map[string]storage.Kept{
		"no user":      {ID: "1", Data: []byte("x")},
		"user/":        {User: "ann/1", ID: "1", Data: []byte("x")},
		"user \xff":    {User: "\xff", ID: "1", Data: []byte("x")},
		"user NUL":     {User: "a\x00", ID: "1", Data: []byte("x")},
		"no id":        {User: "ann", Data: []byte("x")},
		"long id":      {User: "ann", ID: strings.Repeat("1", storage.MaxKeptID+1), Data: []byte("x")},
		"id of spaces": {User: "ann", ID: "1 2", Data: []byte("x")},
		"id not ASCII": {User: "ann", ID: "é", Data: []byte("x")},
		"no stanza":    {User: "ann", ID: "1"},
	} {
		_, err := s.Keep(t.Context(), storage.KeepLimit{}, kept("ann", 1, 1), k)
		directoryIs(t, what, err, storage.ErrInvalid)
	}
	spoolHolds(t, "ann", nil, s, other)
}

func spoolDiscard(t *testing.T, s, other storage.Spool) {
	var all []storage.Kept
	for n := range 6 {
		all = append(all, kept("ann", n, n+1))
	}
	keep(t, s, storage.KeepLimit{}, all...)
	directoryOK(t, other.Discard(t.Context(), "ann", all[3].ID, "unknown", all[0].ID, all[3].ID, "", "a b"))
	spoolHolds(t, "ann", []storage.Kept{all[1], all[2], all[4], all[5]}, s, other)
	directoryOK(t, s.DiscardAll(t.Context(), "ann"))
	spoolHolds(t, "ann", nil, s, other)
	keep(t, other, storage.KeepLimit{}, all...)
	ids := make([]string, len(all))
	for i, k := range all {
		ids[i] = k.ID
	}
	directoryOK(t, s.Discard(t.Context(), "ann", ids...))
	spoolHolds(t, "ann", nil, s, other)
}

// spoolUsers keeps the same ids for users of all sorts of names.
func spoolUsers(t *testing.T, s, other storage.Spool) {
	users := directoryGoodIDs()
	var list []storage.Kept
	for i, u := range users {
		list = append(list, kept(u, 7, i+1))
	}
	limit := storage.KeepLimit{Messages: 1}
	keep(t, s, limit, list...)
	refused, err := s.Keep(t.Context(), limit, kept(users[0], 8, 1), kept("new", 9, 1), kept(users[1], 8, 1))
	directoryOK(t, err)
	directoryEqual(t, "refused", refused, []string{"000008", "000008"})
	for i, u := range users {
		spoolHolds(t, u, list[i:i+1], s, other)
	}
	for i, u := range users {
		if i%2 == 0 {
			directoryOK(t, s.DiscardAll(t.Context(), u))
		} else {
			directoryOK(t, s.Discard(t.Context(), u, "000007"))
		}
		spoolHolds(t, u, nil, other)
		for j, v := range users[i+1:] {
			spoolHolds(t, v, list[i+1+j:i+2+j], other)
		}
	}
	spoolHolds(t, "new", []storage.Kept{kept("new", 9, 1)}, s)
}

// spoolSlices overwrites what was passed in and what came out.
func spoolSlices(t *testing.T, s, other storage.Spool) {
	k := kept("ann", 1, 10)
	keep(t, s, storage.KeepLimit{}, k)
	clear(k.Data)
	got, err := s.Waiting(t.Context(), "ann", "", 1)
	directoryOK(t, err)
	clear(got[0].Data)
	spoolHolds(t, "ann", []storage.Kept{kept("ann", 1, 10)}, s, other)
}

// spoolLarge keeps stanzas as large as clients may send, and many of them.
func spoolLarge(t *testing.T, s, other storage.Spool) {
	large := []storage.Kept{kept("ann", 1, 1<<20), kept("ann", 2, 1<<20), kept("ann", 3, 2<<20)}
	keep(t, s, storage.KeepLimit{Bytes: 4 << 20}, large...)
	spoolHolds(t, "ann", large, s, other)
	var many []storage.Kept
	for n := range 300 {
		many = append(many, kept("bob", n, 100))
	}
	keep(t, s, storage.KeepLimit{Messages: 300}, many...)
	spoolHolds(t, "bob", many, s, other)
	directoryOK(t, s.DiscardAll(t.Context(), "ann"))
	directoryOK(t, s.DiscardAll(t.Context(), "bob"))
	spoolHolds(t, "ann", nil, s, other)
	spoolHolds(t, "bob", nil, s, other)
}

func spoolEndedContext(t *testing.T, s, other storage.Spool) {
	keep(t, s, storage.KeepLimit{}, kept("ann", 1, 10))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, keepErr := s.Keep(ctx, storage.KeepLimit{}, kept("ann", 2, 10))
	_, waitingErr := s.Waiting(ctx, "ann", "", 10)
	_, _, countErr := s.CountWaiting(ctx, "ann")
	for what, err := range map[string]error{
		"Keep": keepErr, "Waiting": waitingErr, "CountWaiting": countErr,
		"Discard": s.Discard(ctx, "ann", "000001"), "DiscardAll": s.DiscardAll(ctx, "ann"),
	} {
		directoryIs(t, what, err, context.Canceled)
	}
	spoolHolds(t, "ann", []storage.Kept{kept("ann", 1, 10)}, s, other)
}
