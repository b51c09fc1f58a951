package projects

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"testing/synctest"

	"rollcall/internal/servertest"
	"rollcall/server"
	"rollcall/storage/memory"
)

// Somebody comes into a project while another node is answered who asks about it: what is
// told of that before the question begins is no part of an older state.
func TestJoinsWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := servertest.NewDirectory().AddUser("alice", "").AddUser("bob", "").AddUser("carol", "")
		dir.AddProject("z", "", "alice", "carol")
		hub, presence := memory.NewHub(), memory.NewPresence()
		start := func(name string, beside *servertest.Server) (*servertest.Server, *community) {
			m := New(Options{ServiceHost: "wtmuc.@HOST@", Directory: dir, Presence: presence})
			s := servertest.New(t, servertest.Options{
				Directory: dir, Beside: beside, Bus: hub.Bus(name), Log: slog.New(slog.DiscardHandler), Modules: []server.Module{m},
			})
			synctest.Wait()
			return s, m.communities["example.com"]
		}
		a, asks := start("a", nil)
		b, answers := start("b", a)
		alice, bob := a.Online("alice/a"), b.Online("bob/b")
		b.Online("carol/c")
		synctest.Wait()
		for round := range 10 {
			project := fmt.Sprint("p", round)
			dir.AddProject(project, "", "alice")
			synctest.Wait()
			alice.Drain()
			// The answer waits between the two projects.
			z := answers.room("z")
			z.mu.Lock()
			batch := asks.m.host.NewBatch()
			asks.ask(batch, asks.peer("b"), []string{project, "z"})
			batch.Flush()
			for range 100 {
				runtime.Gosched()
			}
			dir.Join(project, "bob")
			for r := answers.room(project); r == nil || len(r.everybody()) == 0; r = answers.room(project) {
				runtime.Gosched()
			}
			p := answers.personOf(bob.JID.Bare(), false)
			p.takenFor() // waits until that was told
			z.mu.Unlock()
			synctest.Wait()
			last := "nothing"
			for _, el := range alice.Drain() {
				if el.SelectAttrValue("from", "") == bob.JID.String() {
					last = el.SelectAttrValue("type", "available")
				}
			}
			if last != "available" {
				t.Fatalf("round %d: the last alice heard of bob: %s", round, last)
			}
			dir.Leave(project, "bob")
			synctest.Wait()
		}
	})
}
