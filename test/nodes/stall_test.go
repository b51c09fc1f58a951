package nodes

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// talk lets each of the people send a message to the next at the same node ten times a
// second, until stop is closed.
func talk(t *testing.T, g *sync.WaitGroup, stop <-chan struct{}, people []*client, step int) {
	for i, c := range people {
		g.Go(func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-tick.C:
				case <-stop:
					return
				}
				if err := c.send(numbered(people[(i+step)%len(people)].jid, n)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
}

// TestRedisStalls lets Redis stand still while users of two nodes write to others of
// their node: nobody is dropped, nothing is late, and presence between those of one
// node goes on.
func TestRedisStalls(t *testing.T) {
	const users = 100
	w := newWorld(t, users, 20)
	nodes := []*node{w.start("a"), w.start("b")}
	book := newLedger()
	people := crowd(t, users, func(i int) (*client, error) {
		c, err := login(nodes[i%2].address, user(i), "web", book.take)
		if err != nil {
			return nil, err
		}
		return c, c.send("<presence/>")
	})
	// Two who watch each other, both at the first node.
	one, err := watch(nodes[0].address, user(0), "watch")
	if err != nil {
		t.Fatal(err)
	}
	other, err := watch(nodes[0].address, user(2), "watch")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []*watcher{one, other} {
		mustSend(t, x.client, "<presence><priority>-1</priority></presence>")
	}
	until(t, "they see each other", func() bool { return one.of(other.jid).available && other.of(one.jid).available })

	stop := make(chan struct{})
	var g sync.WaitGroup
	talk(t, &g, stop, people, 2)
	pass := func(d time.Duration) time.Duration {
		book.reset()
		<-time.After(d)
		return book.percentile(0.99)
	}
	before := pass(*stallFlag)
	w.redis.Suspend()
	mustSend(t, one.client, "<presence><show>dnd</show><status>during</status><priority>5</priority></presence>")
	local := until(t, "the change at the other of the node", func() bool { return other.of(one.jid).serial == "during" })
	during := pass(*stallFlag)
	w.redis.Resume()
	start := time.Now()
	until(t, "Redis is right again", func() bool {
		r, err := w.read(users, users/20)
		return err == nil && len(r.status) == users && r.status[user(0)] == 2 && len(r.members[project(0)]) == 20
	})
	right := time.Since(start)
	close(stop)
	g.Wait()
	dropped := 0
	for _, c := range append(people, one.client, other.client) {
		if !c.alive() {
			dropped++
			t.Errorf("%s was dropped: %v", c.jid, c.err)
		}
	}
	if book.disorder+book.twice+book.errors > 0 {
		t.Errorf("%d messages out of order, %d twice, %d came back", book.disorder, book.twice, book.errors)
	}
	if local > 2*time.Second {
		t.Errorf("a change of presence took %s to another client of the node", local)
	}
	t.Logf("Redis stalled for %s: %d sessions dropped, p99 of a message %s before and %s during, a local presence change took %s, Redis was right %s after it went on",
		*stallFlag, dropped, ms(before), ms(during), ms(local), ms(right))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
