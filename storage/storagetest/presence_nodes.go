package storagetest

import (
	"fmt"
	"slices"
	"testing"

	"rollcall/storage"
)

// PresenceNodes checks what storage.Presence promises to the users of two nodes. open
// returns the empty stores of two nodes that nothing else writes to, and the second
// one's name; it closes them with t.Cleanup.
func PresenceNodes(t *testing.T, open func(t *testing.T) (a, b storage.Presence, nameOfB string)) {
	for _, tt := range nodeCases() {
		t.Run(tt.name, func(t *testing.T) {
			a, b, _ := open(t)
			nodes := map[string]storage.Presence{"a": a, "b": b}
			var show storage.Show
			for i, step := range tt.steps {
				what := fmt.Sprintf("step %d (%s at %s)", i+1, step.call, step.node)
				s := nodes[step.node]
				switch step.call {
				case "join":
					presenceOK(t, s.Join(t.Context(), "ann", step.project))
				case "leave":
					presenceOK(t, s.Leave(t.Context(), "ann", step.project))
				default:
					got := presenceDo(t, s, step.presenceStep)
					if got.Old != step.old || got.New != step.now {
						t.Fatalf("%s: changed from %d to %d, want %d to %d", what, got.Old, got.New, step.old, step.now)
					}
					show = step.now
				}
				presenceHolds(t, a, what+", seen at a", show, step.in)
				presenceHolds(t, b, what+", seen at b", show, step.in)
			}
		})
	}
	t.Run("nodes", func(t *testing.T) { presenceTellsNodes(t, open) })
}

type nodeStep struct {
	node string
	presenceStep
}

type nodeCase struct {
	name  string
	steps []nodeStep
}

// nodeCases are the life of a user with connections to two nodes. What a node knows of
// the user's projects counts when the user comes online there while offline everywhere;
// later changes of memberships are told by every node that the user is connected to.
func nodeCases() []nodeCase {
	const off, on, busy, away = storage.Offline, storage.Online, storage.Busy, storage.Leave
	set := func(node, conn string, show storage.Show, priority int8, at int, old, now storage.Show, in string, projects ...string) nodeStep {
		return nodeStep{node, presenceStep{call: "set", conn: conn, show: show, priority: priority, at: at, old: old, now: now, in: in, projects: projects}}
	}
	remove := func(node, conn string, old, now storage.Show, in string) nodeStep {
		return nodeStep{node, presenceStep{call: "remove", conn: conn, old: old, now: now, in: in}}
	}
	member := func(node, call, project, in string) nodeStep {
		return nodeStep{node, presenceStep{call: call, project: project, in: in}}
	}
	return []nodeCase{
		{"two resources", []nodeStep{
			set("a", "1", on, 0, 1, off, on, "p1", "p1"),
			set("b", "1", busy, 0, 2, on, busy, "p1", "p1"), // the same name of a connection
			set("a", "1", away, 5, 3, busy, away, "p1", "p1"),
			remove("a", "1", away, busy, "p1"),
			remove("b", "1", busy, off, ""),
		}},
		{"invisible at one node", []nodeStep{
			set("a", "1", on, 5, 1, off, on, "p1", "p1"),
			set("b", "1", busy, 0, 2, on, on, "p1", "p1"),
			set("a", "1", off, 5, 3, on, busy, "p1", "p1"),
			set("b", "1", off, 0, 4, busy, off, "", "p1"),
			set("a", "1", on, 5, 5, off, on, "p2", "p2"),
			remove("b", "1", on, on, "p2"),
			remove("a", "1", on, off, ""),
		}},
		{"no projects", []nodeStep{
			set("a", "1", on, 0, 1, off, on, ""),
			set("b", "1", on, 0, 2, on, on, ""),
			remove("a", "1", on, on, ""),
			remove("b", "1", on, off, ""),
		}},
		{"membership changed meanwhile", []nodeStep{
			set("a", "1", on, 0, 1, off, on, "p1", "p1"),
			set("b", "1", on, 0, 2, on, on, "p1", "p2"), // b learned of it first
			member("b", "join", "p2", "p1 p2"),
			member("a", "join", "p2", "p1 p2"),
			member("a", "leave", "p1", "p2"),
			member("b", "leave", "p1", "p2"),
			remove("a", "1", on, on, "p2"),
			member("b", "join", "p3", "p2 p3"),
			remove("b", "1", on, off, ""),
		}},
		{"repeated disconnects", []nodeStep{
			set("a", "1", on, 0, 1, off, on, "p1", "p1"),
			set("b", "1", busy, 0, 2, on, busy, "p1", "p1"),
			remove("a", "1", busy, busy, "p1"),
			remove("a", "1", busy, busy, "p1"),
			remove("b", "2", busy, busy, "p1"),
			remove("b", "1", busy, off, ""),
			remove("b", "1", off, off, ""),
			remove("a", "1", off, off, ""),
		}},
	}
}

// presenceTellsNodes checks that a change names the other node exactly when members of
// the user's projects are connected to it, visible or not, with any number of projects.
func presenceTellsNodes(t *testing.T, open func(t *testing.T) (a, b storage.Presence, nameOfB string)) {
	for _, n := range []int{1, 2, 200} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			a, b, name := open(t)
			projects := make([]string, n)
			for i := range projects {
				projects[i] = fmt.Sprintf("m%d", i)
			}
			last := projects[n-1]
			check := func(what string, got storage.PresenceChange, told bool) {
				t.Helper()
				var want []string
				if told {
					want = []string{name}
				}
				if !slices.Equal(got.Nodes, want) {
					t.Fatalf("%s: nodes %v, want %v", what, got.Nodes, want)
				}
			}
			check("alone", presenceSet(t, a, "ann", "1", storage.Online, projects...), false)
			presenceSet(t, b, "eve", "1", storage.Online, "elsewhere")
			check("beside a stranger", presenceSet(t, a, "ann", "1", storage.Busy), false)
			presenceSet(t, b, "bob", "1", storage.Offline, last)
			check("beside an invisible member", presenceSet(t, a, "ann", "1", storage.Leave), true)
			presenceOK(t, b.Leave(t.Context(), "bob", last))
			check("after the member left", presenceSet(t, a, "ann", "1", storage.Online), false)
			presenceOK(t, b.Join(t.Context(), "eve", last))
			check("after the stranger joined", presenceSet(t, a, "ann", "1", storage.Offline), true)
			presenceRemove(t, b, "eve", "1")
			check("after both went", presenceSet(t, a, "ann", "1", storage.Online, projects...), false)
			presenceSet(t, b, "cyd", "1", storage.Busy, projects...)
			check("with all in common", presenceRemove(t, a, "ann", "1"), true)
		})
	}
}
