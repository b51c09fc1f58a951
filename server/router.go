package server

import (
	"context"
	"maps"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
)

// Service answers for a whole host of its own, for example
// wtmuc.example.com. Its methods run on the sender's turn.
type Service interface {
	// ServeIQ answers a request to any address at the host.
	ServeIQ(ctx context.Context, iq *IQ) (Payload, error)
	// ServeMessage takes a message; a message of type error must not be
	// answered. Stanza.Reply sends errors.
	ServeMessage(ctx context.Context, st *Stanza)
	// ServePresence takes presence that a client directed to an address at the
	// host, of no type or unavailable; p is what it says.
	ServePresence(ctx context.Context, st *Stanza, p *Presence)
}

// domain is a name that the server answers for: a virtual host, or a service
// host.
type domain struct {
	address jid.JID
	service Service // nil for a virtual host
	foreign Foreign // nil for all but those
}

// domain returns what answers for a name, or nil.
func (srv *Server) domain(name string) *domain {
	return (*srv.domains.Load())[name]
}

func (srv *Server) setDomain(name string, d *domain) {
	srv.changing.Lock()
	defer srv.changing.Unlock()
	m := maps.Clone(*srv.domains.Load())
	if d == nil {
		delete(m, name)
	} else {
		m[name] = d
	}
	srv.domains.Store(&m)
}

// reachable answers a stanza to a domain that is not ours.
func (srv *Server) reachable(st *Stanza) bool {
	if srv.domain(st.To.Domain()) != nil {
		return true
	}
	st.Reply(Error(stanza.RemoteServerNotFound, ""))
	return false
}

// knownType leaves out a type of message that there is not: it is "normal", like none
// (RFC 6121 section 5.2.2).
func (st *Stanza) knownType() {
	switch st.Type {
	case "", "normal", "chat", "groupchat", "headline", "error":
	default:
		st.Type = ""
	}
}

// serveMessage routes a message (RFC 6121 section 8).
func (s *Session) serveMessage(st *Stanza) {
	st.knownType()
	to := st.To
	if to.IsZero() {
		// RFC 6120 section 10.3.1.
		to = s.jid.Bare()
	}
	d := s.srv.domain(to.Domain())
	switch {
	case d == nil:
		st.Reply(Error(stanza.RemoteServerNotFound, ""))
	case d.service != nil:
		s.srv.guard("service message", s, func() { d.service.ServeMessage(s.srv.ctx, st) })
	case to.Local() == "":
		s.srv.hostMessage(st)
	default:
		s.srv.sendMessage(st, to, s)
	}
}

// routeMessage obeys the table of RFC 6121 section 8.5.4, and returns how many
// connections got the message. Whether an account exists makes no difference, so nobody
// learns it.
func (srv *Server) routeMessage(st *Stanza, to jid.JID) int {
	if to.IsFull() {
		if s := srv.registry.get(to); s != nil {
			srv.forward(st, s)
			st.direct = true
			return 1
		}
		if p, ok := st.route(to); ok && st.forwardTo(p, to) {
			st.direct = true
			return 1
		}
		if st.Type != "chat" {
			srv.nobodyTook(st, to)
			return 0
		}
	}
	if st.Type == "groupchat" || st.Type == "error" {
		srv.undelivered(st)
		return 0
	}
	st.Batch.buf = st.Append(st.Batch.buf[:0], st.From, to)
	here := srv.sendHere(st.Batch, to.Bare(), st.Batch.buf)
	there := st.sendOthers(to, st.Batch.buf, here == 0)
	if here+there == 0 {
		srv.nobodyTook(st, to)
	}
	return here + there
}

// undelivered says that nobody got a message; headlines and errors are not worth
// saying so.
func (srv *Server) undelivered(st *Stanza) {
	if st.Type != "headline" {
		st.refused = st.Type != "error"
		st.Reply(Error(stanza.ServiceUnavailable, ""))
	}
}

// forward hands a stanza on to one connection.
func (srv *Server) forward(st *Stanza, s *Session) {
	b := st.Batch
	b.buf = st.Append(b.buf[:0], st.From, st.To)
	b.Send(s, b.buf)
}

// deliverAsIs hands a presence error on, or drops it.
func (srv *Server) deliverAsIs(st *Stanza) {
	d := srv.domain(st.To.Domain())
	if d == nil || d.service != nil && d.foreign == nil {
		return
	}
	st.Batch.buf = st.Append(st.Batch.buf[:0], st.From, st.To)
	srv.deliver(st.Batch, st.To, st.Batch.buf)
}

// sendHere queues an encoded stanza for each of a user's connections to this node that
// messages to the bare address go to.
func (srv *Server) sendHere(b *Batch, bare jid.JID, data []byte) (n int) {
	for _, s := range srv.registry.of(bare) {
		if p := s.Presence(); p != nil && p.Priority >= 0 {
			s.copies.Add(1)
			b.Send(s, data)
			n++
		}
	}
	return n
}
