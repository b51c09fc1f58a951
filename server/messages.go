package server

import (
	"context"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// MessageEvent is the event of message: a client's message to a user of a virtual host,
// before it is routed.
type MessageEvent struct {
	Batch  *Batch
	Stanza *Stanza
	// To is where it goes; Stanza.To is zero when the client named nobody.
	To jid.JID
	// Extra is encoded XML that a handler adds, as the last children.
	Extra []byte
	// Inner, where it is not nil, is what a handler leaves of Stanza.Element.Inner.
	Inner []byte
	// Refused, where it has a condition, goes back to the sender, and the message
	// nowhere.
	Refused stanza.Error
}

// Routed is the event of routed: a client's message has been handed to Count
// connections.
type Routed struct {
	Batch  *Batch
	Stanza *Stanza
	To     jid.JID // as in MessageEvent
	Extra  []byte
	Count  int
	// Direct says that it went to the one connection of a full address; otherwise it went
	// to those that messages to the bare address go to, if to any.
	Direct bool
	// Refused says that nobody took it and the sender was told so.
	Refused bool
}

// Nobody is the event of nobody: no connection took a message. It may be one that a
// connection which died was given long ago. The handler that keeps it sets Handled;
// otherwise its sender is told service-unavailable.
type Nobody struct {
	Batch *Batch
	// From and To are full and, mostly, bare addresses.
	From, To jid.JID
	// Type is as in Stanza.
	Type string
	// Element is what the client or, with From and To in it, the server wrote.
	Element *xmlscan.Element
	// Data is the encoded stanza as the recipient would have got it; valid during the
	// call.
	Data []byte
	// Returned says that a connection was given it, which died.
	Returned bool
	// ID is not empty when the message is in the store already, because it was unsafe:
	// there it stays, whatever the handlers say.
	ID      string
	Handled bool
	// Refused, where it has a condition, is what the sender is told instead of
	// service-unavailable.
	Refused stanza.Error
}

// Answer is the event of answer: an iq result or error from a client to the server, or
// to its own account.
type Answer struct {
	Batch   *Batch
	Session *Session
	ID      string
	Failed  bool // it is an error
}

// HostMessage is the event of host_message: a client's message to a virtual host itself,
// or to a resource of it. The handler that takes it sets Handled, and answers with
// Stanza.Reply where something is wrong.
type HostMessage struct {
	Batch   *Batch
	Stanza  *Stanza
	Handled bool
}

// OnHostMessage adds a handler of messages to virtual hosts.
func (h *Host) OnHostMessage(priority int, f func(context.Context, *HostMessage)) {
	on(h, &h.srv.hooks.hostMessage, priority, f)
}

// hostMessage takes a message to a virtual host.
func (srv *Server) hostMessage(st *Stanza) {
	e := &HostMessage{Batch: st.Batch, Stanza: st}
	srv.hooks.hostMessage.fire(srv, e)
	if !e.Handled {
		st.Reply(Error(stanza.ServiceUnavailable, ""))
	}
}

// OnMessage, OnRouted and OnNobody add handlers about messages, OnAnswer of what
// clients answer to requests of the server's own.
func (h *Host) OnMessage(priority int, f func(context.Context, *MessageEvent)) {
	on(h, &h.srv.hooks.message, priority, f)
}

// OnRouted adds a handler of messages that were routed. Where wanted is not nil, it is
// asked first, since nearly every message is an event.
func (h *Host) OnRouted(priority int, wanted func() bool, f func(context.Context, *Routed)) {
	onIf(h, &h.srv.hooks.routed, priority, wanted, f)
}

// OnNobody adds a handler of messages that nobody took.
func (h *Host) OnNobody(priority int, f func(context.Context, *Nobody)) {
	on(h, &h.srv.hooks.nobody, priority, f)
}

// OnAnswer adds a handler of answers.
func (h *Host) OnAnswer(priority int, f func(context.Context, *Answer)) {
	on(h, &h.srv.hooks.answer, priority, f)
}

// Verdict is what a Filter says.
type Verdict uint8

// The verdicts.
const (
	Pass    Verdict = iota
	Shunned         // the recipient does not want to hear from the sender
	Shuns           // the sender does not want to have to do with the recipient
)

// Filter says whether what somebody sends may reach somebody (XEP-0191). Addresses are
// as full as they are known.
type Filter func(from, to jid.JID) Verdict

// SetFilter makes f say what passes. It is asked for every stanza between two users and
// for every presence that is told, so it has to be fast, and does not wait. Only one
// module may.
func (h *Host) SetFilter(f Filter) {
	h.srv.filter.Store(&f)
	h.undo = append(h.undo, func() { h.srv.filter.Store(nil) })
}

// passes asks the filter.
func (srv *Server) passes(from, to jid.JID) bool {
	f := srv.filter.Load()
	return f == nil || (*f)(from, to) == Pass
}

// Passes reports whether what somebody sends may reach somebody, for modules that deliver
// by themselves what one user tells another.
func (h *Host) Passes(from, to jid.JID) bool { return h.srv.passes(from, to) }

// blocked is the condition for who writes to somebody that they block (XEP-0191 section
// 3.3).
const blocked = "<blocked xmlns='" + ns.BlockingErrors + "'/>"

// shuns reports whether a client's stanza is for somebody whom its user blocks, and
// answers it then.
func (s *Session) shuns(st *Stanza) bool {
	f := s.srv.filter.Load()
	if f == nil || st.To.IsZero() || (*f)(s.jid, st.To) != Shuns {
		return false
	}
	st.reply(stanza.Error{Condition: stanza.NotAcceptable, Type: stanza.Cancel}, blocked)
	return true
}

// sendMessage routes a message to a user, with what the modules say to it. from is the
// client; nil for one from outside.
func (srv *Server) sendMessage(st *Stanza, to jid.JID, from *Session) {
	if srv.hooks.message.any() {
		e := &MessageEvent{Batch: st.Batch, Stanza: st, To: to}
		srv.hooks.message.fire(srv, e)
		if e.Refused.Condition != "" {
			st.Reply(e.Refused)
			return
		}
		st.extra = e.Extra
		if e.Inner != nil {
			el := *st.Element
			el.Inner = e.Inner
			st.Element = &el
		}
	}
	if !srv.passes(st.From, to) {
		srv.undelivered(st)
		if st.refused {
			srv.routed(st, to, 0)
		}
		return
	}
	if from != nil && !from.follow(st.Batch, to) {
		st.Reply(Error(stanza.ResourceConstraint, "too many messages are not safe yet"))
		return
	}
	n := srv.routeMessage(st, to)
	if from != nil {
		from.followed(st.Batch)
	}
	srv.routed(st, to, n)
}

func (srv *Server) routed(st *Stanza, to jid.JID, n int) {
	if srv.hooks.routed.any() {
		srv.hooks.routed.fire(srv, &Routed{
			Batch: st.Batch, Stanza: st, To: to, Extra: st.extra, Count: n, Direct: st.direct, Refused: st.refused,
		})
	}
}

// nobodyTook says that no connection took a message; headlines and errors are not worth
// saying so to their sender.
func (srv *Server) nobodyTook(st *Stanza, to jid.JID) {
	if srv.hooks.nobody.any() {
		data := st.Append(nil, st.From, to)
		e := &Nobody{Batch: st.Batch, From: st.From, To: to, Type: st.Type, Element: st.Element, Data: data}
		srv.hooks.nobody.fire(srv, e)
		if e.Handled {
			return
		}
		if e.Refused.Condition != "" {
			st.refused = true
			st.Reply(e.Refused)
			return
		}
	}
	srv.undelivered(st)
}
