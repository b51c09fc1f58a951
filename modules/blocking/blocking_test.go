package blocking_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"rollcall/internal/servertest"
	"rollcall/modules/blocking"
	"rollcall/server"
	"rollcall/storage"
	"rollcall/storage/memory"
)

func TestList(t *testing.T) {
	s := start(t, servertest.NewDocuments())
	c := online(s, "alice/web", "alice/phone", "alice/old")
	web, phone, old := c[0], c[1], c[2]
	listed(t, web)
	listed(t, phone)
	set(t, web, "block", "nobody@example.com", "evil.example", "x@evil.example/&lt;r>")
	for _, c := range []*servertest.Client{web, phone} {
		c.Expect(push(c, "block", "nobody@example.com", "evil.example", "x@evil.example/&lt;r>"))
	}
	listed(t, phone, "nobody@example.com", "evil.example", "x@evil.example/&lt;r>")
	// Addresses are those of people, however they are written; twice is once.
	set(t, old, "block", "NOBODY@example.com", "other@example.com", "other@example.com")
	web.Expect(push(web, "block", "nobody@example.com", "other@example.com"))
	phone.Expect(push(phone, "block", "nobody@example.com", "other@example.com"))
	listed(t, web, "nobody@example.com", "evil.example", "x@evil.example/&lt;r>", "other@example.com")
	set(t, old, "unblock", "evil.example", "nobody.at.all")
	web.Expect(push(web, "unblock", "evil.example", "nobody.at.all"))
	listed(t, web, "nobody@example.com", "x@evil.example/&lt;r>", "other@example.com")
	set(t, old, "unblock")
	web.Expect(push(web, "unblock"))
	listed(t, web)
	old.Ask("set", "", "<b:block xmlns:b='urn:xmpp:blocking'><b:item jid='nobody@example.com'/></b:block>")
	web.Expect(push(web, "block", "nobody@example.com"))
	set(t, old, "unblock")
	drain(web, phone)
	// Who has left is told nothing; neither is who never asked.
	phone.Hangup()
	web.Drain()
	old.Drain()
	set(t, web, "block", "nobody@example.com")
	old.ExpectNothing()
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name, typ, payload, condition string
	}{
		{"nobody", "set", items("block"), "bad-request"},
		{"no item", "set", "<block xmlns='urn:xmpp:blocking'><x/></block>", "bad-request"},
		{"not everybody, by a prefix", "set", "<b:unblock xmlns:b='urn:xmpp:blocking'><item jid='a@b'/></b:unblock>", "bad-request"},
		{"not everybody", "set", "<unblock xmlns='urn:xmpp:blocking'><item xmlns='urn:x' jid='a@b'/></unblock>", "bad-request"},
		{"no address", "set", "<block xmlns='urn:xmpp:blocking'><item/></block>", "jid-malformed"},
		{"malformed", "set", items("block", "@"), "jid-malformed"},
		{"malformed among others", "set", items("unblock", "a@b", "a b@c"), "jid-malformed"},
		{"get for set", "get", items("block", "a@b"), "bad-request"},
		{"get for set of none", "get", items("unblock"), "bad-request"},
		{"set for get", "set", list, "bad-request"},
		{"too many", "set", items("block", strings.Split("a@b b@b c@b d@b e@b f@b g@b h@b i@b j@b k@b", " ")...), "resource-constraint"},
	} {
		t.Run(test.name, func(t *testing.T) {
			alice := start(t, servertest.NewDocuments()).Login("alice/web")
			got := alice.Ask(test.typ, "", test.payload)
			if got.FindElement("./error/"+test.condition) == nil {
				t.Errorf("no %s", test.condition)
			}
			listed(t, alice)
		})
	}
}

