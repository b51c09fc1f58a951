package roster_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/beevik/etree"

	"rollcall/internal/servertest"
	"rollcall/modules/roster"
	"rollcall/server"
	"rollcall/storage"
)

func TestMemberAdded(t *testing.T) {
	dir := house()
	s := start(t, dir)
	alice, bob, dave := login(s, "alice/web"), login(s, "bob/web"), login(s, "dave/web")
	uninterested := s.Online("carol/web")
	dir.Join("gemini", "dave")
	item := "<item jid='dave@example.com' name='Dave' subscription='both'><group>gemini</group></item>"
	alice.Expect(pushed("alice", item))
	bob.Expect(pushed("bob", item))
	dave.Expect(pushed("dave", "<item jid='alice@example.com' name='Alice' subscription='both'><group>gemini</group></item>"))
	dave.Expect(pushed("dave", `<item jid='bob@example.com' name="Bob &lt;&amp; 'Co'&gt;" subscription='both'><group>gemini</group></item>`))
	dave.Expect(pushed("dave", "<item jid='carol@example.com' subscription='both'><group>gemini</group></item>"))
	dir.Join("apollo", "carol")
	alice.Expect(pushed("alice", "<item jid='carol@example.com' subscription='both'><group>Apollo</group><group>gemini</group></item>"))
	bob.Expect(pushed("bob", "<item jid='carol@example.com' subscription='both'><group>Apollo</group><group>gemini</group></item>"))
	for _, c := range []*servertest.Client{alice, bob, dave, uninterested} {
		c.ExpectNothing()
	}
}

func TestEveryInterestedResourceIsTold(t *testing.T) {
	dir := house()
	s := start(t, dir)
	web, phone := login(s, "alice/web"), s.Login("alice/phone")
	other := login(s, "alice@other.example/pad")
	dir.Join("apollo", "carol")
	for c, host := range map[*servertest.Client]string{web: "example.com", other: "other.example"} {
		c.Expect("<iq type='set' from='alice@" + host + "' to='" + c.JID.String() + "' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'>" +
			"<item jid='carol@" + host + "' subscription='both'>...</item></query></iq>")
		c.ExpectNothing()
	}
	phone.ExpectNothing()
	web.Drop()
	dir.Leave("apollo", "carol")
	if len(other.Drain()) != 1 {
		t.Error("the remaining resource was not told once")
	}
}

func TestMemberRemoved(t *testing.T) {
	dir := house()
	s := start(t, dir)
	alice, bob := login(s, "alice/web"), login(s, "bob/web")
	dir.Leave("apollo", "bob")
	alice.Expect(pushed("alice", "<item jid='bob@example.com' name='{any}' subscription='both'><group>gemini</group></item>"))
	bob.Expect(pushed("bob", "<item jid='alice@example.com' name='Alice' subscription='both'><group>gemini</group></item>"))
	dir.Leave("gemini", "bob")
	alice.Expect(pushed("alice", "<item jid='bob@example.com' subscription='remove'/>"))
	bob.ExpectAnyOrder(
		pushed("bob", "<item jid='alice@example.com' subscription='remove'/>"),
		pushed("bob", "<item jid='carol@example.com' subscription='remove'/>"))
	alice.ExpectNothing()
	bob.ExpectNothing()
}

// Several people leave in one transaction: whoever is told first is told of
// people that the store no longer has.
func TestRemovedTogether(t *testing.T) {
	dir := house()
	s := start(t, dir)
	alice, bob := login(s, "alice/web"), login(s, "bob/web")
	dir.RemoveProject("gemini")
	alice.ExpectAnyOrder(
		pushed("alice", "<item jid='bob@example.com' name='{any}' subscription='both'><group>Apollo</group></item>"),
		pushed("alice", "<item jid='carol@example.com' subscription='remove'/>"))
	bob.ExpectAnyOrder(
		pushed("bob", "<item jid='alice@example.com' name='Alice' subscription='both'><group>Apollo</group></item>"),
		pushed("bob", "<item jid='carol@example.com' subscription='remove'/>"))
	dir.RemoveUser("bob")
	alice.Expect(pushed("alice", "<item jid='bob@example.com' subscription='remove'/>"))
	alice.ExpectNothing()
}

