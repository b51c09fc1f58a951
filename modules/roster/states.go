package roster

import "rollcall/storage"

// The subscription of one user, the watcher, to another's presence stands in both their
// rosters. What counts is the watched user's item: the watcher's request, the approval
// in advance, and whether the subscription is there. The watcher's item follows it:
// see Module.relate. Together that is RFC 6121 appendix A.

// contact is a storage.RosterItem as this package sees it: there may be none.
type contact struct {
	storage.RosterItem
	// Listed says that clients see the item; otherwise it is there for Request, if at
	// all.
	Listed bool
}

// blank is the group of items that clients see and of which there is nothing to say: a
// store's change has to tell them from items that are not there. No client can have a
// group without a name (RFC 6121 section 2.3.3).
const blank = ""

// open reads what a store says.
func open(i storage.RosterItem) contact {
	c := contact{RosterItem: i, Listed: !i.Hidden && !empty(i)}
	if len(i.Groups) == 1 && i.Groups[0] == blank {
		c.Groups = nil
	}
	c.Hidden = false
	return c
}

// seal is what a store is to keep, if anything.
func (c contact) seal() (i storage.RosterItem, keep bool) {
	i = c.RosterItem
	i.Hidden = !c.Listed
	if c.Listed && empty(i) {
		i.Groups = []string{blank}
	}
	return i, c.there()
}

// empty reports whether an item says nothing but the contact.
func empty(i storage.RosterItem) bool {
	return i.Name == "" && len(i.Groups) == 0 && i.Subscription == storage.SubscriptionNone &&
		!i.Ask && !i.Approved && len(i.Request) == 0 && !i.Hidden
}

// there reports whether there is an item at all.
func (c *contact) there() bool { return c.Listed || len(c.Request) > 0 }

// watches reports whether the contact is subscribed to the user.
func (c *contact) watches() bool { return c.Subscription&storage.SubscriptionFrom != 0 }

// watched reports whether the user is subscribed to the contact.
func (c *contact) watched() bool { return c.Subscription&storage.SubscriptionTo != 0 }

// pending reports whether the contact waits for the user's approval.
func (c *contact) pending() bool { return len(c.Request) > 0 }

// ask is the contact's request: an inbound "subscribe".
func (c *contact) ask(request []byte) {
	switch {
	case c.watches():
	case c.Approved:
		c.grant()
	case !c.pending():
		c.Request = request
	}
}

func (c *contact) grant() {
	c.Subscription |= storage.SubscriptionFrom
	c.Request, c.Listed = nil, true
}

// approve is the user's word to that, or in advance (RFC 6121 section 3.4): an outbound
// "subscribed".
func (c *contact) approve() {
	switch {
	case c.watches():
	case c.pending():
		c.grant()
	default:
		c.Approved, c.Listed = true, true
	}
}

// revoke takes that back: an outbound "unsubscribed".
func (c *contact) revoke() {
	c.leave()
	c.Approved = false
}

// leave is the contact's good-bye: an inbound "unsubscribe".
func (c *contact) leave() {
	c.Subscription &^= storage.SubscriptionFrom
	c.Request = nil
}

// follow makes the watcher's item what the watched user's says.
func (c *contact) follow(watched *contact) {
	c.wait(watched.pending())
	c.Subscription &^= storage.SubscriptionTo
	if watched.watches() {
		c.Subscription |= storage.SubscriptionTo
		c.Ask, c.Listed = false, true
	}
}

// wait sets whether the user waits for the contact's approval.
func (c *contact) wait(on bool) {
	c.Ask = on
	c.Listed = c.Listed || on
}

// set is what a client says of the contact (RFC 6121 section 2.3).
func (c *contact) set(name string, groups []string) {
	c.Name, c.Groups, c.Listed = name, groups, true
}

// remove takes the item out of the roster (RFC 6121 section 2.5), and ends all that is
// between the two but for a request of the contact's, which the user has not answered.
func (c *contact) remove() {
	c.RosterItem = storage.RosterItem{Contact: c.Contact, Request: c.Request}
	c.Listed = false
}
