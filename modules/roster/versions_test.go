package roster_test

import (
	"fmt"
	"testing"

	"github.com/beevik/etree"
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
