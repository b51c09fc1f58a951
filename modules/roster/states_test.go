package roster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"

	"rollcall/storage"
)

// The states of RFC 6121 appendix A.1.
var states = []string{
	"None", "None + Pending Out", "None + Pending In", "None + Pending Out+In",
	"To", "To + Pending In", "From", "From + Pending Out", "Both",
}

// mirrored is what the contact's roster says when the user's says something.
func mirrored(state string) string {
	swap := strings.NewReplacer("To", "From", "From", "To", "Pending Out+In", "Pending Out+In", "Pending Out", "Pending In", "Pending In", "Pending Out")
	return swap.Replace(state)
}

// row is one of a table: whether the stanza goes on, and the new state, empty for the
// one before.
type row struct {
	goes bool
	then string
}

// Tables 2 to 5 of appendix A.2, in the order of states.
var outbound = map[string][]row{
	"subscribe": {
		{true, "None + Pending Out"}, {true, ""}, {true, "None + Pending Out+In"}, {true, ""},
		{true, ""}, {true, ""}, {true, "From + Pending Out"}, {true, ""}, {true, ""},
	},
	"unsubscribe": {
		{true, ""}, {true, "None"}, {true, ""}, {true, "None + Pending In"},
		{true, "None"}, {true, "None + Pending In"}, {true, ""}, {true, "From"}, {true, "From"},
	},
	"subscribed": {
		{false, "None, approved"}, {false, "None + Pending Out, approved"}, {true, "From"}, {true, "From + Pending Out"},
		{false, "To, approved"}, {true, "Both"}, {false, ""}, {false, ""}, {false, ""},
	},
	"unsubscribed": {
		{false, ""}, {false, ""}, {true, "None"}, {true, "None + Pending Out"},
		{false, ""}, {true, "To"}, {true, "None"}, {true, "None + Pending Out"}, {true, "To"},
	},
}

// Tables 6 to 9 of appendix A.3.
var inbound = map[string][]row{
	"subscribe": {
		{true, "None + Pending In"}, {true, "None + Pending Out+In"}, {false, ""}, {false, ""},
		{true, "To + Pending In"}, {false, ""}, {false, ""}, {false, ""}, {false, ""},
	},
	"unsubscribe": {
		{false, ""}, {false, ""}, {true, "None"}, {true, "None + Pending Out"},
		{false, ""}, {true, "To"}, {true, "None"}, {true, "None + Pending Out"}, {true, "To"},
	},
	"subscribed": {
		{false, ""}, {true, "To"}, {false, ""}, {true, "To + Pending In"},
		{false, ""}, {false, ""}, {false, ""}, {true, "Both"}, {false, ""},
	},
	"unsubscribed": {
		{false, ""}, {true, "None"}, {false, ""}, {true, "None + Pending In"},
		{true, "None"}, {true, "None + Pending In"}, {false, ""}, {true, "From"}, {true, "From"},
	},
}

// stored is an item in a state.
func stored(state, contact string) storage.RosterItem {
	i := storage.RosterItem{Contact: contact, Name: "N"}
	switch {
	case strings.HasPrefix(state, "To"):
		i.Subscription = storage.SubscriptionTo
	case strings.HasPrefix(state, "From"):
		i.Subscription = storage.SubscriptionFrom
	case strings.HasPrefix(state, "Both"):
		i.Subscription = storage.SubscriptionBoth
	}
	i.Ask = strings.Contains(state, "Pending Out")
	if strings.Contains(state, "Pending In") || strings.Contains(state, "Out+In") {
		i.Request = []byte("<presence xmlns='jabber:client' from='" + contact + "' to='x' type='subscribe'/>")
	}
	return i
}

// TestAppendixA has every row of every table: what one user says is outbound for one
// and inbound for the other.
func TestAppendixA(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	n := 0
	for typ, rows := range outbound {
		for i, state := range states {
			n++
			romeo, juliet := fmt.Sprint("romeo", n), fmt.Sprint("juliet", n)
			t.Run(typ+" in "+state, func(t *testing.T) {
				w.dir.AddUser(romeo, "").AddUser(juliet, "")
				there := mirrored(state)
				w.put(romeo, stored(state, juliet+"@example.com"))
				w.put(juliet, stored(there, romeo+"@example.com"))
				r, j := reader(s, romeo+"/r"), reader(s, juliet+"/j")
				r.Drain()
				r.Send("<presence to='" + juliet + "@example.com/any' type='" + typ + "' id='x'><status>hm</status></presence>")
				out, in := rows[i], inbound[typ][slices.Index(states, there)]
				if out.then == "" {
					out.then = state
				}
				if in.then == "" || !out.goes {
					in.then = there
				}
				if got := w.says(romeo, juliet+"@example.com"); got != out.then {
					t.Errorf("%s, want %s", got, out.then)
				}
				if got := w.says(juliet, romeo+"@example.com"); got != in.then {
					t.Errorf("the contact's: %s, want %s", got, in.then)
				}
				checkHeard(t, r.Drain(), "", visibly(out.then) != visibly(state))
				heard := ""
				if out.goes && in.goes {
					heard = fmt.Sprintf("%s from %s@example.com to %s@example.com: hm", typ, romeo, juliet)
				}
				checkHeard(t, j.Drain(), heard, visibly(in.then) != visibly(there))
			})
		}
	}
}

