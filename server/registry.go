package server

import (
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

type registryShard struct {
	sync.RWMutex
	users map[jid.JID][]*Session // by bare address
	// ending holds, by full address, who was taken out and is not done with its
	// hooks.
	ending map[jid.JID]*Session
}

func newRegistry() *registry {
	r := &registry{seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].users = make(map[jid.JID][]*Session)
		r.shards[i].ending = make(map[jid.JID]*Session)
	}
	return r
}

func (r *registry) shard(bare jid.JID) *registryShard {
	return &r.shards[maphash.String(r.seed, bare.String())%registryShards]
}

// of returns a user's sessions.
func (r *registry) of(bare jid.JID) []*Session {
	sh := r.shard(bare)
	sh.RLock()
	defer sh.RUnlock()
	return sh.users[bare]
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

// put adds s under its address. take decides what happens, knowing the user's
// sessions and the one that holds the address already, if any; false leaves
// everything as it is. ending had the address last and is not done with its hooks.
func (r *registry) put(s *Session, take func(all []*Session, old *Session) bool) (ending *Session, ok bool) {
	bare := s.jid.Bare()
	sh := r.shard(bare)
	sh.Lock()
	defer sh.Unlock()
	all := sh.users[bare]
	old := withJID(all, s.jid)
	if !take(all, old) {
		return nil, false
	}
	all = slices.DeleteFunc(slices.Clone(all), func(x *Session) bool { return x == old })
	sh.users[bare] = append(all, s)
	return sh.ending[s.jid], true
}

// with runs f while nobody puts or removes any of the user's sessions, if s is in.
func (r *registry) with(s *Session, f func()) {
	sh := r.shard(s.jid.Bare())
	sh.Lock()
	defer sh.Unlock()
	if slices.Contains(sh.users[s.jid.Bare()], s) {
		f()
	}
}

// remove takes s out, if it is still in, and runs then before anybody can follow.
// Whoever is put under its address before done is told of it.
func (r *registry) remove(s *Session, then func()) {
	bare := s.jid.Bare()
	sh := r.shard(bare)
	sh.Lock()
	defer sh.Unlock()
	all := sh.users[bare]
	if !slices.Contains(all, s) {
		return
	}
	sh.ending[s.jid] = s
	then()
	if len(all) == 1 {
		delete(sh.users, bare)
		return
	}
	sh.users[bare] = slices.DeleteFunc(slices.Clone(all), func(x *Session) bool { return x == s })
}

// done forgets a session that was taken out.
func (r *registry) done(s *Session) {
	sh := r.shard(s.jid.Bare())
	sh.Lock()
	defer sh.Unlock()
	if sh.ending[s.jid] == s {
		delete(sh.ending, s.jid)
	}
}

// shares calls f with the sessions of each shard, in turn, which nobody changes
// meanwhile.
func (r *registry) shares(f func(sessions iter.Seq[*Session])) {
	for i := range r.shards {
		sh := &r.shards[i]
		func() {
			sh.RLock()
			defer sh.RUnlock()
			f(func(yield func(*Session) bool) {
				for _, list := range sh.users {
					for _, s := range list {
						if !yield(s) {
							return
						}
					}
				}
			})
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
			lists := make([][]*Session, 0, len(sh.users))
			for _, list := range sh.users {
				lists = append(lists, list)
			}
			sh.RUnlock()
			for _, list := range lists {
				for _, s := range list {
					if !yield(s) {
						return
					}
				}
			}
		}
	}
}
