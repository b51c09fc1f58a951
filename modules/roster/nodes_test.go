package roster_test

import (
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/servertest"
	"rollcall/storage"
	"rollcall/storage/memory"
)

// nodes starts servers that are nodes of one community.
func (w *world) nodes(n int) (list []*servertest.Server, hub *memory.Hub) {
	hub = memory.NewHub()
	for i := range n {
		o := w.options()
		o.Bus = hub.Bus(fmt.Sprint("node", i))
		if i > 0 {
			o.Beside = list[0]
		}
		o.Log = slog.New(slog.DiscardHandler)
		list = append(list, servertest.New(w.t, o))
		synctest.Wait()
	}
	return list, hub
}

func send(c *servertest.Client, what string) {
	c.Send(what)
	synctest.Wait()
}

// What happens at one node shows at the others.
func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "alice", "bob")
		n, hub := w.nodes(3)
		alice, tab, bob := reader(n[0], "alice/a"), reader(n[2], "alice/tab"), reader(n[1], "bob/b")
		synctest.Wait()
		drainAll(alice, tab, bob)
		alice.Ask("set", "", set("bob@example.com", "name='B'"))
		synctest.Wait()
		for _, c := range []*servertest.Client{alice, tab} {
			c.Expect("<iq type='set' from='alice@example.com' to='" + c.JID.String() + "' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'>" +
				"<item jid='bob@example.com' name='B' subscription='none'/></query></iq>")
		}
		send(alice, "<presence to='bob@example.com' type='subscribe'/>")
		bob.Expect(said("alice", "bob", "subscribe"))
		drainAll(alice, tab)
		send(bob, "<presence to='alice@example.com' type='subscribed'/>")
		bob.Expect(pushed("bob", "<item jid='alice@example.com' subscription='from'/>"))
		for _, c := range []*servertest.Client{alice, tab} {
			got := c.Drain()
			if len(got) != 3 {
				t.Fatalf("%s got %d elements, want 3", c, len(got))
			}
			c.Match("<presence from='bob@example.com' to='alice@example.com' type='subscribed'/>", got[0])
			// the two come on different ways
			slices.SortFunc(got[1:], func(a, b *etree.Element) int { return strings.Compare(a.Tag, b.Tag) })
			c.Match("<iq type='set' from='{any}' to='{any}' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'><item jid='bob@example.com' name='B' subscription='to'/></query></iq>", got[1])
			c.Match("<presence from='{bob}' to='"+c.JID.String()+"'/>", got[2])
		}
		newcomers(t, n, alice, tab, bob)
		moves(t, n[0], hub, tab)
	})
}

// newcomers learn of contacts at every node.
func newcomers(t *testing.T, n []*servertest.Server, alice *servertest.Client, others ...*servertest.Client) {
	t.Helper()
	third := n[1].Login("alice/third")
	send(third, "<presence><priority>-1</priority></presence>")
	if !slices.Contains(froms(third.Drain()), "bob@example.com/b") {
		t.Error("a newcomer at bob's node does not see bob")
	}
	fourth := n[2].Login("alice/fourth")
	send(fourth, "<presence/>")
	if !slices.Contains(froms(fourth.Drain()), "bob@example.com/b") {
		t.Error("a newcomer at a third node does not see bob")
	}
	third.Drop()
	fourth.Drop()
	synctest.Wait()
	alice.Drain()
	drainAll(others...)
	// a probe
	send(alice, "<presence to='bob@example.com' type='probe'/>")
	alice.Expect("<presence from='{bob}' to='{alice/a}'/>")
}

// moves has bob's client log in at another node, which then dies.
func moves(t *testing.T, to *servertest.Server, hub *memory.Hub, tab *servertest.Client) {
	t.Helper()
	again := to.Login("bob/b")
	synctest.Wait()
	send(again, "<presence><show>xa</show></presence>")
	time.Sleep(time.Minute)
	synctest.Wait()
	if view := seen(tab.Drain()); view["bob@example.com/b"] != "xa" {
		t.Errorf("after bob moved: %v", view)
	}
	// the node dies
	hub.Kill("node0")
	hub.Expire("node0")
	synctest.Wait()
	if view := seen(tab.Drain()); view["bob@example.com/b"] != "gone" {
		t.Errorf("after bob's node died: %v", view)
	}
}

