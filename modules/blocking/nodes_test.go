package blocking_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"rollcall/internal/servertest"
	"rollcall/storage"
	"rollcall/storage/memory"
)

func TestNodes(t *testing.T) {
	hub, docs, presence, dir := memory.NewHub(), servertest.NewDocuments(), memory.NewPresence(), world()
	node := func(name string, beside *servertest.Server) *servertest.Server {
		return servertest.New(t, servertest.Options{
			Directory: dir, Bus: hub.Bus(name), Beside: beside, Modules: modules(dir, docs, presence, 10),
		})
	}
	one := node("a", nil)
	two := node("b", one)
	alice, phone := one.Login("alice/web"), two.Login("alice/phone")
	bob, tab := one.Login("bob/web"), two.Login("bob/tab")
	all := []*servertest.Client{alice, phone, bob, tab}
	meet(t, alice, tab)
	for _, c := range all {
		c.Send("<presence/>")
		meet(t, alice, tab)
		meet(t, bob, phone)
	}
	listed(t, phone)
	listed(t, alice)
	meet(t, alice, tab)
	drain(all...)
	set(t, alice, "block", "bob@example.com")
	alice.ExpectAnyOrder(push(alice, "block", "bob@example.com"), gone(bob, alice), gone(tab, alice))
	phone.ExpectAnyOrder(push(phone, "block", "bob@example.com"), gone(bob, phone), gone(tab, phone))
	bob.ExpectAnyOrder(gone(alice, bob), gone(phone, bob))
	tab.ExpectAnyOrder(gone(alice, tab), gone(phone, tab))
	for _, c := range []*servertest.Client{bob, tab} {
		c.Send("<message to='alice@example.com' id='1'/>")
		c.Expect("<message from='alice@example.com' to='" + c.JID.String() + "' id='1' type='error'>" + unheard + "</message>")
	}
	listed(t, phone, "bob@example.com")
	tab.Send("<presence><show>away</show></presence>")
	tab.Next()
	bob.Next() // its echo here and there
	set(t, phone, "unblock", "bob@example.com")
	alice.ExpectAnyOrder(push(alice, "unblock", "bob@example.com"), there(bob, alice), there(tab, alice))
	phone.ExpectAnyOrder(push(phone, "unblock", "bob@example.com"), there(bob, phone), there(tab, phone))
	meet(t, alice, tab)
	meet(t, bob, phone)
	drain(all...)
	// Everybody at once.
	set(t, alice, "block", "example.com")
	alice.ExpectAnyOrder(push(alice, "block", "example.com"), gone(bob, alice), gone(tab, alice))
	phone.ExpectAnyOrder(push(phone, "block", "example.com"), gone(bob, phone), gone(tab, phone))
	bob.ExpectAnyOrder(gone(alice, bob), gone(phone, bob))
	tab.ExpectAnyOrder(gone(alice, tab), gone(phone, tab))
	set(t, phone, "unblock")
	alice.ExpectAnyOrder(push(alice, "unblock"), there(bob, alice), there(tab, alice))
	phone.ExpectAnyOrder(push(phone, "unblock"), there(bob, phone), there(tab, phone))
	bob.ExpectAnyOrder(there(alice, bob), there(phone, bob))
	tab.ExpectAnyOrder(there(alice, tab), there(phone, tab))
	meet(t, alice, tab)
	meet(t, bob, phone)
	drain(all...)
	// A node that comes later knows what is blocked.
	set(t, alice, "block", "bob@example.com")
	three := node("c", one)
	far := three.Login("bob/far")
	far.Send("<message to='alice@example.com' id='2'/>")
	far.Expect("<message from='alice@example.com' to='{bob/far}' id='2' type='error'>" + unheard + "</message>")
}

// gate lets no document be written before a number of them are to be.
type gate struct {
	storage.Documents
	come chan struct{}
	open chan struct{}
}

func (g *gate) PutDocument(ctx context.Context, user, key string, data []byte, limit storage.DocumentLimit) error {
	select {
	case g.come <- struct{}{}:
	default: // it has been opened
	}
	<-g.open
	return g.Documents.PutDocument(ctx, user, key, data, limit)
}

// What a user changes at two nodes at once is kept, both: each of them stores the list
// without knowing of the other's.
func TestNodesAtOnce(t *testing.T) {
	hub, docs, presence, dir := memory.NewHub(), servertest.NewDocuments(), memory.NewPresence(), world()
	g := &gate{Documents: docs, come: make(chan struct{}, 2), open: make(chan struct{})}
	node := func(name string, beside *servertest.Server) *servertest.Server {
		return servertest.New(t, servertest.Options{
			Directory: dir, Bus: hub.Bus(name), Beside: beside, Modules: modules(dir, g, presence, 10),
		})
	}
	one := node("a", nil)
	two := node("b", one)
	web, phone := one.Login("alice/web"), two.Login("alice/phone")
	meet(t, web, phone)
	for c, item := range map[*servertest.Client]string{web: "bob@example.com", phone: "carol@example.com"} {
		go c.Send(blockAll(item))
	}
	<-g.come
	<-g.come
	close(g.open)
	for _, c := range []*servertest.Client{web, phone} {
		c.Expect("<iq type='result' id='b' from='alice@example.com' to='" + c.JID.String() + "'/>")
	}
	var data []byte
	var err error
	for end := time.Now().Add(10 * time.Second); strings.Count(string(data), "@") < 2; {
		if data, err = docs.Document(t.Context(), "alice", "blocking"); err != nil || time.Now().After(end) {
			t.Fatalf("%v; stored: %s", err, data)
		}
	}
	meet(t, web, phone)
	for _, c := range []*servertest.Client{web, phone} {
		var got []string
		for _, el := range c.Ask("get", "", list).FindElements("./blocklist/item") {
			got = append(got, el.SelectAttrValue("jid", ""))
		}
		slices.Sort(got)
		if !slices.Equal(got, []string{"bob@example.com", "carol@example.com"}) {
			t.Errorf("%s: %q", c.JID, got)
		}
	}
}
