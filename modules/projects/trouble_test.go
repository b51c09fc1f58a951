package projects_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/modules/projects"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
)

// serve starts a server with the module over a directory and a store.
func serve(t testing.TB, dir *servertest.Directory, store storage.Presence, grace time.Duration, hosts ...string) *servertest.Server {
	t.Helper()
	return servertest.New(t, servertest.Options{Directory: dir, Hosts: hosts, Modules: []server.Module{projects.New(projects.Options{
		ServiceHost: "wtmuc.@HOST@", Grace: grace, LegacyShows: true, Directory: dir, Presence: store,
	})}})
}

// Two hosts with one directory: the same people and projects, and nobody sees
// across.
func TestTwoHosts(t *testing.T) {
	dir := servertest.NewDirectory().AddUser("alice", "Alice").AddUser("user1", "").AddUser("user10", "").
		AddProject("p", "P", "alice", "user1", "user10")
	store := memory.NewPresence()
	s := serve(t, dir, store, 0, "a.example", "b.example")
	one, two := s.Online("alice@a.example/web"), s.Online("alice@b.example/web")
	s.Online("user1@b.example/web")
	far := s.Online("user10@b.example/web")
	one.Drain()
	two.Drain()
	far.Send("<presence><show>away</show></presence>")
	two.Expect("<presence from='user10@b.example/web' to='alice@b.example/web'><show>away</show><x xmlns='" + project + "' status='3' rev='{any}'><proj id='p'/></x></presence>")
	one.ExpectNothing()
	online := func(c *servertest.Client, host, more string) string {
		var users []string
		answer := c.Ask("get", "p@wtmuc."+host, "<online xmlns='"+project+"'>"+more+"</online>")
		for _, u := range answer.FindElements("./online/user") {
			users = append(users, u.SelectAttrValue("jid", "")+" "+u.SelectAttrValue("status", ""))
		}
		return strings.Join(users, ", ")
	}
	if got := online(one, "a.example", ""); got != "alice@a.example 1" {
		t.Error(got)
	}
	if got := online(two, "b.example", ""); got != "alice@b.example 1, user1@b.example 1, user10@b.example 3" {
		t.Error(got)
	}
	if got := online(two, "b.example", "<set xmlns='http://jabber.org/protocol/rsm'><max>1</max><after>user1</after></set>"); got != "user10@b.example 3" {
		t.Error(got)
	}
	page := two.Ask("get", "p@wtmuc.b.example", "<query xmlns='http://jabber.org/protocol/disco#items' node='online'>"+
		"<set xmlns='http://jabber.org/protocol/rsm'><max>1</max><after>user1</after></set></query>")
	if el := page.FindElement("./query/item"); el == nil || el.SelectAttrValue("jid", "") != "user10@b.example" {
		t.Errorf("the item after user1: %v", el)
	}
	two.Match("<iq type='result' id='{any}' from='wtmuc.b.example' to='alice@b.example/web'><status xmlns='"+project+"'>"+
		"<user jid='user10@b.example' status='3'/></status></iq>",
		two.Ask("get", "wtmuc.b.example", "<status xmlns='"+project+"'><user jid='user10@b.example'/><user jid='user10@a.example'/></status>"))
	// A host's own people only.
	for _, place := range []string{"p@wtmuc.b.example", "wtmuc.b.example"} {
		if answer := one.Ask("get", place, "<query xmlns='http://jabber.org/protocol/disco#info'/>"); answer.SelectAttrValue("type", "") != "error" {
			t.Errorf("%s answers another host's user", place)
		}
	}
	one.Send("<message type='groupchat' to='p@wtmuc.b.example' id='m'/><presence type='probe' to='user10@b.example'/>")
	one.Expect("<message type='error' id='m' from='p@wtmuc.b.example' to='alice@a.example/web'><error type='cancel'><service-unavailable xmlns='" + stanzas + "'/></error></message>")
	one.Expect("<presence type='unsubscribed' from='user10@b.example' to='alice@a.example'/>")
	two.Drain()
	dir.Leave("p", "user10") // at both
	two.Expect("<presence type='unavailable' from='user10@b.example/web' to='alice@b.example/web'><x xmlns='" + project + "' status='0' rev='{any}'/></presence>")
	one.ExpectNothing()
}