func TestNames(t *testing.T) {
	dir := house()
	s := start(t, dir)
	alice, bob := login(s, "alice/web"), login(s, "bob/web")
	dir.AddUser("carol", "Carol")
	for _, user := range []string{"alice", "bob"} {
		c := map[string]*servertest.Client{"alice": alice, "bob": bob}[user]
		c.Expect(pushed(user, "<item jid='carol@example.com' name='Carol' subscription='both'><group>gemini</group></item>"))
	}
	dir.AddUser("alice", "A.") // shares two projects with bob; she has no item of her own
	bob.Expect(pushed("bob", "<item jid='alice@example.com' name='A.' subscription='both'><group>Apollo</group><group>gemini</group></item>"))
	dir.Tell(storage.Change{Kind: storage.UserChanged, User: "carol"}, // a new password
		storage.Change{Kind: storage.UserChanged, User: "dave"})
	alice.ExpectNothing()
	bob.ExpectNothing()
	dir.AddProject("gemini", "Gemini")
	alice.ExpectAnyOrder(
		pushed("alice", "<item jid='bob@example.com' name='{any}' subscription='both'><group>Apollo</group><group>Gemini</group></item>"),
		pushed("alice", "<item jid='carol@example.com' name='Carol' subscription='both'><group>Gemini</group></item>"))
	bob.Drain()
	dir.AddProject("mercury", "M")
	dir.Tell(storage.Change{Kind: storage.ProjectChanged, Project: "gemini"})
	alice.ExpectNothing()
	bob.ExpectNothing()
}

// A change may be told after a roster was read that has it already.
func TestToldLateOrTwice(t *testing.T) {
	dir := house()
	s := start(t, dir)
	alice, bob := login(s, "alice/web"), login(s, "bob/web")
	dir.Tell(
		storage.Change{Kind: storage.MemberAdded, User: "bob", Project: "apollo"},
		storage.Change{Kind: storage.MemberRemoved, User: "dave", Project: "apollo"},
		storage.Change{Kind: storage.MemberRemoved, User: "bob", Project: "nowhere"},
		storage.Change{Kind: storage.MemberAdded, User: "alice", Project: "nowhere"},
		storage.Change{Kind: storage.ProjectRemoved, Project: "apollo"},
		storage.Change{Kind: storage.UserRemoved, User: "nobody"},
	)
	alice.ExpectNothing()
	bob.ExpectNothing()
}

func TestStoreDownDuringChanges(t *testing.T) {
	dir := house()
	s := start(t, dir)
	alice, dave := login(s, "alice/web"), login(s, "dave/web")
	dir.Fail(storage.ErrUnavailable)
	dir.Join("mercury", "alice") // her name cannot be read
	alice.Expect(pushed("alice", "<item jid='dave@example.com' name='Dave' subscription='both'>...</item>"))
	dave.Expect(pushed("dave", "<item jid='alice@example.com' subscription='both'>...</item>"))
	dir.Fail(nil)
	dave.Match(`<iq type='result' from='{any}' to='{any}' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'>
		<item jid='alice@example.com' name='Alice' subscription='both'>...</item></query></iq>`, dave.Ask("get", "", get))

	dir.Fail(storage.ErrUnavailable)
	dir.AddUser("alice", "Al").AddProject("apollo", "Apollo 11").AddProject("voyager", "V", "eve", "alice")
	alice.ExpectNothing()
	dir.Fail(nil)
	alice.Match(`<iq type='result' from='{any}' to='{any}' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'>
		<item jid='bob@example.com' name='{any}' subscription='both'><group>Apollo 11</group><group>gemini</group></item>
		<item jid='carol@example.com' subscription='both'><group>gemini</group></item>
		<item jid='dave@example.com' name='Dave' subscription='both'><group>Mercury</group></item>
		<item jid='eve@example.com' subscription='both'><group>V</group></item></query></iq>`,
		alice.Ask("get", "", get))
	alice.ExpectNothing()
	dave.Match(`<iq type='result' from='{any}' to='{any}' id='{any}'><query xmlns='jabber:iq:roster' ver='{any}'>
		<item jid='alice@example.com' name='Al' subscription='both'>...</item></query></iq>`, dave.Ask("get", "", get))
}

