package server

import (
	"hash/maphash"
	"runtime"
	"testing"
	"time"

	"rollcall/internal/jid"
	"rollcall/internal/packed"
	"rollcall/server/cluster"
)

// A bind asks for the user's routes under the registry's lock, while a route of that
// user arrives.
func TestBindWhileRouteArrives(t *testing.T) {
	srv := &Server{registry: newRegistry(), seed: maphash.MakeSeed()}
	n := &nodes{srv: srv, routes: newRoutes(), syncs: make(map[*cluster.Peer]*nodeSync)}
	srv.nodes = n
	web, err := jid.Parse("alice@example.com/web")
	if err != nil {
		t.Fatal(err)
	}
	there := &Session{conn: "1", jid: web}
	news := packed.NewReader(appendRoute(nil, there, announced{available: true}))
	peer, b := new(cluster.Peer), &Batch{srv: srv}
	took, asked := make(chan error, 1), make(chan struct{})
	n.routes.change(web.Bare(), peer, "0", func(*route) (route, bool) { return route{peer: peer, conn: "0"}, true })
	shard := n.routes.shard(web.Bare())
	if phone, err := web.WithResource("phone"); err != nil {
		t.Fatal(err)
	} else if _, ok := srv.registry.put(&Session{jid: phone}, func([]*Session, *Session) bool {
		go func() { took <- n.takeRoutes(b, peer, news) }()
		for n.routes.count.Load() == 1 && shard.TryRLock() {
			shard.RUnlock()
			runtime.Gosched()
		}
		go func() { n.routes.get(web); close(asked) }()
		select {
		case <-asked:
		case <-time.After(5 * time.Second):
			t.Error("the route's arrival waits for the bind, and the bind for it")
		}
		return true
	}); !ok {
		t.Fatal("not put")
	}
	if err := <-took; err != nil {
		t.Error(err)
	}
	if r, ok := n.routes.get(web); !ok || r.arrival == nil {
		t.Errorf("the route is %v with arrival %v", ok, r.arrival)
	}
}
