package server

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"rollcall/internal/jid"
	"rollcall/server/cluster"
)

// route is a connection to another node, as that node tells of it.
type route struct {
	peer      *cluster.Peer
	conn      string
	full      jid.JID
	available bool
	priority  int8
	// bound orders the binds of one address over all nodes.
	bound uint64
	// sync is the number of the snapshot that was awaited when the route was told.
	sync    uint64
	arrival *arrival // where it became available among the sessions of this node
	// told is the time of the presence that the user's resources here know; 0 when they
	// take the connection for unavailable.
	told int64
	// directed are the addresses here that the connection directed its presence to.
	directed []jid.JID
}

// takesBare reports whether messages to the bare address go to the connection.
func (r *route) takesBare() bool { return r.available && r.priority >= 0 }

// same reports whether both are about one connection.
func (r *route) same(peer *cluster.Peer, conn string) bool { return r.peer == peer && r.conn == conn }

// routes knows the bound connections of other nodes by bare address. The lists that
// it hands out are never changed.
type routes struct {
	seed   maphash.Seed
	count  atomic.Int64
	shards [registryShards]routeShard
}

type routeShard struct {
	sync.RWMutex
	users map[jid.JID][]route
}

func newRoutes() *routes {
	t := &routes{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].users = make(map[jid.JID][]route)
	}
	return t
}

func (t *routes) shard(bare jid.JID) *routeShard {
	return &t.shards[maphash.String(t.seed, bare.String())%registryShards]
}

// of returns a user's connections to other nodes.
func (t *routes) of(bare jid.JID) []route {
	if t.count.Load() == 0 {
		return nil
	}
	sh := t.shard(bare)
	sh.RLock()
	defer sh.RUnlock()
	return sh.users[bare]
}

// users lists, by bare address, who is connected to other nodes.
func (t *routes) users() (list []jid.JID) {
	for i := range t.shards {
		sh := &t.shards[i]
		sh.RLock()
		list = slices.AppendSeq(list, maps.Keys(sh.users))
		sh.RUnlock()
	}
	return list
}

// get returns the latest connection of a full address.
func (t *routes) get(full jid.JID) (latest route, ok bool) {
	for _, r := range t.of(full.Bare()) {
		if r.full == full && (!ok || r.bound > latest.bound) {
			latest, ok = r, true
		}
	}
	return latest, ok
}

// change replaces a connection's route by what f makes of it, or takes it out when f
// says so. was is nil when there is none.
func (t *routes) change(bare jid.JID, peer *cluster.Peer, conn string, f func(was *route) (route, bool)) {
	sh := t.shard(bare)
	sh.Lock()
	defer sh.Unlock()
	list := sh.users[bare]
	i := slices.IndexFunc(list, func(r route) bool { return r.same(peer, conn) })
	var was *route
	if i >= 0 {
		was = &list[i]
	}
	now, keep := f(was)
	switch {
	case was == nil && !keep:
		return
	case was == nil:
		list = append(slices.Clip(list), now)
		t.count.Add(1)
	case keep:
		list = slices.Clone(list)
		list[i] = now
	default:
		list = slices.Concat(list[:i], list[i+1:])
		t.count.Add(-1)
	}
	if len(list) == 0 {
		delete(sh.users, bare)
	} else {
		sh.users[bare] = list
	}
}

// drop takes out the routes of a node that are no better than stale says, and returns
// them.
func (t *routes) drop(peer *cluster.Peer, stale func(r *route) bool) (dropped []route) {
	goes := func(r route) bool { return r.peer == peer && stale(&r) }
	for i := range t.shards {
		sh := &t.shards[i]
		sh.Lock()
		for bare, list := range sh.users {
			if !slices.ContainsFunc(list, goes) {
				continue
			}
			var kept []route
			for _, r := range list {
				if goes(r) {
					dropped = append(dropped, r)
				} else {
					kept = append(kept, r)
				}
			}
			if len(kept) == 0 {
				delete(sh.users, bare)
			} else {
				sh.users[bare] = kept
			}
		}
		sh.Unlock()
	}
	t.count.Add(-int64(len(dropped)))
	return dropped
}