func TestFewAndManyProjects(t *testing.T) {
	for _, n := range []int{0, 1, 200} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			dir := servertest.NewDirectory().AddUser("alice", "").AddUser("bob", "")
			list := ""
			for i := range n {
				id := fmt.Sprintf("p%03d", i)
				dir.AddProject(id, "", "alice", "bob")
				list += "<proj id='" + id + "'/>"
			}
			store := memory.NewPresence()
			s := serve(t, dir, store, 0)
			bob := s.Online("bob/web")
			alice := s.Online("alice/web")
			if n > 0 {
				bob.Expect("<presence from='{alice}' to='{bob}'><x xmlns='" + project + "' status='1' rev='{any}'>" + list + "</x></presence>")
			}
			alice.Drop()
			if n > 0 {
				bob.Expect(gone("alice", "bob", 0))
			}
			bob.ExpectNothing()
			bob.Drop()
			for i := range n {
				if got, _, err := store.OnlineIn(t.Context(), fmt.Sprintf("p%03d", i)); err != nil || len(got) != 0 {
					t.Fatal(got, err)
				}
			}
		})
	}
}

// The directory failed at login; the next presence makes up for it.
func TestDirectoryFailsAtLogin(t *testing.T) {
	w := newWorld(t, 0)
	bob := w.Online("bob/web")
	alice, phone := w.Login("alice/web"), w.Login("alice/phone")
	w.Directory.Fail(storage.ErrUnavailable)
	alice.Send("<presence/>")
	phone.Send("<presence><show>away</show></presence>")
	w.Directory.Fail(nil)
	alice.Drain()
	phone.Drain()
	bob.ExpectNothing()
	alice.Send("<presence><show>dnd</show></presence>")
	both := "<x xmlns='" + project + "' status='{any}' rev='{any}'><proj id='p1'/><proj id='p3'/></x></presence>"
	bob.Expect("<presence from='alice@example.com/web' to='{bob}'>" + both)
	bob.Expect("<presence from='alice@example.com/phone' to='{bob}'><show>away</show>" + both)
	bob.Expect("<presence from='alice@example.com/web' to='{bob}'><show>dnd</show><x xmlns='" + project + "' status='2' rev='{any}'>...</x></presence>")
	alice.ExpectAnyOrder("<presence from='{bob}' to='{alice/web}'>"+both, "<presence from='{alice/web}' to='{alice/web}'><show>dnd</show></presence>")
	phone.ExpectAnyOrder("<presence from='{bob}' to='{alice/phone}'>"+both, "<presence from='{alice/web}' to='{alice/phone}'><show>dnd</show></presence>")
	w.online("p3", storage.OnlineUser{ID: "alice", Show: storage.Busy}, storage.OnlineUser{ID: "bob", Show: storage.Online})
}

func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := servertest.NewDirectory().AddUser("alice", "").AddUser("bob", "").AddProject("p1", "", "alice", "bob")
		store := &fragile{Presence: memory.NewPresence()}
		s := serve(t, dir, store, 0)
		alice, bob := s.Online("alice/web"), s.Online("bob/web")
		bob.Drain()
		store.broken.Store(true)
		alice.Send("<presence><show>dnd</show></presence>")
		bob.Expect(seen("alice", "bob", "<show>dnd</show>", 2, "p1"))
		for place, payload := range map[string]string{
			"p1@wtmuc.example.com": "<online xmlns='" + project + "'/>",
			"wtmuc.example.com":    "<projects xmlns='" + project + "'/>",
		} {
			bob.Match("<iq type='error' id='{any}' from='"+place+"' to='{bob}'><error type='wait'><internal-server-error xmlns='"+stanzas+"'/>...</error></iq>",
				bob.Ask("get", place, payload))
		}
		alice.Drop()
		bob.Expect(gone("alice", "bob", 0))
		time.Sleep(time.Hour + time.Second) // between two tries
		store.broken.Store(false)
		if got, err := store.Status(t.Context(), []string{"alice"}); err != nil || got[0] != storage.Online {
			t.Fatal(got, err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got, err := store.Status(t.Context(), []string{"alice"}); err != nil || got[0] != storage.Offline {
			t.Error(got, err)
		}
		bob.ExpectNothing()
		if failures := s.Metric("rollcall_projects_store_failures_total"); failures < 100 {
			t.Errorf("%v failures were counted", failures)
		}
	})
}