// unhurried gives way to others where a slow store or connection would.
type unhurried struct{ *servertest.Directory }

func (u unhurried) ProjectsOf(ctx context.Context, id string) ([]storage.Project, error) {
	defer giveWay()
	return u.Directory.ProjectsOf(ctx, id)
}

func (u unhurried) Members(ctx context.Context, id string) ([]storage.User, error) {
	defer giveWay()
	return u.Directory.Members(ctx, id)
}

func giveWay() {
	for range 20 {
		runtime.Gosched()
	}
}

// Whatever happens in whatever order, a client that applies what it is sent as
// it comes has the roster that the store would give it now.
func TestPushesAddUp(t *testing.T) {
	dir := servertest.NewDirectory()
	users := []string{"u0", "u1", "u2", "u3"}
	for _, u := range users {
		dir.AddUser(u, "")
	}
	s := servertest.New(t, servertest.Options{
		Directory: dir,
		Modules:   []server.Module{roster.New(roster.Options{Projects: unhurried{dir}, Users: dir})},
		Tap: func(e server.TapEvent) {
			if e.Kind == server.TapOut && bytes.Contains(e.Data, []byte("type='result'")) {
				giveWay()
			}
		},
		Log: slog.New(slog.DiscardHandler),
	})
	const seed, rounds = 20, 15
	rnd := rand.New(rand.NewPCG(seed, seed))
	for range rounds {
		var clients []*servertest.Client
		for _, u := range users {
			clients = append(clients, s.Login(u+"/a"), s.Login(u+"/b"))
		}
		stop := make(chan struct{})
		var churn sync.WaitGroup
		churn.Go(func() { change(dir, rnd, users, stop) })
		for _, c := range clients {
			c.Send("<iq type='get' id='get'>" + get + "</iq>")
		}
		close(stop)
		churn.Wait()
		for _, c := range clients {
			if got, want := follow(c.Drain()), fresh(t, dir, c.JID.Local()); !maps.Equal(got, want) {
				t.Errorf("seed %d: %s has\n%v\nwant\n%v", seed, c, got, want)
			}
			c.Drop()
		}
	}
}

// follow is the roster of a client that was sent these answers and pushes.
func follow(sent []*etree.Element) map[string]string {
	var known map[string]string
	for _, el := range sent {
		switch {
		case el.SelectAttrValue("type", "") == "result":
			known = items(el)
		case known != nil:
			maps.Copy(known, items(el))
			maps.DeleteFunc(known, func(_, item string) bool { return item == "" })
		}
	}
	return known
}

// change makes random changes, at least one.
func change(dir *servertest.Directory, rnd *rand.Rand, users []string, stop <-chan struct{}) {
	for i := 0; ; i++ {
		user, project := users[rnd.IntN(len(users))], fmt.Sprint("p", rnd.IntN(4))
		switch rnd.IntN(12) {
		case 0:
			dir.RemoveProject(project)
		case 1:
			dir.AddUser(user, fmt.Sprint("name ", i))
		case 2:
			dir.AddProject(project, project+fmt.Sprint(" named ", i), user)
		case 3:
			dir.Leave(project, users...)
		case 4, 5, 6:
			dir.Leave(project, user)
		default:
			dir.Join(project, user)
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

// items maps addresses to what is said of them; removal is nothing.
func items(iq *etree.Element) map[string]string {
	m := make(map[string]string)
	for _, el := range iq.FindElements("./query/item") {
		text := ""
		if el.SelectAttrValue("subscription", "") == "both" {
			text = "name " + el.SelectAttrValue("name", "")
			for _, g := range el.ChildElements() {
				text += " in " + g.Text()
			}
		}
		m[el.SelectAttrValue("jid", "")] = text
	}
	return m
}

// fresh is a user's roster according to the store, in the form of items.
func fresh(t *testing.T, dir *servertest.Directory, user string) map[string]string {
	t.Helper()
	m := make(map[string]string)
	list, err := dir.ProjectsOf(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		members, err := dir.Members(t.Context(), p.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range members {
			at := u.ID + "@example.com"
			if u.ID == user {
				continue
			}
			if m[at] == "" {
				m[at] = "name " + u.Name
			}
			m[at] += " in " + cmp.Or(p.Name, p.ID)
		}
	}
	return m
}
