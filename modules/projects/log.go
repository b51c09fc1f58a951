package projects

import (
	"slices"
	"sync"
)

// changeLog knows whose state in a project changed lately, for the deltas of
// <online/>. The zero value knows nothing, and keeps nothing before the first list is
// asked for: most projects have 50 people, whom clients know by their presence.
//
// A revision that a client was told stands for a list that has every change up to
// it, but a change may be noted here later than that. It is noted under a
// revision above all that were told before.
type changeLog struct {
	mu      sync.Mutex
	entries []logged // one for each user, in the order of the changes
	asked   bool     // somebody asked for a list
	passed  uint64   // until then: changes up to it are not in entries
	known   bool
	base    uint64 // once known: changes after it are in entries
	floor   uint64 // changes up to it may be missing
	told    uint64 // the highest revision that a client was told
	epoch   uint64 // grows when what was told before becomes worthless
}

// logged says that a user's state in the project changed, lately under rev.
type logged struct {
	rev  uint64
	user string
}

// maxLog bounds how far back a delta goes, in users.
const maxLog = 256

// note enters a change.
func (l *changeLog) note(rev uint64, user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.asked {
		l.passed = max(l.passed, rev)
		return
	}
	rev = max(rev, l.told+1)
	l.knows(rev)
	l.entries = slices.DeleteFunc(l.entries, func(e logged) bool { return e.user == user })
	if len(l.entries) == maxLog {
		l.base = max(l.base, l.entries[0].rev)
		l.entries = slices.Delete(l.entries, 0, 1)
	}
	l.entries = append(l.entries, logged{rev, user})
}

// knows says that changes after a revision are in entries from now on.
func (l *changeLog) knows(rev uint64) {
	if !l.known {
		l.known, l.base = true, max(rev, l.floor+1, l.passed)
	}
}

// forget makes every client get the whole list next: who belongs to the project
// changed, which is no revision of its own. rev is the highest that is known.
func (l *changeLog) forget(rev uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.known = nil, false
	l.floor = max(l.floor, rev, l.told)
	l.epoch++
}

// misses says that changes up to a revision may not have been noted.
func (l *changeLog) misses(rev uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.floor = max(l.floor, rev)
	l.base = max(l.base, l.floor+1)
}

// begin is called before a list is read whose revision goes to answer.
func (l *changeLog) begin() (epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = true
	return l.epoch
}

// answer returns the revision to tell with a list that the store gave under rev.
func (l *changeLog) answer(epoch, rev uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case epoch == l.epoch:
		l.knows(rev) // what was noted before is in the list
	case l.known:
		// The list may be older than that change; its revision must not be good
		// for a delta.
		rev = min(rev, l.base-1)
	default:
		l.floor = max(l.floor, rev)
	}
	l.told = max(l.told, rev)
	return rev
}

// since lists the users whose state may have changed after a revision; ok is
// false when that is not known.
func (l *changeLog) since(rev uint64) (users map[string]struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.known || rev < l.base {
		return nil, false
	}
	users = make(map[string]struct{})
	for _, e := range l.entries {
		if e.rev > rev {
			users[e.user] = struct{}{}
		}
	}
	return users, true
}