// The end of the server is the end of the grace period.
func TestStopEndsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := servertest.NewDirectory().AddUser("alice", "").AddUser("bob", "").AddProject("p1", "", "alice", "bob")
		store := memory.NewPresence()
		s := serve(t, dir, store, grace)
		s.Online("bob/web")
		s.Online("alice/web").Drop()
		s.Stop()
		got, _, err := store.OnlineIn(t.Context(), "p1")
		if err != nil || len(got) != 0 {
			t.Error(got, err)
		}
		time.Sleep(time.Hour) // no timer is left that could act
		synctest.Wait()
	})
}

// Another resource's news do not make a replaced connection's successor flap.
func TestReplacedWhileAnotherSpeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, grace)
		w.Online("alice/web")
		phone, bob := w.Login("alice/phone"), w.Online("bob/web")
		phone.Send("<presence/>")
		bob.Drain()
		successor := w.Login("alice/web")
		phone.Send("<presence><show>away</show></presence>")
		bob.Expect("<presence from='{alice/phone}' to='{bob}'><show>away</show>...</presence>")
		bob.ExpectNothing()
		successor.Send("<presence><show>dnd</show><priority>1</priority></presence>")
		bob.Expect("<presence from='{alice/web}' to='{bob}'><show>dnd</show><priority>1</priority><x xmlns='" + project + "' status='2' rev='{any}'>...</x></presence>")
		time.Sleep(time.Hour)
		synctest.Wait()
		bob.ExpectNothing()
	})
}

// Who is not available may ask for somebody's presence too.
func TestProbeWithoutPresence(t *testing.T) {
	w := newWorld(t, 0)
	w.Online("bob/web")
	alice := w.Login("alice/web")
	alice.Send("<presence type='probe' to='bob@example.com'/>")
	alice.Expect(seen("bob", "alice", "", 1, "p1", "p3"))
	alice.ExpectNothing()
}

// A membership that ends is no revision: whoever asks next gets the whole list.
func TestDeltaAfterLeaving(t *testing.T) {
	w := newWorld(t, 0)
	alice := w.Online("alice/web")
	w.Online("bob/web")
	ask := func(since string) (rev string, users int) {
		answer := alice.Ask("get", "p1@wtmuc.example.com", "<online xmlns='"+project+"'"+since+"/>").SelectElement("online")
		if since != "" && answer.SelectAttr("since") != nil {
			t.Error("a delta")
		}
		return answer.SelectAttrValue("rev", ""), len(answer.SelectElements("user"))
	}
	rev, n := ask("")
	if n != 2 {
		t.Fatalf("%d users", n)
	}
	w.Directory.Leave("p1", "bob")
	if _, n = ask(" since='" + rev + "'"); n != 1 {
		t.Errorf("%d users", n)
	}
	alice.Send("<presence><show>dnd</show></presence>")
	if _, n = ask(" since='" + rev + "'"); n != 1 {
		t.Errorf("%d users", n)
	}
}

// Everybody reads a project's messages in one order.
func TestGroupMessagesInOneOrder(t *testing.T) {
	w := newWorld(t, 0)
	alice, bob := w.Online("alice/web"), w.Online("bob/web")
	alice.Drain()
	bob.Drain()
	var wg sync.WaitGroup
	for name, c := range map[string]*servertest.Client{"a": alice, "b": bob} {
		wg.Go(func() {
			for i := range 50 {
				c.Send(fmt.Sprintf("<message type='groupchat' to='p1@wtmuc.example.com' id='%s%d'/>", name, i))
			}
		})
	}
	wg.Wait()
	ids := func(c *servertest.Client) (list []string) {
		for _, el := range c.Drain() {
			list = append(list, el.SelectAttrValue("id", ""))
		}
		return list
	}
	one, other := ids(alice), ids(bob)
	if len(one) != 100 || strings.Join(one, " ") != strings.Join(other, " ") {
		t.Errorf("alice reads %v, bob %v", one, other)
	}
}