// TestStanzas: nothing comes from who is blocked, and nothing goes there (section 3.3).
func TestStanzas(t *testing.T) {
	for _, test := range []struct{ name, item string }{
		{"user", "bob@example.com"}, {"resource", "bob@example.com/web"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, servertest.NewDocuments())
			c := online(s, "alice/web", "bob/web", "bob/phone", "carol/web")
			alice, bob, phone, carol := c[0], c[1], c[2], c[3]
			set(t, alice, "block", test.item)
			drain(c...)
			whole := test.name == "user"

			for _, to := range []string{"alice@example.com/web", "alice@example.com"} {
				bob.Send("<message to='" + to + "' id='1' type='chat'><body>b</body></message>")
				bob.Expect("<message from='" + to + "' to='{bob/web}' id='1' type='error'>" + unheard + "</message>")
				bob.Send("<message to='" + to + "' id='2' type='headline'/><message to='" + to + "' id='2' type='error'/>")
				bob.Match("<iq type='error' from='"+to+"' to='{bob/web}' id='{any}'>"+unheard+"</iq>", bob.Ask("get", to, "<query xmlns='jabber:iq:version'/>"))
				bob.Send("<iq type='result' to='" + to + "' id='3'/><iq type='error' to='" + to + "' id='4'/>")
				for _, typ := range []string{"", " type='subscribe'", " type='probe'", " type='unavailable'", " type='error'"} {
					bob.Send("<presence to='" + to + "'" + typ + "/>")
				}
			}
			nothing(t, c...)
			// Nor does presence that others see.
			bob.Send("<presence><show>away</show></presence>")
			carol.Next()
			drain(bob, phone)
			alice.Send("<presence><show>dnd</show></presence>")
			carol.Next()
			if !whole {
				phone.Expect(there(alice, phone))
			}
			alice.Next() // its echo
			nothing(t, c...)

			alice.Send("<message to='" + test.item + "' id='5' type='chat'><body>b</body></message>")
			alice.Expect("<message from='" + test.item + "' to='{alice}' id='5' type='error'>" + refused + "</message>")
			alice.Match("<iq type='error' from='"+test.item+"' to='{alice}' id='{any}'>"+refused+"</iq>", alice.Ask("get", test.item, "<query xmlns='jabber:iq:version'/>"))
			for _, typ := range []string{"", "subscribe", "probe"} {
				alice.Send("<presence to='" + test.item + "' id='6'" + strings.TrimSuffix(" type='"+typ+"'", " type=''") + "/>")
				alice.Expect("<presence from='" + test.item + "' to='{alice}' id='6' type='error'>" + refused + "</presence>")
			}
			alice.Send("<message to='" + test.item + "' id='7' type='error'/><iq type='result' to='" + test.item + "' id='7'/>")
			nothing(t, c...)

			// The user's other resource and other people, in both directions.
			phone.Send("<message to='alice@example.com' id='8'/>")
			if whole {
				phone.Expect("<message from='alice@example.com' to='{bob/phone}' id='8' type='error'>" + unheard + "</message>")
			} else {
				alice.Expect("<message from='{bob/phone}' to='alice@example.com' id='8'/>")
			}
			carol.Send("<message to='alice@example.com' id='9'/><message to='bob@example.com/web' id='9'/>")
			alice.Expect("<message from='{carol}' to='alice@example.com' id='9'/>")
			bob.Expect("<message from='{carol}' to='{bob/web}' id='9'/>")

			set(t, alice, "unblock", test.item)
			drain(c...)
			bob.Send("<message to='alice@example.com' id='10'/>")
			alice.Expect("<message from='{bob/web}' to='alice@example.com' id='10'/>")
			alice.Send("<message to='bob@example.com/web' id='11'/>")
			bob.Expect("<message from='{alice}' to='{bob/web}' id='11'/>")
			nothing(t, c...)
		})
	}
}

// TestForms: the four forms of section 6, and who is spared.
func TestForms(t *testing.T) {
	for _, test := range []struct {
		item string
		want bool // bob/web is blocked
	}{
		{"bob@example.com/web", true}, {"bob@example.com/phone", false}, {"bob@example.com", true}, {"bobo@example.com", false},
		{"example.com", true}, {"example.com/web", false}, {"bob@example.org", false}, {"example.org", false},
	} {
		t.Run(test.item, func(t *testing.T) {
			c := online(start(t, servertest.NewDocuments()), "alice/web", "alice/phone", "bob/web")
			alice, phone, bob := c[0], c[1], c[2]
			set(t, alice, "block", test.item, "alice@example.com")
			drain(c...)
			bob.Send("<message to='alice@example.com/web' id='1'/>")
			if test.want {
				bob.Expect("<message from='{alice/web}' to='{bob}' id='1' type='error'>" + unheard + "</message>")
			} else {
				alice.Expect("<message from='{bob}' to='{alice/web}' id='1'/>")
			}
			// One's own resources and one's server are never blocked.
			phone.Send("<message to='alice@example.com/web' id='2'/>")
			alice.Expect("<message from='{alice/phone}' to='{alice/web}' id='2'/>")
			alice.Match("<iq type='error' id='{any}' from='example.com' to='{alice/web}'>"+unheard+"</iq>", alice.Ask("get", "example.com", "<x xmlns='urn:x'/>"))
			nothing(t, c...)
		})
	}
}

