package server

import (
	"bytes"
	"hash/maphash"
	"iter"
	"slices"
	"sync"

	"rollcall/internal/jid"
)

const registryShards = 64

// registry knows the bound sessions by address. The lists it hands out are never
// changed.
type registry struct {
	seed   maphash.Seed
	shards [registryShards]registryShard
}

// registryShard keeps sessions by the text of the bare address, which is a part of
// what they keep of themselves. Nearly everybody has one connection, so those who do
// take no list: it made half of an entry.
type registryShard struct {
	sync.RWMutex
	one  map[string]*Session
	many map[string][]*Session // of those with more than one connection
	// ending holds, by full address, who was taken out and is not done with its
	// hooks.
	ending map[jid.JID]*Session
}

func newRegistry() *registry {
	r := &registry{seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].one = make(map[string]*Session)
		r.shards[i].many = make(map[string][]*Session)
		r.shards[i].ending = make(map[jid.JID]*Session)
	}
	return r
}

func (r *registry) shard(bare string) *registryShard {
	return &r.shards[maphash.String(r.seed, bare)%registryShards]
}

func (sh *registryShard) of(bare string) []*Session {
	if s := sh.one[bare]; s != nil {
		return s.alone[:]
	}
	return sh.many[bare]
}

// set makes list the sessions of a user.
func (sh *registryShard) set(bare string, list []*Session) {
	// The key must be a part of a session that is there.
	delete(sh.one, bare)
	delete(sh.many, bare)
	switch len(list) {
	case 0:
	case 1:
		sh.one[list[0].jid.Bare().String()] = list[0]
	default:
		sh.many[list[0].jid.Bare().String()] = list
	}
}

// of returns a user's sessions.
func (r *registry) of(bare jid.JID) []*Session {
	sh := r.shard(bare.String())
	sh.RLock()
	defer sh.RUnlock()
	return sh.of(bare.String())
}

// get returns the session bound to a full address, or nil.
func (r *registry) get(full jid.JID) *Session {
	return withJID(r.of(full.Bare()), full)
}

func withJID(list []*Session, full jid.JID) *Session {
	for _, s := range list {
		if s.jid == full {
			return s
		}
	}
	return nil
}

// address returns the address that an attribute's raw value is, if it is that of a
// user or a session here, as canonical as the one that was bound: nothing has to be
// parsed and kept then.
func (r *registry) address(raw []byte) (j jid.JID, ok bool) {
	bare, resource, full := bytes.Cut(raw, []byte{'/'})
	if bytes.IndexByte(resource, '&') >= 0 {
		return j, false // it stands for another one
	}
	sh := &r.shards[maphash.Bytes(r.seed, bare)%registryShards]
	sh.RLock()
	defer sh.RUnlock()
	var several []*Session
	if s := sh.one[string(bare)]; s != nil {
		several = s.alone[:]
	} else {
		several = sh.many[string(bare)]
	}
	for _, s := range several {
		switch {
		case !full:
			return s.jid.Bare(), true
		case s.jid.Resource() == string(resource):
			return s.jid, true
		}
	}
	return j, false
}

// put adds s under its address. take decides what happens, knowing the user's
// sessions and the one that holds the address already, if any; false leaves
// everything as it is. ending had the address last and is not done with its hooks.
func (r *registry) put(s *Session, take func(all []*Session, old *Session) bool) (ending *Session, ok bool) {
	bare := s.jid.Bare().String()
	sh := r.shard(bare)
	sh.Lock()
	defer sh.Unlock()
	all := sh.of(bare)
	old := withJID(all, s.jid)
	if !take(all, old) {
		return nil, false
	}
	s.alone[0] = s
	sh.set(bare, append(without(all, old), s))
	return sh.ending[s.jid], true
}

// without is a list of all but s.
func without(all []*Session, s *Session) []*Session {
	list := make([]*Session, 0, len(all)+1)
	for _, x := range all {
		if x != s {
			list = append(list, x)
		}
	}
	return list
}

// with runs f while nobody puts or removes any of the user's sessions, if s is in.
func (r *registry) with(s *Session, f func()) {
	bare := s.jid.Bare().String()
	sh := r.shard(bare)
	sh.Lock()
	defer sh.Unlock()
	if slices.Contains(sh.of(bare), s) {
		f()
	}
}

// remove takes s out, if it is still in, and runs then before anybody can follow.
// Whoever is put under its address before done is told of it.
func (r *registry) remove(s *Session, then func()) {
	bare := s.jid.Bare().String()
	sh := r.shard(bare)
	sh.Lock()
	defer sh.Unlock()
	all := sh.of(bare)
	if !slices.Contains(all, s) {
		return
	}
	sh.ending[s.jid] = s
	then()
	sh.set(bare, without(all, s))
}

// done forgets a session that was taken out.
func (r *registry) done(s *Session) {
	sh := r.shard(s.jid.Bare().String())
	sh.Lock()
	defer sh.Unlock()
	if sh.ending[s.jid] == s {
		delete(sh.ending, s.jid)
	}
}

// each calls yield with every session of the shard; it reports whether there may be
// more.
func (sh *registryShard) each(yield func(*Session) bool) bool {
	for _, s := range sh.one {
		if !yield(s) {
			return false
		}
	}
	for _, list := range sh.many {
		for _, s := range list {
			if !yield(s) {
				return false
			}
		}
	}
	return true
}

// shares calls f with the sessions of each shard, in turn, which nobody changes
// meanwhile.
func (r *registry) shares(f func(sessions iter.Seq[*Session])) {
	for i := range r.shards {
		sh := &r.shards[i]
		func() {
			sh.RLock()
			defer sh.RUnlock()
			f(func(yield func(*Session) bool) { sh.each(yield) })
		}()
	}
}

// all walks over every bound session; those that come or go meanwhile may be
// missed.
func (r *registry) all() iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for i := range r.shards {
			sh := &r.shards[i]
			sh.RLock()
			list := make([]*Session, 0, len(sh.one)+2*len(sh.many))
			sh.each(func(s *Session) bool {
				list = append(list, s)
				return true
			})
			sh.RUnlock()
			for _, s := range list {
				if !yield(s) {
					return
				}
			}
		}
	}
}