// TestAppendixABeside has what the tables leave out: no item, a request from somebody who
// is not in the roster (section 3.1.3), and approval in advance (section 3.4).
func TestAppendixABeside(t *testing.T) {
	w := newWorld(t)
	s := w.start()
	for n, tt := range []struct{ state, there, typ, then, thenThere string }{
		{"-", "-", "subscribe", "None + Pending Out", "None + Pending In, hidden"},
		{"-", "-", "unsubscribe", "-", "-"},
		{"-", "-", "subscribed", "None, approved", "-"},
		{"-", "-", "unsubscribed", "-", "-"},
		{"None + Pending In, hidden", "None + Pending Out", "subscribe", "None + Pending Out+In", "None + Pending Out+In"},
		{"None + Pending In, hidden", "None + Pending Out", "unsubscribe", "None + Pending In, hidden", "None + Pending Out"},
		{"None + Pending In, hidden", "None + Pending Out", "subscribed", "From", "To"},
		{"None + Pending In, hidden", "None + Pending Out", "unsubscribed", "-", "None"},
		{"None + Pending Out", "None + Pending In, hidden", "subscribe", "None + Pending Out", "None + Pending In, hidden"},
		{"None + Pending Out", "None + Pending In, hidden", "unsubscribe", "None", "-"},
		{"None", "None, approved", "subscribe", "To", "From, approved"},
		{"None, approved", "None", "subscribe", "None + Pending Out, approved", "None + Pending In"},
		{"From", "To, approved", "subscribe", "Both", "Both, approved"},
		{"Both", "Both, approved", "unsubscribe", "From", "To, approved"},
		{"Both, approved", "Both", "unsubscribe", "From, approved", "To"},
		{"None, approved", "None", "subscribed", "None, approved", "None"},
		{"From, approved", "To", "subscribed", "From, approved", "To"},
		{"None, approved", "None", "unsubscribed", "None", "None"},
		{"None + Pending Out, approved", "None + Pending In", "unsubscribed", "None + Pending Out", "None + Pending In"},
		{"To, approved", "From", "unsubscribed", "To", "From"},
		{"Both, approved", "Both", "unsubscribed", "To", "From"},
		{"From", "To, approved", "unsubscribed", "None", "None, approved"},
	} {
		romeo, juliet := fmt.Sprint("romeo", n), fmt.Sprint("juliet", n)
		w.dir.AddUser(romeo, "").AddUser(juliet, "")
		for user, state := range map[[2]string]string{{romeo, juliet}: tt.state, {juliet, romeo}: tt.there} {
			if state == "-" {
				continue
			}
			i := stored(state, user[1]+"@example.com")
			i.Approved = strings.HasSuffix(state, "approved")
			if i.Hidden = strings.HasSuffix(state, "hidden"); i.Hidden {
				i.Name = ""
			}
			w.put(user[0], i)
		}
		r := reader(s, romeo+"/r")
		reader(s, juliet+"/j")
		r.Send("<presence to='" + juliet + "@example.com' type='" + tt.typ + "'/>")
		if got, there := w.says(romeo, juliet+"@example.com"), w.says(juliet, romeo+"@example.com"); got != tt.then || there != tt.thenThere {
			t.Errorf("%s in %q with %q: %q and %q, want %q and %q", tt.typ, tt.state, tt.there, got, there, tt.then, tt.thenThere)
		}
	}
}

// visibly is as much of a state as clients see.
func visibly(state string) string {
	return strings.NewReplacer("Pending Out+In", "Pending Out", " + Pending In", "").Replace(state)
}

// checkHeard wants one stanza about a subscription, or none if that is empty, then one
// push, or none.
func checkHeard(t *testing.T, got []*etree.Element, stanza string, push bool) {
	t.Helper()
	var want, heard []string
	if stanza != "" {
		want = append(want, stanza)
	}
	if push {
		want = append(want, "push")
	}
	for _, el := range got {
		typ := el.SelectAttrValue("type", "")
		switch {
		case el.Tag == "iq" && typ == "set" && len(el.FindElements("./query/item")) == 1:
			heard = append(heard, "push")
		case el.Tag == "presence" && typ != "" && typ != "unavailable" && el.SelectElement("status") != nil:
			heard = append(heard, fmt.Sprintf("%s from %s to %s: %s", typ, el.SelectAttrValue("from", ""),
				el.SelectAttrValue("to", ""), el.SelectElement("status").Text()))
		}
	}
	if !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
}
