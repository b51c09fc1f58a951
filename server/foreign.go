package server

import (
	"context"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// Foreign answers for a host of its own outside of this process: a component (XEP-0114).
// It gets every stanza to an address at the host, and answers when it likes, with
// Host.Route.
type Foreign interface {
	// Receive takes an encoded stanza in jabber:client, which it must not keep. It does
	// not wait. False says that the host is not there: the sender is told so.
	Receive(b *Batch, el []byte) bool
}

// FromForeign is the scope of requests from a Foreign to a virtual host. Their
// IQ.Session is nil, and the handler sees them as ToServer.
const FromForeign Scope = 1 << 5

// ServeForeign makes f answer for a host. It fails when the name is taken.
func (h *Host) ServeForeign(name string, f Foreign) error {
	return h.serve(name, &domain{service: outside{f}, foreign: f})
}

// outside is a Foreign as a Service, as far as it can be.
type outside struct{ Foreign }

// ServeIQ implements Service. The core does not call it.
func (outside) ServeIQ(context.Context, *IQ) (Payload, error) {
	return nil, Error(stanza.ServiceUnavailable, "")
}

// ServeMessage implements Service.
func (o outside) ServeMessage(_ context.Context, st *Stanza) {
	st.goOut(o)
	st.direct = true
	st.Batch.srv.routed(st, st.To, 1)
}

// ServePresence implements Service.
func (o outside) ServePresence(_ context.Context, st *Stanza, _ *Presence) { st.goOut(o) }

// goOut hands a stanza to a Foreign as it is.
func (st *Stanza) goOut(f Foreign) {
	b := st.Batch
	b.buf = st.Append(b.buf[:0], st.From, st.To)
	if !f.Receive(b, b.buf) {
		st.refused = st.Type != "error"
		st.Reply(notConnected())
	}
}

// notConnected is what senders are told of a Foreign that is not there.
func notConnected() stanza.Error {
	return Error(stanza.ServiceUnavailable, "the component is not connected")
}

// NotConnected tells the sender of a stanza that a Foreign has taken, and that it cannot
// take any more: el is as Receive got it.
func (h *Host) NotConnected(b *Batch, el []byte) error {
	var scan xmlscan.Scanner
	scan.Scope(streamScope())
	limit := len(el) + 1
	scan.SetLimits(xmlscan.Limits{Bytes: limit, Depth: limit, Attrs: limit})
	var parsed xmlscan.Element
	if _, err := scan.Next(el, &parsed); err != nil {
		return err
	}
	kind, _ := kindOf(&parsed)
	st := &Stanza{Batch: b, Kind: kind, Element: &parsed}
	if err := st.read(); err != nil {
		return err
	}
	if kind != PresenceStanza || st.Type != "unavailable" {
		st.Reply(notConnected())
	}
	return nil
}

// foreign returns the Foreign of an address, or nil.
func (srv *Server) foreign(j jid.JID) Foreign {
	if d := srv.domain(j.Domain()); d != nil {
		return d.foreign
	}
	return nil
}

// Route takes a stanza of a Foreign from its stream: el is a message, presence or iq
// from an address at its own host. What is wrong with it is answered by Receive.
func (h *Host) Route(b *Batch, kind Kind, el *xmlscan.Element, from, to jid.JID) {
	srv := h.srv
	srv.metrics.in[kind].Inc()
	st := &Stanza{Batch: b, Kind: kind, Type: typeOf(el.Attr("type")), From: from, To: to, Element: el}
	d := srv.domain(to.Domain())
	switch {
	case d == nil:
		st.Reply(Error(stanza.RemoteServerNotFound, ""))
	case d.foreign != nil:
		st.goOut(d.foreign)
	case d.service != nil:
		st.Reply(Error(stanza.ServiceUnavailable, "")) // services are for users
	case kind == Message:
		srv.foreignMessage(st)
	case kind == PresenceStanza:
		srv.foreignPresence(st)
	default:
		srv.foreignIQ(st)
	}
}

func (srv *Server) foreignMessage(st *Stanza) {
	if st.To.Local() == "" {
		srv.hostMessage(st)
		return
	}
	st.knownType()
	srv.sendMessage(st, st.To, nil)
}

// foreignPresence tells a user presence from outside. Subscriptions are between the
// user's clients and the Foreign: rosters know local users only.
func (srv *Server) foreignPresence(st *Stanza) {
	if st.To.Local() == "" || !srv.passes(st.From, st.To) {
		return
	}
	switch st.Type {
	case "", "unavailable":
		p, bad := srv.readPresence(st)
		if bad != nil {
			st.Reply(*bad)
			return
		}
		srv.tell(st.Batch, p, st.To)
	case "subscribe", "subscribed", "unsubscribe", "unsubscribed", "error":
		st.Batch.Deliver(st.To, st.Append(nil, st.From, st.To))
	}
}

func (srv *Server) foreignIQ(st *Stanza) {
	request := st.Type == "get" || st.Type == "set"
	switch {
	case len(st.Element.Attr("id")) == 0 || request && st.Element.Children != 1:
		st.Reply(Error(stanza.BadRequest, "an iq needs an id, and a request exactly one child"))
	case !request && st.Type != "result" && st.Type != "error":
		st.Reply(Error(stanza.BadRequest, "unknown type of iq"))
	case st.To.Local() != "" && !srv.passes(st.From, st.To):
		st.Reply(Error(stanza.ServiceUnavailable, ""))
	case st.To.Local() != "" && st.To.IsFull():
		if !request || !srv.guarded(st) {
			srv.routeIQ(st, st.To)
		}
	case request:
		srv.answerForeign(st)
	}
}

// guarded reports whether somebody refuses a request to a client.
func (srv *Server) guarded(st *Stanza) bool {
	entry, ok := srv.iqs.find(st.Element.ChildSpace, st.Element.ChildLocal, toResource)
	if !ok {
		return false
	}
	_, err := srv.runForeign(st, entry)
	if err != nil {
		st.Reply(srv.stanzaError(err, "iq", entry.space, "module", entry.module))
	}
	return err != nil
}

// answerForeign answers a request to a virtual host, by those handlers that are for
// everybody.
func (srv *Server) answerForeign(st *Stanza) {
	entry, ok := srv.iqs.find(st.Element.ChildSpace, st.Element.ChildLocal, FromForeign)
	if !ok || st.To.Local() != "" {
		st.Reply(Error(stanza.ServiceUnavailable, ""))
		return
	}
	payload, err := srv.runForeign(st, entry)
	if err == nil {
		err = st.result(payload)
	}
	if err != nil {
		st.Reply(srv.stanzaError(err, "iq", entry.space, "module", entry.module))
	}
}

func (srv *Server) runForeign(st *Stanza, entry iqEntry) (payload Payload, err error) {
	defer func() {
		if p := recover(); p != nil {
			srv.panicked("iq "+entry.space, p, "from", st.From.String())
			err = errPanicked
		}
	}()
	return entry.handle(srv.ctx, &IQ{Stanza: st, Scope: ToServer, Space: entry.space, Name: entry.name})
}

// KindOf says which stanza an element of a stream of a component is, if it is one: in the
// namespace of the stream, or in jabber:client.
func KindOf(el *xmlscan.Element) (Kind, bool) {
	if len(el.Prefix) > 0 || string(el.Space) != ns.Component && string(el.Space) != ns.Client {
		return 0, false
	}
	for kind, name := range kinds {
		if string(el.Local) == name {
			return Kind(kind), true
		}
	}
	return 0, false
}