// TestPresence: at the time of blocking everybody concerned sees the other one leave, and
// at that of unblocking come back (sections 3.3 to 3.5).
func TestPresence(t *testing.T) {
	for _, test := range []struct {
		name, item string
		phone      bool // bob's phone is concerned
		everybody  bool // so is carol
	}{
		{"user", "bob@example.com", true, false},
		{"resource", "bob@example.com/web", false, false},
		{"domain", "example.com", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, servertest.NewDocuments())
			c := online(s, "alice/web", "alice/tab", "bob/web", "bob/phone", "carol/web", "dave/web")
			hidden := s.Login("alice/hidden")
			alice, tab, bob, phone, carol, dave := c[0], c[1], c[2], c[3], c[4], c[5]
			them := []*servertest.Client{bob}
			if test.phone {
				them = append(them, phone)
			}
			if test.everybody {
				them = append(them, carol)
			}
			expect := func(is func(from, to *servertest.Client) string) {
				t.Helper()
				for _, own := range []*servertest.Client{alice, tab} {
					var want []string
					for _, x := range them {
						want = append(want, is(x, own))
					}
					own.ExpectAnyOrder(want...)
				}
				for _, x := range them {
					x.ExpectAnyOrder(is(alice, x), is(tab, x))
				}
			}
			set(t, alice, "block", test.item)
			expect(gone)
			set(t, tab, "block", test.item) // is nothing new
			nothing(t, append(c, hidden, dave)...)
			if test.item != "example.com" {
				// Somebody who was never seen is not told, nor is who sees nobody.
				set(t, alice, "block", "dave@example.com", "nobody@example.com")
				nothing(t, c...)
			}
			set(t, alice, "unblock", test.item)
			// A resource is told of all resources.
			if test.name == "resource" {
				for _, own := range []*servertest.Client{alice, tab} {
					own.ExpectAnyOrder(there(bob, own), there(phone, own))
				}
				bob.ExpectAnyOrder(there(alice, bob), there(tab, bob))
			} else {
				expect(there)
			}
			nothing(t, append(c, hidden, dave)...)
			set(t, alice, "unblock") // all that is left
			nothing(t, c...)
		})
	}
}

// Who comes while blocked is seen by others, and by the user after the end of it.
func TestArrivals(t *testing.T) {
	s := start(t, servertest.NewDocuments())
	alice := online(s, "alice/web")[0]
	set(t, alice, "block", "bob@example.com")
	bob := online(s, "bob/web")[0]
	nothing(t, alice, bob)
	tab := online(s, "alice/tab")[0]
	alice.Drain()
	nothing(t, bob, tab)
	set(t, tab, "unblock", "bob@example.com")
	alice.Expect(there(bob, alice))
	tab.Expect(there(bob, tab))
	bob.ExpectAnyOrder(there(alice, bob), there(tab, bob))
	nothing(t, alice, bob, tab)
}

