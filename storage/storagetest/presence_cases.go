package storagetest

import "rollcall/storage"

type presenceCase struct {
	name  string
	steps []presenceStep
}

// presenceCases are the life of one user, row by row of what may happen to the
// user's connections and memberships.
func presenceCases() []presenceCase {
	const off, on, busy, away = storage.Offline, storage.Online, storage.Busy, storage.Leave
	set := func(conn string, show storage.Show, priority int8, at int, old, now storage.Show, in string, projects ...string) presenceStep {
		return presenceStep{call: "set", conn: conn, show: show, priority: priority, at: at, old: old, now: now, in: in, projects: projects}
	}
	remove := func(conn string, old, now storage.Show, in string) presenceStep {
		return presenceStep{call: "remove", conn: conn, old: old, now: now, in: in}
	}
	join := func(project, in string) presenceStep { return presenceStep{call: "join", project: project, in: in} }
	leave := func(project, in string) presenceStep { return presenceStep{call: "leave", project: project, in: in} }
	return []presenceCase{
		{"connected without presence", []presenceStep{
			set("a1", off, 0, 1, off, off, "", "p1"),
			remove("a1", off, off, ""),
		}},
		{"one connection through every state", []presenceStep{
			set("a1", on, 0, 1, off, on, "p1 p2", "p1", "p2"),
			set("a1", away, 0, 2, on, away, "p1 p2", "p1", "p2"),
			set("a1", busy, 0, 3, away, busy, "p1 p2", "p1", "p2"),
			set("a1", busy, 5, 4, busy, busy, "p1 p2", "p1", "p2"),
			set("a1", on, 5, 5, busy, on, "p1 p2", "p1", "p2"),
			remove("a1", on, off, ""),
		}},
		{"no projects", []presenceStep{
			set("a1", busy, 0, 1, off, busy, ""),
			remove("a1", busy, off, ""),
		}},
		{"a project named twice", []presenceStep{
			set("a1", on, 0, 1, off, on, "p1", "p1", "p1"),
			leave("p1", ""),
			remove("a1", on, off, ""),
		}},
		{"projects count only when coming online", []presenceStep{
			set("a1", off, 0, 1, off, off, "", "p3"),
			set("a1", on, 0, 2, off, on, "p1", "p1"),
			set("a1", busy, 0, 3, on, busy, "p1", "p2"),
			set("a2", on, 9, 4, busy, on, "p1", "p3"),
			set("a2", on, 9, 5, on, on, "p1"),
			remove("a1", on, on, "p1"),
			remove("a2", on, off, ""),
			set("a3", on, 0, 6, off, on, "p2", "p2"),
		}},
		{"highest priority wins", []presenceStep{
			set("a1", on, 1, 1, off, on, "p1", "p1"),
			set("a2", busy, 5, 2, on, busy, "p1", "p1"),
			set("a1", away, 1, 3, busy, busy, "p1", "p1"),
			set("a1", away, 6, 4, busy, away, "p1", "p1"),
			set("a1", away, 0, 5, away, busy, "p1", "p1"),
			remove("a2", busy, away, "p1"),
			remove("a1", away, off, ""),
		}},
		{"priority outranks time", []presenceStep{
			set("a1", busy, 1, 1, off, busy, "p1", "p1"),
			set("a2", on, 0, 1000, busy, busy, "p1"),
		}},
		{"negative priorities", []presenceStep{
			set("a1", busy, -128, 1, off, busy, "p1", "p1"),
			set("a2", away, -1, 2, busy, away, "p1"),
			set("a3", on, 127, 3, away, on, "p1"),
			set("a4", busy, 0, 4, on, on, "p1"),
			remove("a3", on, busy, "p1"),
			remove("a4", busy, away, "p1"),
			remove("a2", away, busy, "p1"),
		}},
		{"latest change wins among equals", []presenceStep{
			set("a1", on, 0, 10, off, on, "p1", "p1"),
			set("a2", busy, 0, 20, on, busy, "p1"),
			set("a1", away, 0, 30, busy, away, "p1"),
			set("a1", away, 0, 5, away, busy, "p1"),
			set("a3", on, 0, 15, busy, busy, "p1"),
			remove("a2", busy, on, "p1"),
		}},
		{"calls break ties", []presenceStep{
			set("a2", on, 0, 7, off, on, "p1", "p1"),
			set("a1", busy, 0, 7, on, busy, "p1"),
			set("a3", away, 0, 7, busy, away, "p1"),
			set("a2", on, 0, 7, away, on, "p1"),
			set("a1", busy, 0, 7, on, busy, "p1"),
			remove("a1", busy, on, "p1"),
			remove("a2", on, away, "p1"),
		}},
		{"a removed connection does not come back in a tie", []presenceStep{
			set("a1", on, 0, 7, off, on, "p1", "p1"),
			set("a2", busy, 0, 7, on, busy, "p1"),
			remove("a1", busy, busy, "p1"),
			set("a1", away, 0, 7, busy, away, "p1"),
		}},
		{"invisible or unavailable, and back", []presenceStep{
			set("a1", on, 0, 1, off, on, "p1 p2", "p1", "p2"),
			set("a1", off, 0, 2, on, off, "", "p1", "p2"),
			set("a1", off, 0, 3, off, off, "", "p1", "p2"),
			set("a1", away, 0, 4, off, away, "p2 p3", "p2", "p3"),
		}},
		{"invisible beside another connection", []presenceStep{
			set("a1", on, 9, 1, off, on, "p1", "p1"),
			set("a2", busy, 0, 2, on, on, "p1"),
			set("a1", off, 9, 3, on, busy, "p1"),
			set("a2", off, 0, 4, busy, off, ""),
			set("a1", on, 9, 5, off, on, "p1", "p1"),
		}},
		{"removal of one invisible connection of two", []presenceStep{
			set("a1", on, 0, 1, off, on, "p1", "p1"),
			set("a2", off, 9, 2, on, on, "p1"),
			remove("a2", on, on, "p1"),
			remove("a1", on, off, ""),
		}},
		{"repeated and unknown removals", []presenceStep{
			remove("a1", off, off, ""),
			set("a1", on, 0, 1, off, on, "p1", "p1"),
			remove("a2", on, on, "p1"),
			remove("a1", on, off, ""),
			remove("a1", off, off, ""),
			set("a2", on, 0, 2, off, on, "p1", "p1"),
			remove("a1", on, on, "p1"),
		}},
		{"a connection replaced by the same resource", []presenceStep{
			set("a1", on, 0, 1, off, on, "p1", "p1"),
			set("a2", on, 0, 2, on, on, "p1", "p1"),
			remove("a1", on, on, "p1"),
		}},
		{"memberships of someone online", []presenceStep{
			set("a1", on, 0, 1, off, on, "p1", "p1"),
			join("p2", "p1 p2"),
			join("p2", "p1 p2"),
			leave("p1", "p2"),
			leave("p1", "p2"),
			leave("p3", "p2"),
			set("a1", busy, 0, 2, on, busy, "p2", "p1"),
			join("p3", "p2 p3"),
			join("p1", "p1 p2 p3"),
			leave("p2", "p1 p3"),
			remove("a1", busy, off, ""),
		}},
		{"in no project for a while", []presenceStep{
			set("a1", on, 0, 1, off, on, "p1", "p1"),
			leave("p1", ""),
			set("a1", busy, 0, 2, on, busy, "", "p1"),
			join("p2", "p2"),
			remove("a1", busy, off, ""),
		}},
		{"online without projects, then a member", []presenceStep{
			set("a1", on, 0, 1, off, on, ""),
			set("a1", busy, 0, 2, on, busy, "", "p1"),
			join("p1", "p1"),
			remove("a1", busy, off, ""),
		}},
		{"memberships of someone offline", []presenceStep{
			join("p1", ""),
			leave("p1", ""),
			set("a1", off, 0, 1, off, off, ""),
			join("p1", ""),
			set("a1", on, 0, 2, off, on, "p2", "p2"),
			leave("p2", ""),
			set("a1", off, 0, 3, on, off, ""),
			join("p2", ""),
			leave("p2", ""),
			set("a1", on, 0, 4, off, on, "p3", "p3"),
		}},
	}
}
