package projects_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/servertest"
	"rollcall/modules/projects"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
)

const (
	stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"
	project = "urn:rollcall:project:1"
	grace   = 5 * time.Second
)

// world is alice and bob in p1 and p3, bob and carol in p2, dave in none.
type world struct {
	*servertest.Server
	presence *memory.Presence
	t        *testing.T
}

func newWorld(t *testing.T, grace time.Duration) world {
	t.Helper()
	dir := servertest.NewDirectory().
		AddUser("alice", "Alice").AddUser("bob", "Bob").AddUser("carol", "Carol").AddUser("dave", "Dave").
		AddProject("p1", "Apollo", "alice", "bob").AddProject("p2", "Borealis", "bob", "carol").
		AddProject("p3", "Cygnus", "alice", "bob")
	w := world{presence: memory.NewPresence(), t: t}
	w.Server = servertest.New(t, servertest.Options{Directory: dir, Modules: []server.Module{projects.New(projects.Options{
		ServiceHost: "wtmuc.@HOST@", Grace: grace, LegacyShows: true, Directory: dir, Presence: w.presence,
	})}})
	return w
}

// online checks a project's online set.
func (w world) online(id string, want ...storage.OnlineUser) {
	w.t.Helper()
	got, _, err := w.presence.OnlineIn(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(got) != len(want) {
		w.t.Fatalf("online in %s: %v, want %v", id, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			w.t.Fatalf("online in %s: %v, want %v", id, got, want)
		}
	}
}

// seen is a presence that a co-member gets.
func seen(from, to, content string, status int, shared ...string) string {
	x := "<x xmlns='" + project + "' status='" + strconv.Itoa(status) + "' rev='{any}'>"
	for _, id := range shared {
		x += "<proj id='" + id + "'/>"
	}
	return "<presence from='{" + from + "}' to='{" + to + "}'>" + content + x + "</x></presence>"
}

// gone is the unavailable presence that a co-member gets.
func gone(from, to string, status int) string {
	return "<presence type='unavailable' from='{" + from + "}' to='{" + to + "}'><x xmlns='" + project + "' status='" +
		strconv.Itoa(status) + "' rev='{any}'/></presence>"
}

func self(name string) string { return "<presence from='{" + name + "}' to='{" + name + "}'/>" }

func TestEachSeesTheOther(t *testing.T) {
	w := newWorld(t, 0)
	dave := w.Login("dave/web")
	dave.Send("<presence/>")
	dave.Expect(self("dave"))
	alice := w.Login("alice/web")
	alice.Send("<presence/>")
	alice.Expect(self("alice"))
	bob := w.Login("bob/web")
	bob.Send("<presence><show>dnd</show></presence>")
	alice.Expect(seen("bob", "alice", "<show>dnd</show>", 2, "p1", "p3"))
	bob.ExpectAnyOrder("<presence from='{bob}' to='{bob}'><show>dnd</show></presence>", seen("alice", "bob", "", 1, "p1", "p3"))
	carol := w.Login("carol/web")
	carol.Send("<presence/>")
	carol.ExpectAnyOrder(self("carol"), seen("bob", "carol", "<show>dnd</show>", 2, "p2"))
	bob.Expect(seen("carol", "bob", "", 1, "p2"))
	w.online("p1", storage.OnlineUser{ID: "alice", Show: storage.Online}, storage.OnlineUser{ID: "bob", Show: storage.Busy})
	w.online("p2", storage.OnlineUser{ID: "bob", Show: storage.Busy}, storage.OnlineUser{ID: "carol", Show: storage.Online})
	bob.Send("<presence><show>away</show></presence>")
	alice.Expect(seen("bob", "alice", "<show>away</show>", 3, "p1", "p3"))
	carol.Expect(seen("bob", "carol", "<show>away</show>", 3, "p2"))
	bob.Send("<presence type='unavailable'><status>bye</status></presence>")
	alice.Expect("<presence type='unavailable' from='{bob}' to='{alice}'><status>bye</status><x xmlns='" + project + "' status='0' rev='{any}'/></presence>")
	carol.Expect("<presence type='unavailable' from='{bob}' to='{carol}'><status>bye</status><x xmlns='" + project + "' status='0' rev='{any}'/></presence>")
	w.online("p2", storage.OnlineUser{ID: "carol", Show: storage.Online})
	// Who is not available sees nothing.
	bob.Drain()
	alice.Send("<presence><show>xa</show></presence>")
	bob.ExpectNothing()
	dave.ExpectNothing()
}

// A client cannot pretend to be the server.
func TestExtensionCannotBeForged(t *testing.T) {
	w := newWorld(t, 0)
	alice, bob := w.Online("alice/web"), w.Online("bob/web")
	alice.Drain()
	bob.Drain()
	alice.Send("<presence><x xmlns='" + project + "' status='3' rev='9'/><c xmlns='urn:caps'/></presence>")
	bob.Expect(seen("alice", "bob", "<c xmlns='urn:caps'/>", 1, "p1", "p3"))
}

func TestAggregateOfTwoResources(t *testing.T) {
	w := newWorld(t, grace)
	bob := w.Online("bob/web")
	bob.Drain()
	web := w.Login("alice/web")
	phone := w.Login("alice/phone")
	web.Send("<presence><priority>5</priority></presence>")
	bob.Expect("<presence from='alice@example.com/web' to='{bob}'><priority>5</priority><x xmlns='" + project + "' status='1' rev='{any}'><proj id='p1'/><proj id='p3'/></x></presence>")
	phone.Send("<presence><show>away</show></presence>")
	bob.Expect("<presence from='alice@example.com/phone' to='{bob}'><show>away</show><x xmlns='" + project + "' status='1' rev='{any}'><proj id='p1'/><proj id='p3'/></x></presence>")
	// The one that is left counts, at once: there is no grace while the user is here.
	web.Drop()
	bob.Expect("<presence type='unavailable' from='alice@example.com/web' to='{bob}'><x xmlns='" + project + "' status='3' rev='{any}'/></presence>")
	w.online("p1", storage.OnlineUser{ID: "alice", Show: storage.Leave}, storage.OnlineUser{ID: "bob", Show: storage.Online})
}

func TestInvisible(t *testing.T) {
	w := newWorld(t, grace)
	alice, bob := w.Online("alice/web"), w.Online("bob/web")
	alice.Drain()
	bob.Drain()
	alice.Send("<presence><show>offline</show></presence>")
	bob.Expect(gone("alice", "bob", 0))
	w.online("p1", storage.OnlineUser{ID: "bob", Show: storage.Online})
	alice.Drain()
	// She still reads, and still gets messages.
	bob.Send("<presence><show>away</show></presence><message to='alice@example.com' type='chat' id='m'/>")
	alice.Expect(seen("bob", "alice", "<show>away</show>", 3, "p1", "p3"))
	alice.Expect("<message from='{bob}' to='alice@example.com' type='chat' id='m'/>")
	bob.Drain()
	alice.Send("<presence/>")
	bob.Expect(seen("alice", "bob", "", 1, "p1", "p3"))
	alice.Drain()
	alice.Send("<presence><show>offline</show></presence>")
	bob.Expect(gone("alice", "bob", 0))
	alice.Drop()
	bob.ExpectNothing()
}

func TestInvisibleFromTheStart(t *testing.T) {
	w := newWorld(t, 0)
	bob := w.Online("bob/web")
	bob.Drain()
	alice := w.Login("alice/web")
	alice.Send("<presence><show>offline</show></presence>")
	alice.ExpectAnyOrder(self("alice"), seen("bob", "alice", "", 1, "p1", "p3"))
	bob.ExpectNothing()
	alice.Drop()
	bob.ExpectNothing()
}

// A reload within the grace period is no event for others.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, grace)
		alice, bob := w.Online("alice/web"), w.Online("bob/web")
		alice.Drain()
		bob.Drain()
		alice.Drop()
		time.Sleep(grace - time.Millisecond)
		synctest.Wait()
		bob.ExpectNothing()
		w.online("p1", storage.OnlineUser{ID: "alice", Show: storage.Online}, storage.OnlineUser{ID: "bob", Show: storage.Online})
		alice = w.Login("alice/web")
		alice.Send("<presence/>")
		bob.Expect(seen("alice", "bob", "", 1, "p1", "p3"))
		time.Sleep(time.Hour)
		synctest.Wait()
		bob.ExpectNothing()

		alice.Drop()
		time.Sleep(grace)
		synctest.Wait()
		bob.Expect(gone("alice", "bob", 0))
		w.online("p1", storage.OnlineUser{ID: "bob", Show: storage.Online})
	})
}

