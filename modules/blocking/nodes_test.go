package blocking_test

import (
	"testing"

	"rollcall/internal/servertest"
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
	// A node that comes later knows what is blocked.
	set(t, alice, "block", "bob@example.com")
	three := node("c", one)
	far := three.Login("bob/far")
	far.Send("<message to='alice@example.com' id='2'/>")
	far.Expect("<message from='alice@example.com' to='{bob/far}' id='2' type='error'>" + unheard + "</message>")
}
