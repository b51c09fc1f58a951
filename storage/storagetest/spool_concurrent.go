package storagetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"rollcall/storage"
)

// spoolModel does things at random and compares with what a slice would hold.
func spoolModel(t *testing.T, s, other storage.Spool) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	model := make(map[string][]storage.Kept)
	for range 150 {
		user := []string{"ann", "bob"}[r.IntN(2)]
		on := []storage.Spool{s, other}[r.IntN(2)]
		switch r.IntN(6) {
		case 0:
			var ids []string
			for range r.IntN(4) {
				ids = append(ids, fmt.Sprintf("%06d", r.IntN(20)))
			}
			directoryOK(t, on.Discard(t.Context(), user, ids...))
			model[user] = slices.DeleteFunc(model[user], func(k storage.Kept) bool { return slices.Contains(ids, k.ID) })
		default:
			limit := storage.KeepLimit{Messages: r.IntN(8), Bytes: int64(r.IntN(40)), DropOldest: r.IntN(2) == 0}
			var list []storage.Kept
			for range 1 + r.IntN(3) {
				list = append(list, kept(user, r.IntN(20), 1+r.IntN(20)))
			}
			refused, err := on.Keep(t.Context(), limit, list...)
			directoryOK(t, err)
			directoryEqual(t, "refused", refused, spoolModelKeep(model, limit, list))
		}
		spoolHolds(t, user, model[user], on)
	}
}

// spoolModelKeep is Keep as its contract has it.
func spoolModelKeep(model map[string][]storage.Kept, limit storage.KeepLimit, list []storage.Kept) (refused []string) {
	for _, k := range list {
		has := model[k.User]
		size := int64(len(k.Data))
		for _, h := range has {
			size += int64(len(h.Data))
		}
		at, found := slices.BinarySearchFunc(has, k, func(a, b storage.Kept) int { return strings.Compare(a.ID, b.ID) })
		if found {
			continue
		}
		if !limit.DropOldest && !limit.Fits(len(has)+1, size) || !limit.Fits(1, int64(len(k.Data))) {
			refused = append(refused, k.ID)
			continue
		}
		dropped := 0
		for ; !limit.Fits(len(has)-dropped+1, size); dropped++ {
			size -= int64(len(has[dropped].Data))
		}
		has = slices.Insert(slices.Clone(has), at, k)
		for range dropped {
			if has[0].ID == k.ID {
				has = slices.Delete(has, 1, 2)
			} else {
				has = slices.Delete(has, 0, 1)
			}
		}
		model[k.User] = has
	}
	return refused
}

// each calls f so many times at once.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// spoolBorder keeps more than fits, from many callers of both stores: just the limit is
// kept, and who was told so has it.
func spoolBorder(t *testing.T, s, other storage.Spool) {
	for what, limit := range map[string]storage.KeepLimit{"messages": {Messages: 11}, "bytes": {Bytes: 115}} {
		const n = 24
		var mu sync.Mutex
		var want []storage.Kept
		each(n, func(i int) {
			k := kept(what, i, 10)
			refused, err := []storage.Spool{s, other}[i%2].Keep(t.Context(), limit, k)
			if err != nil {
				t.Errorf("%s: %v", what, err)
			} else if len(refused) == 0 {
				mu.Lock()
				want = append(want, k)
				mu.Unlock()
			}
		})
		if len(want) != 11 {
			t.Errorf("%s: %d were kept, want 11", what, len(want))
		}
		slices.SortFunc(want, func(a, b storage.Kept) int { return strings.Compare(a.ID, b.ID) })
		spoolHolds(t, what, want, s, other)
	}
}

// spoolDropAtOnce has two writers drop what is oldest: the latest stay, and none is
// refused.
func spoolDropAtOnce(t *testing.T, s, other storage.Spool) {
	limit := storage.KeepLimit{Messages: 5, DropOldest: true}
	const writers, rounds = 4, 12
	each(writers, func(w int) {
		for n := range rounds {
			refused, err := []storage.Spool{s, other}[w%2].Keep(t.Context(), limit, kept("ann", n*writers+w, 3))
			if err != nil || len(refused) > 0 {
				t.Errorf("refused %v, %v", refused, err)
			}
		}
	})
	got, err := s.Waiting(t.Context(), "ann", "", 100)
	directoryOK(t, err)
	if len(got) != 5 {
		t.Fatalf("%v are kept, want 5", keptIDs(got))
	}
	spoolHolds(t, "ann", got, s, other)
	// All that a message was dropped for are there or later: the last of each writer
	// can only have gone for others that came after it.
	if last := got[len(got)-1].ID; last != fmt.Sprintf("%06d", rounds*writers-1) {
		t.Errorf("the last one is %s", last)
	}
}

// spoolSameIDs keeps the same messages from many callers, as those do who do not know
// whether it worked.
func spoolSameIDs(t *testing.T, s, other storage.Spool) {
	want := []storage.Kept{kept("ann", 1, 10), kept("ann", 2, 10), kept("ann", 3, 10)}
	each(12, func(i int) {
		refused, err := []storage.Spool{s, other}[i%2].Keep(t.Context(), storage.KeepLimit{Messages: 3}, want...)
		if err != nil || len(refused) > 0 {
			t.Errorf("refused %v, %v", refused, err)
		}
	})
	spoolHolds(t, "ann", want, s, other)
}

// spoolComeAndGo keeps and discards at once for one user: what was kept is there until it
// is discarded.
func spoolComeAndGo(t *testing.T, s, other storage.Spool) {
	var mu sync.Mutex
	var want []storage.Kept
	each(8, func(i int) {
		on, off := s, other
		if i%2 == 0 {
			on, off = other, s
		}
		for n := range 5 {
			k := kept("ann", i*100+n, 7)
			refused, err := on.Keep(t.Context(), storage.KeepLimit{Messages: 100}, k)
			if err != nil || len(refused) > 0 {
				t.Errorf("refused %v, %v", refused, err)
			}
			if n == 0 {
				mu.Lock()
				want = append(want, k)
				mu.Unlock()
				continue
			}
			before := fmt.Sprintf("%06d", i*100+n-1)
			got, err := off.Waiting(t.Context(), "ann", before, 1)
			if err != nil || len(got) != 1 || got[0].ID != k.ID {
				t.Errorf("after %s: %v (%v), want %s", before, keptIDs(got), err, k.ID)
			}
			if err := off.Discard(t.Context(), "ann", k.ID); err != nil {
				t.Error(err)
			}
		}
	})
	slices.SortFunc(want, func(a, b storage.Kept) int { return strings.Compare(a.ID, b.ID) })
	spoolHolds(t, "ann", want, s, other)
	if err := errors.Join(s.DiscardAll(t.Context(), "ann"), other.DiscardAll(t.Context(), "ann")); err != nil {
		t.Error(err)
	}
}
