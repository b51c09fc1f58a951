package roster_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beevik/etree"

	"rollcall/internal/servertest"
	"rollcall/storage"
)

// A store that fails after any number of calls: whoever hears of an error finds nothing
// done; otherwise everything is done once the store is back.
func TestStoreFailsAnywhere(t *testing.T) {
	// What alice does, and the two items before and after.
	tests := []struct {
		name, before, there, do, after, thereAfter string
	}{
		{"subscribe", "None", "None", "<presence to='bob@example.com' type='subscribe' id='do'/>", "None + Pending Out", "None + Pending In"},
		{"subscribed", "None + Pending In", "None + Pending Out", "<presence to='bob@example.com' type='subscribed' id='do'/>", "From", "To"},
		{"unsubscribe", "Both", "Both", "<presence to='bob@example.com' type='unsubscribe' id='do'/>", "From", "To"},
		{"unsubscribed", "Both", "Both", "<presence to='bob@example.com' type='unsubscribed' id='do'/>", "To", "From"},
		{"set", "Both", "Both", "<iq type='set' id='do'>" + set("bob@example.com", "name='New'") + "</iq>", "Both", "Both"},
		{"remove", "Both", "Both", "<iq type='set' id='do'>" + set("bob@example.com", "subscription='remove'") + "</iq>", "-", "None"},
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.start()
		for i, tt := range tests {
			for calls := range 7 {
				alice, bob := fmt.Sprintf("alice%d%d", i, calls), fmt.Sprintf("bob%d%d", i, calls)
				w.dir.AddUser(alice, "").AddUser(bob, "")
				w.put(alice, stored(tt.before, bob+"@example.com"))
				w.put(bob, stored(tt.there, alice+"@example.com"))
				a, b := reader(s, alice+"/a"), reader(s, bob+"/b")
				a.Drain()
				w.rosters.fail(storage.ErrUnavailable, calls)
				a.Send(strings.ReplaceAll(tt.do, "bob", bob))
				failed := heardError(t, tt.name, a.Drain())
				if calls == 0 && !failed {
					t.Errorf("%s: no error", tt.name)
				}
				w.rosters.fail(nil, 0)
				time.Sleep(time.Minute)
				synctest.Wait()
				want, wantThere := tt.after, tt.thereAfter
				if failed {
					want, wantThere = tt.before, tt.there
					b.ExpectNothing()
				}
				if got, there := w.says(alice, bob+"@example.com"), w.says(bob, alice+"@example.com"); got != want || there != wantThere {
					t.Errorf("%s after %d calls, error %t: %s and %s, want %s and %s", tt.name, calls, failed, got, there, want, wantThere)
				}
				a.Drop()
				b.Drop()
			}
		}
	})
}

// heardError reports whether there is an error, which has to say that it may pass.
func heardError(t *testing.T, name string, got []*etree.Element) (failed bool) {
	t.Helper()
	for _, el := range got {
		if el.SelectAttrValue("type", "") != "error" {
			continue
		}
		failed = true
		if typ := el.SelectElement("error").SelectAttrValue("type", ""); typ != "wait" || el.SelectAttrValue("id", "") != "do" {
			t.Errorf("%s: an error of type %q", name, typ)
		}
	}
	return failed
}

// Whoever logs in while the store is away is told, and tells, when it is back.
func TestStoreBackAfterLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "alice", "bob")
		w.put("alice", stored("Both", "bob@example.com"))
		w.put("bob", stored("Both", "alice@example.com"))
		s := w.start()
		bob := reader(s, "bob/b")
		w.rosters.fail(storage.ErrUnavailable, 0)
		alice := s.Online("alice/a")
		alice.ExpectNothing()
		bob.ExpectNothing()
		if got := conditionOf(alice.Ask("get", "", get)); got != "internal-server-error" {
			t.Errorf("a get: %q", got)
		}
		w.rosters.fail(nil, 0)
		time.Sleep(time.Minute)
		alice.Expect("<presence from='{bob}' to='{alice}'/>")
		bob.Expect("<presence from='{alice}' to='{bob}'/>")
		alice.ExpectNothing()
		bob.ExpectNothing()
	})
}

// A mistake in what no session waits for ends neither the process nor what comes after it.
func TestErrandPanics(t *testing.T) {
	w := newWorld(t, "alice", "bob", "carol")
	o := w.options()
	o.Log = slog.New(slog.DiscardHandler)
	s := servertest.New(t, o)
	for _, user := range []string{"bob", "carol"} {
		w.put("alice", stored("Both", user+"@example.com"))
		w.put(user, stored("Both", "alice@example.com"))
	}
	var once sync.Once
	w.rosters.before = func(string) { once.Do(func() { panic("a mistake") }) }
	w.dir.RemoveUser("bob").RemoveUser("carol")
	eventually(t, func() bool { return w.says("alice", "carol@example.com") == "None" })
	if got := w.says("alice", "bob@example.com"); got != "Both" {
		t.Errorf("nothing went wrong: %s", got)
	}
	s.Stop()
}
