package blocking

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"rollcall/internal/jid"
	"rollcall/server"
)

const shards = 256

// lists are the block lists of everybody, by bare address. They are read without a lock:
// a change makes a new map of one shard.
type lists struct {
	count   atomic.Int64 // of users with a list: nothing is looked at while it is 0
	domains []string
	seed    maphash.Seed
	writing sync.Mutex
	shards  [shards]atomic.Pointer[map[string]*list]
}

// list is whom a user blocks. It is never changed, and nil for nobody.
type list struct {
	items []jid.JID // in the order in which they were blocked
	set   map[string]struct{}
}

func newList(items []jid.JID) *list {
	if len(items) == 0 {
		return nil
	}
	l := &list{items: items, set: make(map[string]struct{}, len(items))}
	for _, j := range items {
		l.set[j.String()] = struct{}{}
	}
	return l
}

func (l *list) addresses() []jid.JID {
	if l == nil {
		return nil
	}
	return l.items
}

// has reports whether an address itself is in the list.
func (l *list) has(j jid.JID) bool {
	if l == nil {
		return false
	}
	_, ok := l.set[j.String()]
	return ok
}

// matches reports whether somebody is blocked (section 6).
func (l *list) matches(j jid.JID) bool {
	if l == nil {
		return false
	}
	if _, ok := l.set[j.Domain()]; ok {
		return true
	}
	return l.has(j.Bare()) || l.has(j)
}

func (ls *lists) init(domains []string) {
	ls.domains, ls.seed = domains, maphash.MakeSeed()
	for i := range ls.shards {
		ls.shards[i].Store(new(map[string]*list))
	}
}

func (ls *lists) shard(bare string) *atomic.Pointer[map[string]*list] {
	return &ls.shards[maphash.String(ls.seed, bare)%shards]
}

// of returns a user's list.
func (ls *lists) of(user jid.JID) *list {
	return (*ls.shard(user.String()).Load())[user.String()]
}

// set makes items a user's list.
func (ls *lists) set(user jid.JID, items []jid.JID) {
	ls.writing.Lock()
	defer ls.writing.Unlock()
	sh := ls.shard(user.String())
	was := *sh.Load()
	m := maps.Clone(was)
	if m == nil {
		m = make(map[string]*list)
	}
	if l := newList(items); l != nil {
		m[user.String()] = l
	} else {
		delete(m, user.String())
	}
	sh.Store(&m)
	ls.count.Add(int64(len(m) - len(was)))
}

// all lists the users who block anybody.
func (ls *lists) all() (users []string) {
	for i := range ls.shards {
		users = slices.AppendSeq(users, maps.Keys(*ls.shards[i].Load()))
	}
	return users
}

// verdict is the server's Filter. Nobody is blocked from their own account, whatever the
// list says, nor are virtual hosts themselves.
func (ls *lists) verdict(from, to jid.JID) server.Verdict {
	if ls.count.Load() == 0 {
		return server.Pass
	}
	sender, recipient := from.Bare(), to.Bare()
	switch {
	case sender == recipient:
	case ls.of(sender).matches(to) && !ls.isHost(to):
		return server.Shuns
	case ls.of(recipient).matches(from) && !ls.isHost(from):
		return server.Shunned
	}
	return server.Pass
}

func (ls *lists) isHost(j jid.JID) bool {
	return j.Local() == "" && slices.Contains(ls.domains, j.Domain())
}
