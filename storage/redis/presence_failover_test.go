package redis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

// A master dies with writes that no replica has; what is said meanwhile and afterwards
// counts, too, and the old master comes back with what it last knew as a replica.
func TestPresenceThroughSentinelFailover(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t, redistest.AOF())
	replica := redistest.Start(t, redistest.ReplicaOf(master))
	sentinel := redistest.Sentinel(t, "mymaster", master, 1)
	behind := func(c *Config) {
		c.Addresses, c.MasterName, c.Timeout = []string{sentinel.Addr()}, "mymaster", 0
	}
	a, b := openNode(t, master, "a", shortLease, behind), openNode(t, master, "b", shortLease, behind)
	want := make(map[string]string)
	note := func(node, user string, show storage.Show) {
		want["wt_sess:"+user] = fmt.Sprintf("%s|1=%d|0|1000|r", node, show)
		want["wt_user_presence:"+user], want["wt_user_projs:"+user] = fmt.Sprint(int(show)), "p"
		for _, key := range []string{"wt_proj_online_users:p", "wt_nodesess:" + node} {
			want[key] += " " + user
		}
	}
	for i := range 20 {
		mustSet(t, a, fmt.Sprint("a", i+10), "1", storage.Online, "p")
		mustSet(t, b, fmt.Sprint("b", i+10), "1", storage.Busy, "p")
	}
	redistest.Until(t, "the replica has it", func() bool {
		n, err := replica.Client(t).SCard(t.Context(), "wt_proj_online_users:p").Result()
		return err == nil && n == 40
	})
	tell := func(s *Store, user string, show storage.Show) {
		if _, err := s.Set(t.Context(), say(user, "1", show), []string{"p"}); err != nil && !errors.Is(err, storage.ErrUnavailable) {
			t.Error(err)
		}
	}
	// From here on the replica hears nothing: it becomes master without this.
	replica.Suspend()
	tell(a, "a10", storage.Leave)
	tell(a, "unheard", storage.Busy)
	if _, err := b.Remove(t.Context(), "b10", "1"); err != nil && !errors.Is(err, storage.ErrUnavailable) {
		t.Error(err)
	}
	master.Kill()
	replica.Resume()
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() { tell(a, fmt.Sprint("a", i+11), storage.Leave) })
		group.Go(func() { tell(b, fmt.Sprint("meanwhile", i), storage.Online) })
	}
	group.Wait()
	redistest.Until(t, "the replica is master", func() bool { return replica.Info(t, "replication")["role"] == "master" })
	redistest.Until(t, "both nodes write there", func() bool {
		_, errA := a.Set(t.Context(), say("last", "1", storage.Online), []string{"p"})
		_, errB := b.Set(t.Context(), say("last", "2", storage.Online), []string{"p"})
		return errA == nil && errB == nil
	})
	mustRemove(t, a, "last", "1")
	mustRemove(t, b, "last", "2")
	settled(t, a, b)
	for i := range 20 {
		show := storage.Online
		if i <= 10 {
			show = storage.Leave
		}
		note("a", fmt.Sprint("a", i+10), show)
		if i > 0 {
			note("b", fmt.Sprint("b", i+10), storage.Busy)
		}
	}
	for i := range 10 {
		note("b", fmt.Sprint("meanwhile", i), storage.Online)
	}
	note("a", "unheard", storage.Busy)
	want["wt_nodeprojs:a"], want["wt_nodeprojs:b"], want["wt_proj_nodes:p"] = "p", "p", "a b"
	for _, key := range []string{"wt_proj_online_users:p", "wt_nodesess:a", "wt_nodesess:b"} {
		want[key] = strings.Join(slices.Sorted(slices.Values(strings.Fields(want[key]))), " ")
	}
	holds(t, replica.Client(t), want)

	// The old master follows, with rows that are not true any more.
	master.Restart()
	redistest.Until(t, "the old master follows the new one", func() bool {
		return master.Info(t, "replication")["master_link_status"] == "up"
	})
	mustSet(t, a, "a10", "1", storage.Leave, "p")
	holds(t, replica.Client(t), want)
}