// Back with another resource: first the new one, then the old one's end, which
// says that the user is still there.
func TestGraceEndsWithAnotherResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, grace)
		first, bob := w.Online("alice/one"), w.Online("bob/web")
		first.Drain()
		bob.Drain()
		first.Drop()
		second := w.Login("alice/two")
		second.Send("<presence><show>dnd</show></presence>")
		bob.Expect("<presence from='alice@example.com/two' to='{bob}'><show>dnd</show><x xmlns='" + project + "' status='2' rev='{any}'><proj id='p1'/><proj id='p3'/></x></presence>")
		bob.Expect("<presence type='unavailable' from='alice@example.com/one' to='{bob}'><x xmlns='" + project + "' status='2' rev='{any}'/></presence>")
		time.Sleep(time.Hour)
		synctest.Wait()
		bob.ExpectNothing()
		w.online("p1", storage.OnlineUser{ID: "alice", Show: storage.Busy}, storage.OnlineUser{ID: "bob", Show: storage.Online})
	})
}

func TestReplacedResourceDoesNotFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0) // a successor gets some time even without grace
		old, bob := w.Online("alice/web"), w.Online("bob/web")
		old.Drain()
		bob.Drain()
		successor := w.Login("alice/web")
		old.ExpectClosed(server.ReasonReplaced)
		bob.ExpectNothing()
		successor.Send("<presence/>")
		bob.Expect(seen("alice", "bob", "", 1, "p1", "p3"))
		time.Sleep(time.Hour)
		synctest.Wait()
		bob.ExpectNothing()
		w.online("p1", storage.OnlineUser{ID: "alice", Show: storage.Online}, storage.OnlineUser{ID: "bob", Show: storage.Online})

		// A successor that never becomes available is no reason to stay online.
		w.Login("alice/web")
		time.Sleep(time.Minute)
		synctest.Wait()
		bob.Expect(gone("alice", "bob", 0))
	})
}