// froms lists who sent something.
func froms(got []*etree.Element) (list []string) {
	for _, el := range got {
		list = append(list, el.SelectAttrValue("from", ""))
	}
	return list
}

// seen is what a client that got this knows of others: a show, "on" or "gone".
func seen(got []*etree.Element) map[string]string {
	view := make(map[string]string)
	look(view, got)
	return view
}

func look(view map[string]string, got []*etree.Element) {
	for _, el := range got {
		from := el.SelectAttrValue("from", "")
		if el.Tag != "presence" || !strings.Contains(from, "/") {
			continue
		}
		switch typ := el.SelectAttrValue("type", ""); {
		case typ == "unavailable":
			view[from] = "gone"
		case typ == "" && el.SelectElement("show") != nil:
			view[from] = el.SelectElement("show").Text()
		case typ == "":
			view[from] = "on"
		}
	}
}

// player is a client with what it has heard so far.
type player struct {
	*servertest.Client
	user    string
	roster  map[string]string
	version string
	view    map[string]string
	show    string // "" for unavailable
}

func (p *player) hear(t *testing.T) {
	got := p.Drain()
	look(p.view, got)
	for _, el := range got {
		for _, i := range el.FindElements("./query/item") {
			at := i.SelectAttrValue("jid", "")
			if i.SelectAttrValue("subscription", "") == "remove" {
				delete(p.roster, at)
				continue
			}
			p.roster[at] = itemText(i)
		}
		if v := version(el); v != "" {
			p.version = v
		}
	}
}

func itemText(i *etree.Element) string {
	text := i.SelectAttrValue("subscription", "") + " " + i.SelectAttrValue("name", "") + " " + i.SelectAttrValue("ask", "") + " " + i.SelectAttrValue("approved", "")
	for _, g := range i.SelectElements("group") {
		text += " in " + g.Text()
	}
	return text
}

func join(t *testing.T, s *servertest.Server, address string) *player {
	user, _, _ := strings.Cut(address, "/")
	p := &player{Client: s.Login(address), user: user, roster: make(map[string]string), view: make(map[string]string)}
	p.Send("<iq type='get' id='get'>" + get + "</iq>")
	p.hear(t)
	return p
}

// act is one random thing that a client does to another user.
func (p *player) act(rnd *rand.Rand, other string) {
	at := other + "@example.com"
	switch n := rnd.IntN(14); n {
	case 0, 1, 2:
		p.Send("<presence to='" + at + "' type='subscribe'/>")
	case 3, 4, 5:
		p.Send("<presence to='" + at + "' type='subscribed'/>")
	case 6:
		p.Send("<presence to='" + at + "' type='unsubscribe'/>")
	case 7:
		p.Send("<presence to='" + at + "' type='unsubscribed'/>")
	case 8:
		p.Send("<iq type='set' id='remove'>" + set(at, "subscription='remove'") + "</iq>")
	case 9:
		p.Send(fmt.Sprintf("<iq type='set' id='set'>%s</iq>", set(at, fmt.Sprintf("name='%d'", rnd.IntN(3)))))
	case 10:
		p.show = ""
		p.Send("<presence type='unavailable'/>")
	default:
		p.show = []string{"away", "dnd", "xa"}[n-11]
		p.Send("<presence><show>" + p.show + "</show></presence>")
	}
}

var seeds = flag.Uint64("seeds", 8, "runs of TestTwoUsers")

// TestTwoUsers lets two users with two clients each do anything, one after the other and
// all at once: the two rosters say the same, and every client knows its roster, its
// version and whom it may see. The clients are at two nodes, or at one; every now and
// then the users also share projects. Half of the time the store fails.
func TestTwoUsers(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { twoUsers(t, rand.New(rand.NewPCG(seed, 6)), seed%2 == 1, seed%4 < 2, seed%8 >= 4) })
		})
	}
}

