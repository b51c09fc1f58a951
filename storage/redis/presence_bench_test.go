package redis

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"rollcall/internal/redistest"
	"rollcall/storage"
)

// tenProjects are those of a user, each with 50 users.
func tenProjects(i int) []string {
	list := make([]string, 10)
	for k := range list {
		list[k] = fmt.Sprintf("6a2d1b%018x", i/50*10+k)
	}
	return list
}

func userID(i int) string { return fmt.Sprintf("5f1e0c%018x", i) }

// BenchmarkPresence counts the commands that Redis gets for each event, and those that
// scripts call.
func BenchmarkPresence(b *testing.B) {
	server := redistest.Start(b)
	s := openNode(b, server, "n1")
	const users = 2000
	for i := range users {
		mustSet(b, s, userID(i), "1", storage.Online, tenProjects(i)...)
	}
	shows := []storage.Show{storage.Busy, storage.Leave, storage.Online}
	for _, op := range []struct {
		name   string
		events int
		do     func(n int) error
	}{
		{"change", 1, func(n int) error {
			_, err := s.Set(context.Background(), say(userID(n%users), "1", shows[n/users%3]), nil)
			return err
		}},
		{"second connection and its end", 2, func(n int) error {
			conn := strconv.Itoa(n + 2)
			if _, err := s.Set(context.Background(), say(userID(n%users), conn, storage.Busy), nil); err != nil {
				return err
			}
			_, err := s.Remove(context.Background(), userID(n%users), conn)
			return err
		}},
		{"login and logout", 2, func(n int) error {
			user := userID(users + n%users)
			if _, err := s.Set(context.Background(), say(user, strconv.Itoa(n), storage.Online), tenProjects(n%users)); err != nil {
				return err
			}
			_, err := s.Remove(context.Background(), user, strconv.Itoa(n))
			return err
		}},
	} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", op.name, callers), func(b *testing.B) {
				server.ResetCalls(b)
				var n atomic.Int64
				var group sync.WaitGroup
				b.ResetTimer()
				for range callers {
					group.Go(func() {
						for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
							if err := op.do(int(i)); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				group.Wait()
				b.StopTimer()
				events := float64(op.events * b.N)
				b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric(float64(server.Calls(b, "evalsha"))/events, "scripts/event")
				all := 0
				for _, command := range []string{
					"get", "set", "hgetall", "hset", "hdel", "del", "smembers", "sunion", "sadd", "srem", "sismember", "exists",
				} {
					all += server.Calls(b, command)
				}
				b.ReportMetric(float64(all)/events, "inside/event")
			})
		}
	}
}

// BenchmarkMemory tells what Redis needs for each user who is online with one
// connection in ten projects of fifty.
func BenchmarkMemory(b *testing.B) {
	for range b.N { // 1 is enough: -benchtime 1x
		server := redistest.Start(b)
		s := openNode(b, server, "n1")
		used := func() float64 {
			n, err := strconv.ParseFloat(server.Info(b, "memory")["used_memory_dataset"], 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
		before := used()
		const users = 20_000
		var group sync.WaitGroup
		for w := range 64 {
			group.Go(func() {
				for i := w; i < users; i += 64 {
					if _, err := s.Set(b.Context(), say(userID(i), "conn-"+strconv.Itoa(i), storage.Online), tenProjects(i)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		b.ReportMetric((used()-before)/users, "bytes/user")
	}
}
