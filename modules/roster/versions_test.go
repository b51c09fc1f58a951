package roster_test

import (
	"fmt"
	"testing"

	"github.com/beevik/etree"

	"rollcall/internal/servertest"
	"rollcall/storage"
)

// conditionOf is the condition of an error; empty for none.
func conditionOf(el *etree.Element) string {
	e := el.SelectElement("error")
	if e == nil {
		return ""
	}
	return e.ChildElements()[0].Tag
}

func version(el *etree.Element) string {
	if q := el.SelectElement("query"); q != nil {
		return q.SelectAttrValue("ver", "")
	}
	return ""
}

// RFC 6121 section 2.6: whatever changes, the version that came with the last push is
// that of the roster, on every server.
func TestVersions(t *testing.T) {
	w := newWorld(t, "alice", "bob", "carol", "dave")
	s, other := w.start(), w.start()
	alice := s.Login("alice/a")
	last := version(alice.Ask("get", "", "<query xmlns='jabber:iq:roster' ver=''/>"))
	seen := map[string]string{last: "nothing"}
	for _, step := range []struct {
		name   string
		pushes int
		do     func()
	}{
		{"add", 1, func() { alice.Ask("set", "", set("eve@example.com", "name='E'")) }},
		{"project", 2, func() { w.dir.AddProject("p", "P", "alice", "bob", "carol") }},
		{"second project", 1, func() { w.dir.AddProject("q", "Q", "alice", "bob") }},
		{"rename", 1, func() { w.dir.AddUser("bob", "Robert") }},
		{"rename project", 1, func() { w.dir.AddProject("q", "R") }},
		{"group", 1, func() { alice.Ask("set", "", set("eve@example.com", "name='F'")) }},
		{"ask", 1, func() { alice.Send("<presence to='dave@example.com' type='subscribe'/>") }},
		{"leave", 1, func() { w.dir.Leave("q", "alice") }},
		{"removed", 1, func() { alice.Ask("set", "", set("eve@example.com", "subscription='remove'")) }},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.do()
			got := alice.Drain()
			if len(got) != step.pushes {
				t.Fatalf("%d elements, want %d", len(got), step.pushes)
			}
			for i, el := range got {
				last = version(el)
				if before, twice := seen[last]; twice {
					t.Errorf("push %d has the version of %s", i, before)
				}
				seen[last] = step.name
			}
			for _, server := range []string{"same", "other"} {
				srv := s
				if server == "other" {
					srv = other
				}
				c := srv.Login("alice/" + server)
				c.Match("<iq type='result' from='alice@example.com' to='{any}' id='{any}'/>",
					c.Ask("get", "", fmt.Sprintf("<query xmlns='jabber:iq:roster' ver='%s'/>", last)))
				if got := version(c.Ask("get", "", "<query xmlns='jabber:iq:roster' ver='0123456789abcdef'/>")); got != last {
					t.Errorf("%s server: version %s, the last push had %s", server, got, last)
				}
				c.Drop()
			}
		})
	}
}

// What could not be read and was made up for later is pushed to those who had their
// roster before: the version of the next push says that they have it.
func TestVersionsAfterFailure(t *testing.T) {
	dir := house()
	s := start(t, dir)
	first, dave := login(s, "alice/first"), login(s, "dave/web")
	dir.Fail(storage.ErrUnavailable)
	dir.AddProject("voyager", "V", "eve", "alice").AddUser("bob", "Robert").AddProject("mercury", "Mercury", "bob")
	dir.Fail(nil)
	drainAll(first, dave)
	second := login(s, "alice/second")
	has := make(map[string]string)
	for _, el := range first.Drain() {
		for at, item := range items(el) {
			has[at] = item
		}
	}
	for at, want := range map[string]string{"eve@example.com": "name  in V", "bob@example.com": "name Robert in Apollo in gemini"} {
		if has[at] != want {
			t.Errorf("%s was pushed as %q, want %q", at, has[at], want)
		}
	}
	second.ExpectNothing()
	// dave has somebody without a name
	login(s, "dave/second")
	if got := dave.Drain(); len(got) != 1 {
		t.Errorf("dave heard %d times of bob, want once", len(got))
	}
	for _, c := range []*servertest.Client{first, dave} {
		user := c.JID.Local()
		dir.AddProject("last", "Last", user, "u")
		got := c.Drain()
		last := version(got[len(got)-1])
		fresh := s.Login(user + "/fresh")
		if now := version(fresh.Ask("get", "", get)); now != last {
			t.Errorf("%s: version %s, the last push had %s", user, now, last)
		}
		dir.RemoveProject("last")
		fresh.Drop()
	}
}