func twoUsers(t *testing.T, rnd *rand.Rand, atOnce, apart, fails bool) {
	w := newWorld(t, "a", "b")
	n, _ := w.nodes(2)
	if !apart {
		n[1] = n[0]
	}
	players := []*player{join(t, n[0], "a/0"), join(t, n[1], "a/1"), join(t, n[0], "b/0"), join(t, n[1], "b/1")}
	projects := []string{"p", "q"}
	other := map[string]string{"a": "b", "b": "a"}
	for round := range 60 {
		time.Sleep(time.Millisecond) // no two presences are of the same time
		if fails && rnd.IntN(4) == 0 {
			w.rosters.failFor(rnd)
		}
		switch {
		case rnd.IntN(10) == 0:
			p := projects[rnd.IntN(2)]
			if rnd.IntN(2) == 0 {
				w.dir.AddProject(p, p, "a", "b")
			} else {
				w.dir.Leave(p, []string{"a", "b"}[rnd.IntN(2)])
			}
		case atOnce:
			var all sync.WaitGroup
			for _, p := range players {
				mine := rand.New(rand.NewPCG(rnd.Uint64(), 1))
				all.Go(func() { p.act(mine, other[p.user]) })
			}
			all.Wait()
		default:
			p := players[rnd.IntN(len(players))]
			p.act(rnd, other[p.user])
		}
		synctest.Wait()
		if fails {
			w.rosters.fail(nil, 0)
			time.Sleep(3 * time.Second)
			synctest.Wait()
		}
		for _, p := range players {
			p.hear(t)
		}
		if check(t, w, n, players); t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

func check(t *testing.T, w *world, n []*servertest.Server, players []*player) {
	t.Helper()
	item := func(user, contact string) (i storage.RosterItem) {
		i, err := w.rosters.RosterItem(t.Context(), user, contact+"@example.com")
		if err != nil {
			return storage.RosterItem{}
		}
		return i
	}
	a, b := item("a", "b"), item("b", "a")
	for _, x := range [][2]storage.RosterItem{{a, b}, {b, a}} {
		to, from := x[0].Subscription&storage.SubscriptionTo != 0, x[1].Subscription&storage.SubscriptionFrom != 0
		if to != from || x[0].Ask != (x[1].Request != nil) {
			t.Errorf("a's item %s, b's %s", w.says("a", "b@example.com"), w.says("b", "a@example.com"))
		}
	}
	tied := false
	for _, id := range []string{"p", "q"} {
		members, err := w.dir.Members(t.Context(), id)
		tied = tied || err == nil && len(members) == 2
	}
	to := map[string]bool{"a": a.Subscription&storage.SubscriptionTo != 0, "b": b.Subscription&storage.SubscriptionTo != 0}
	for i, p := range players {
		if p.show != "" {
			for _, o := range players {
				want := "gone"
				if o.show != "" && (o.user == p.user || tied || to[p.user]) {
					want = o.show
				}
				if got := p.view[o.JID.String()]; got != want && !(want == "gone" && got == "") {
					t.Errorf("%s sees %s as %q, want %q", p, o, got, want)
				}
			}
		} else {
			clear(p.view)
		}
		fresh := n[i%2].Login(p.user + "/fresh")
		answer := fresh.Ask("get", "", get)
		roster := make(map[string]string)
		for _, i := range answer.FindElements("./query/item") {
			roster[i.SelectAttrValue("jid", "")] = itemText(i)
		}
		if got := fmt.Sprint(p.roster); got != fmt.Sprint(roster) {
			t.Errorf("%s has the roster %s, want %v", p, got, roster)
		}
		if got := version(answer); got != p.version {
			t.Errorf("%s has version %s, want %s", p, p.version, got)
		}
		fresh.Drop()
	}
	synctest.Wait()
	for _, p := range players {
		p.hear(t)
	}
}
