package storagetest

import (
	"slices"
	"testing"

	"rollcall/storage"
)

// spoolRefuse fills a share exactly.
func spoolRefuse(t *testing.T, s, other storage.Spool) {
	limit := storage.KeepLimit{Messages: 3, Bytes: 100}
	want := []storage.Kept{kept("ann", 1, 50), kept("ann", 2, 49), kept("ann", 4, 1)}
	list := append(slices.Clone(want[:2]), kept("ann", 3, 2), want[2], kept("ann", 5, 1))
	refused, err := s.Keep(t.Context(), limit, list...)
	directoryOK(t, err)
	directoryEqual(t, "refused", refused, []string{"000003", "000005"})
	spoolHolds(t, "ann", want, s, other)
	// Room for one again.
	directoryOK(t, other.Discard(t.Context(), "ann", "000001"))
	keep(t, other, limit, kept("ann", 0, 50))
	spoolHolds(t, "ann", []storage.Kept{kept("ann", 0, 50), want[1], want[2]}, s, other)
}

func spoolDrop(t *testing.T, s, other storage.Spool) {
	limit := storage.KeepLimit{Messages: 3, DropOldest: true}
	var all []storage.Kept
	for n := range 10 {
		all = append(all, kept("ann", n+10, 1))
		keep(t, []storage.Spool{s, other}[n%2], limit, all[n])
		spoolHolds(t, "ann", all[max(0, n-2):], s, other)
	}
	// Several at once, more than there is room for.
	keep(t, s, limit, kept("ann", 30, 1), kept("ann", 31, 1), kept("ann", 32, 1), kept("ann", 33, 1))
	spoolHolds(t, "ann", []storage.Kept{kept("ann", 31, 1), kept("ann", 32, 1), kept("ann", 33, 1)}, s, other)
	// One that sorts before all of them is new all the same.
	keep(t, s, limit, kept("ann", 1, 1))
	spoolHolds(t, "ann", []storage.Kept{kept("ann", 1, 1), kept("ann", 32, 1), kept("ann", 33, 1)}, s, other)
}

func spoolDropBytes(t *testing.T, s, other storage.Spool) {
	limit := storage.KeepLimit{Messages: 10, Bytes: 100, DropOldest: true}
	keep(t, s, limit, kept("ann", 1, 10), kept("ann", 2, 40), kept("ann", 3, 50))
	keep(t, other, limit, kept("ann", 4, 50)) // just as large as the first two
	spoolHolds(t, "ann", []storage.Kept{kept("ann", 3, 50), kept("ann", 4, 50)}, s, other)
	keep(t, s, limit, kept("ann", 5, 1))
	spoolHolds(t, "ann", []storage.Kept{kept("ann", 4, 50), kept("ann", 5, 1)}, s, other)
	keep(t, s, limit, kept("ann", 6, 100))
	spoolHolds(t, "ann", []storage.Kept{kept("ann", 6, 100)}, s, other)
}

func spoolTooLarge(t *testing.T, s, other storage.Spool) {
	for _, drop := range []bool{false, true} {
		limit := storage.KeepLimit{Bytes: 100, DropOldest: drop}
		keep(t, s, limit, kept("ann", 1, 60))
		refused, err := other.Keep(t.Context(), limit, kept("ann", 2, 101))
		directoryOK(t, err)
		directoryEqual(t, "refused", refused, []string{"000002"})
		spoolHolds(t, "ann", []storage.Kept{kept("ann", 1, 60)}, s, other)
	}
}

// spoolSmallerLimit keeps under a limit that is below what is there.
func spoolSmallerLimit(t *testing.T, s, other storage.Spool) {
	var all []storage.Kept
	for n := range 6 {
		all = append(all, kept("ann", n, 10))
	}
	keep(t, s, storage.KeepLimit{}, all[:5]...)
	refused, err := s.Keep(t.Context(), storage.KeepLimit{Messages: 3}, all[5])
	directoryOK(t, err)
	directoryEqual(t, "refused", refused, []string{all[5].ID})
	spoolHolds(t, "ann", all[:5], s, other)
	keep(t, s, storage.KeepLimit{Messages: 3, DropOldest: true}, all[5])
	spoolHolds(t, "ann", all[3:], s, other)
}