// Lists last: a new server, of whom nobody is connected, has them.
func TestStored(t *testing.T) {
	docs := servertest.NewDocuments()
	dir := world()
	hosts := []string{"example.com", "example.org"}
	first := servertest.New(t, servertest.Options{Directory: dir, Hosts: hosts, Modules: modules(dir, docs, memory.NewPresence(), 10)})
	set(t, first.Login("alice/web"), "block", "bob@example.com")
	set(t, first.Login("alice@example.org/web"), "block", "carol@example.com", "dave@example.com/x")
	first.Stop()
	if err := docs.PutDocument(t.Context(), "carol", "blocking", []byte("broken"), storage.DocumentLimit{}); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := servertest.New(t, servertest.Options{
		Directory: dir, Hosts: hosts, Modules: modules(dir, docs, memory.NewPresence(), 10), Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if n := s.Metric("rollcall_blocking_users"); n != 2 {
		t.Errorf("%v users block somebody", n)
	}
	bob := s.Login("bob/web")
	bob.Send("<message to='alice@example.com' id='1'/>")
	bob.Expect("<message from='alice@example.com' to='{bob}' id='1' type='error'>" + unheard + "</message>")
	listed(t, s.Login("alice/web"), "bob@example.com")
	listed(t, s.Login("alice@example.org/web"), "carol@example.com", "dave@example.com/x")
	listed(t, s.Login("carol/web"))
	// Nobody inherits from who is gone.
	dir.RemoveUser("alice").AddUser("alice", "")
	listed(t, s.Login("alice/web"))
	listed(t, s.Login("alice@example.org/web"))
	for _, user := range []string{"alice", "alice@example.org"} {
		if data, err := docs.Document(t.Context(), user, "blocking"); err == nil {
			t.Errorf("left of %s: %s", user, data)
		}
	}
	s.Stop()
	if !strings.Contains(log.String(), "user=carol") {
		t.Errorf("log: %s", log.String())
	}
}

var errBroken = errors.New("the store is broken")

// What cannot be stored does not count.
// TestRemovedMeanwhile: whom a client still blocks when its user was just removed is not
// the next one's matter.
func TestRemovedMeanwhile(t *testing.T) {
	docs, dir := servertest.NewDocuments(), world()
	s := servertest.New(t, servertest.Options{Directory: dir, Modules: modules(dir, docs, memory.NewPresence(), 10)})
	alice := s.Login("alice/web")
	turn := alice.Session().Begin()
	dir.RemoveUser("alice") // and the session ends when it is its turn
	turn.Element(element(t, "<iq xmlns='jabber:client' type='set' id='1'>"+items("block", "bob@example.com")+"</iq>"))
	turn.End()
	alice.ExpectClosed(server.ReasonUserRemoved)
	alice.Session().Begin().End() // after the end
	dir.AddUser("alice", "")
	listed(t, s.Login("alice/web"))
	if data, err := docs.Document(t.Context(), "alice", "blocking"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("%s, %v", data, err)
	}
}

func TestStoreFails(t *testing.T) {
	docs := servertest.NewDocuments()
	s := start(t, docs)
	c := online(s, "alice/web", "bob/web")
	alice, bob := c[0], c[1]
	listed(t, alice)
	docs.Fail(errBroken)
	got := alice.Ask("set", "", items("block", "bob@example.com"))
	if got.FindElement("./error/internal-server-error") == nil {
		t.Error("no error")
	}
	nothing(t, alice, bob)
	listed(t, alice)
	docs.Fail(storage.ErrFull) // as for anonymous users
	got = alice.Ask("set", "", items("block", "bob@example.com"))
	if got.FindElement("./error/policy-violation") == nil {
		t.Error("no policy-violation where there is no room")
	}
	docs.Fail(nil)
	set(t, alice, "block", "bob@example.com")
	listed(t, alice, "bob@example.com")
	writes := docs.Writes()
	for range 3 {
		set(t, alice, "block", "bob@example.com")
		set(t, alice, "unblock", "carol@example.com")
	}
	if n := docs.Writes() - writes; n > 0 {
		t.Errorf("%d writes for nothing", n)
	}
	dir := world()
	broken := servertest.NewDocuments()
	broken.Fail(errBroken)
	other := servertest.New(t, servertest.Options{})
	if err := other.Start(t.Context(), modules(dir, broken, memory.NewPresence(), 10)[0]); !errors.Is(err, errBroken) {
		t.Errorf("started: %v", err)
	}
}

func TestValidate(t *testing.T) {
	dir, docs := world(), servertest.NewDocuments()
	for i, o := range []blocking.Options{
		{}, {Contacts: 1}, {Contacts: 1, Documents: docs}, {Documents: docs, Owners: dir}, {Contacts: 1, Documents: docs, Owners: dir},
	} {
		if err := blocking.New(o).Validate(); (err == nil) != (i == 4) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestLongList(t *testing.T) {
	dir, docs := world(), servertest.NewDocuments()
	s := servertest.New(t, servertest.Options{Directory: dir, Modules: modules(dir, docs, memory.NewPresence(), 1000)})
	alice := s.Login("alice/web")
	long := func(i int) (list []string) {
		for j := range 50 {
			list = append(list, fmt.Sprintf("%d.%d@%s.example/%s", i, j, strings.Repeat("d", 60), strings.Repeat("r", 900)))
		}
		return list
	}
	full := 0
	for i := range 7 {
		if alice.Ask("set", "", items("block", long(i)...)).FindElement("./error/resource-constraint") != nil {
			full++
		}
	}
	if full != 2 { // 256 KiB are 263 of them
		t.Errorf("%d of 7 were too much", full)
	}
	set(t, alice, "unblock")
	listed(t, alice)
}
