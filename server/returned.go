package server

import "context"

// Returned is the event of returned: a message that a connection was given and its
// client never got, before it goes elsewhere or back. The handler that has it still,
// and sees to it, sets Handled. It may be asked twice about one.
type Returned struct {
	Batch   *Batch
	Session *Session // has ended
	Data    []byte   // exactly as it was sent; valid during the call
	Handled bool
}

// OnReturned adds a handler of messages that come back.
func (h *Host) OnReturned(priority int, f func(context.Context, *Returned)) {
	on(h, &h.srv.hooks.returned, priority, f)
}

// seenTo reports whether a handler has a message still that comes back.
func (u *undelivered) seenTo(el *returned) bool {
	if !u.srv.hooks.returned.any() {
		return false
	}
	e := &Returned{Batch: &u.Batch, Session: u.s, Data: el.Raw}
	u.srv.hooks.returned.fire(u.srv, e)
	return e.Handled
}