func TestMembershipChangesWhileOnline(t *testing.T) {
	w := newWorld(t, 0)
	alice, bob, dave := w.Online("alice/web"), w.Online("bob/web"), w.Online("dave/web")
	alice.Drain()
	bob.Drain()
	dave.Drain()
	w.Directory.Join("p2", "dave")
	bob.Expect(seen("dave", "bob", "", 1, "p2"))
	dave.Expect(seen("bob", "dave", "", 1, "p2"))
	alice.ExpectNothing()
	w.online("p2", storage.OnlineUser{ID: "bob", Show: storage.Online}, storage.OnlineUser{ID: "dave", Show: storage.Online})

	w.Directory.Leave("p1", "bob") // still together in p3
	alice.ExpectNothing()
	bob.ExpectNothing()
	w.online("p1", storage.OnlineUser{ID: "alice", Show: storage.Online})
	bob.Send("<presence><show>away</show></presence>")
	alice.Expect(seen("bob", "alice", "<show>away</show>", 3, "p3"))
	bob.Drain()
	dave.Drain()

	w.Directory.Leave("p3", "alice")
	alice.Expect(gone("bob", "alice", 0))
	bob.Expect(gone("alice", "bob", 0))
	w.Directory.RemoveProject("p2")
	bob.Expect(gone("dave", "bob", 0))
	dave.Expect(gone("bob", "dave", 0))
	alice.Send("<presence><show>xa</show></presence>")
	bob.ExpectNothing()
	dave.ExpectNothing()
}

func TestProbe(t *testing.T) {
	w := newWorld(t, 0)
	alice, bob := w.Online("alice/web"), w.Online("bob/web")
	alice.Drain()
	alice.Send("<presence type='probe' to='bob@example.com'/>")
	alice.Expect(seen("bob", "alice", "", 1, "p1", "p3"))
	bob.Drop()
	alice.Drain()
	alice.Send("<presence type='probe' to='bob@example.com'/>")
	alice.Expect("<presence type='unavailable' from='bob@example.com' to='{alice}'/>")
	alice.Send("<presence type='probe' to='dave@example.com'/><presence type='probe' to='nobody@example.com'/>")
	alice.Expect("<presence type='unsubscribed' from='dave@example.com' to='alice@example.com'/>")
	alice.Expect("<presence type='unsubscribed' from='nobody@example.com' to='alice@example.com'/>")
}

func TestDelta(t *testing.T) {
	w := newWorld(t, 0)
	alice := w.Login("alice/web")
	ask := func(since string) (rev string, delta bool, users map[string]string) {
		t.Helper()
		if since != "" {
			since = " since='" + since + "'"
		}
		answer := alice.Ask("get", "p1@wtmuc.example.com", "<online xmlns='"+project+"'"+since+"/>").SelectElement("online")
		users = make(map[string]string)
		for _, u := range answer.SelectElements("user") {
			users[u.SelectAttrValue("jid", "")] = u.SelectAttrValue("status", "")
		}
		return answer.SelectAttrValue("rev", ""), answer.SelectAttr("since") != nil, users
	}
	check := func(users map[string]string, want ...string) {
		t.Helper()
		if len(users)*2 != len(want) {
			t.Fatalf("users %v, want %v", users, want)
		}
		for i := 0; i < len(want); i += 2 {
			if users[want[i]] != want[i+1] {
				t.Fatalf("users %v, want %v", users, want)
			}
		}
	}
	bob := w.Online("bob/web")
	rev, delta, users := ask("1") // from an earlier life of the server
	if delta {
		t.Error("a delta since an unknown revision")
	}
	check(users, "bob@example.com", "1")
	bob.Send("<presence><show>dnd</show></presence>")
	rev, delta, users = ask(rev)
	if !delta {
		t.Error("no delta")
	}
	check(users, "bob@example.com", "2")
	bob.Drop()
	next, delta, users := ask(rev)
	if delta {
		// bob's room is empty and gone: the whole, empty list.
		t.Error("a delta of an empty room")
	}
	check(users)
	if next <= rev {
		t.Errorf("revision %s after %s", next, rev)
	}
}
