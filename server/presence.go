package server

import (
	"strconv"
	"strings"
	"time"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// Presence is what a connection said of itself, ready to be told to others. It
// never changes.
type Presence struct {
	// JID is the connection's full address.
	JID jid.JID
	// Show is "", "away", "chat", "dnd" or "xa" (RFC 6121 section 4.7.2.1).
	Show string
	// Declared is the show as the client wrote it, which may be none of these.
	Declared string
	At       time.Time
	// text is the attributes of the start tag, apart from the addresses, up to inner,
	// and the content after them: one piece of memory for both.
	text string
	// What is small stands together.
	inner     uint32
	Available bool
	Priority  int8
}

// away is the presence with another show, for a client that cannot be reached.
func (p *Presence) away(at time.Time) *Presence {
	now := *p
	now.Show, now.Declared, now.At = "away", "away", at
	text := append([]byte(p.attrs()), "<show>away</show>"...)
	for c := range xmlscan.Children([]byte(p.content()), ns.Client) {
		if string(c.Space) != ns.Client || string(c.Local) != "show" {
			text = append(text, c.Raw...)
		}
	}
	now.text = string(text)
	return &now
}

// Unavailable is the presence that the server sends for a connection that did
// not say good-bye.
func Unavailable(full jid.JID, at time.Time) *Presence {
	const attrs = " type='unavailable'"
	return &Presence{JID: full, At: at, text: attrs, inner: uint32(len(attrs))}
}

func (p *Presence) attrs() string { return p.text[:p.inner] }

func (p *Presence) content() string { return p.text[p.inner:] }

// Content is what it says beside its type, as encoded children in jabber:client.
func (p *Presence) Content() string { return p.content() }

// AppendTo appends the presence stanza for one reader. extra is encoded XML that
// goes in as the last child.
func (p *Presence) AppendTo(dst []byte, to jid.JID, extra []byte) []byte {
	dst = append(dst, "<presence xmlns='"+ns.Client+"'"...)
	dst = appendAddress(dst, " from='", p.JID)
	dst = appendAddress(dst, " to='", to)
	dst = append(dst, p.attrs()...)
	if len(p.content()) == 0 && len(extra) == 0 {
		return append(dst, '/', '>')
	}
	dst = append(dst, '>')
	dst = append(dst, p.content()...)
	dst = append(dst, extra...)
	return append(dst, "</presence>"...)
}

// shows maps the values of RFC 6121 section 4.7.2.1 to themselves and legacy
// values to the nearest one: clients drop the stanza, or the connection, over
// others.
func standardShow(declared string) string {
	switch declared {
	case "away", "leave":
		return "away"
	case "chat":
		return "chat"
	case "dnd", "busy":
		return "dnd"
	case "xa":
		return "xa"
	default:
		return ""
	}
}

// readPresence copies what a presence stanza says. Children of namespaces that
// modules reserved are left out, and so is a show that others could not read.
func (srv *Server) readPresence(st *Stanza) (*Presence, *stanza.Error) {
	p := &Presence{JID: st.From, Available: st.Type == "", At: time.Now()}
	out := st.appendAttrs(st.Batch.buf[:0])
	p.inner = uint32(len(out))
	inner := st.Element.Inner
	rewritten, shows, priorities := false, 0, 0
	for c := range xmlscan.Children(inner, ns.Client) {
		raw, space := c.Raw, st.Element.SpaceOf(&c)
		switch {
		case string(space) == ns.Client && string(c.Local) == "show":
			shows++
			p.Show = standardShow(string(c.Inner))
			p.Declared = p.Show
			if p.Show == "" || p.Show != string(c.Inner) || c.Raw[1] != 's' {
				p.Declared = strings.TrimSpace(xmlscan.Text(c.Inner))
				p.Show = standardShow(p.Declared)
				rewritten = true
				raw = nil
				if p.Show != "" {
					out = append(out, "<show>"+p.Show+"</show>"...)
				}
			}
		case string(space) == ns.Client && string(c.Local) == "priority":
			priorities++
			n, err := strconv.ParseInt(strings.TrimSpace(xmlscan.Text(c.Inner)), 10, 8)
			if err != nil {
				e := Error(stanza.BadRequest, "priority is an integer between -128 and 127")
				return nil, &e
			}
			p.Priority = int8(n)
		case srv.reserved(space):
			rewritten = true
			raw = nil
		}
		out = append(out, raw...)
	}
	if shows > 1 || priorities > 1 {
		e := Error(stanza.BadRequest, "more than one show or priority") // RFC 6121 section 4.7.2
		return nil, &e
	}
	if !rewritten {
		out = append(out[:p.inner], inner...)
	}
	p.text, st.Batch.buf = string(out), out
	return p, nil
}

// servePresence handles a client's presence stanza (RFC 6121 section 4).
func (s *Session) servePresence(st *Stanza) {
	switch st.Type {
	case "", "unavailable":
		s.says(st)
	case "error":
		if !st.To.IsZero() && s.srv.passes(s.jid, st.To) {
			s.srv.deliverAsIs(st)
		}
	case "probe", "subscribe", "subscribed", "unsubscribe", "unsubscribed":
		if f := s.srv.foreign(st.To); f != nil {
			st.goOut(f)
		} else if st.Type == "probe" {
			s.probe(st)
		} else {
			s.subscription(st)
		}
	default:
		st.Reply(Error(stanza.BadRequest, "unknown type of presence"))
	}
}

// says takes presence about the connection's own state, for everybody or for somebody.
func (s *Session) says(st *Stanza) {
	p, bad := s.srv.readPresence(st)
	switch {
	case bad != nil:
		st.Reply(*bad)
	case st.To.IsZero():
		s.broadcast(st.Batch, p)
	default:
		s.directPresence(st, p)
	}
}

// broadcast takes a presence without an address: the connection's own state (RFC
// 6121 sections 4.2, 4.4 and 4.5).
func (s *Session) broadcast(b *Batch, p *Presence) {
	was := s.Presence()
	if !p.Available && was == nil {
		s.tellDirected(b, p, false)
		return
	}
	if was == nil {
		s.srv.hooks.userAvailable.fire(s.srv, &UserAvailable{Batch: b, Session: s, Presence: p})
	}
	s.tellOwn(b, p, was == nil)
	s.srv.hooks.setPresence.fire(s.srv, &SetPresence{Batch: b, Session: s, Presence: p, WasAvailable: was != nil})
	if !p.Available {
		s.tellDirected(b, p, true)
	}
}

// tellOwn makes p the connection's state and tells the user's available
// resources, this one included; a newcomer is told of the others.
func (s *Session) tellOwn(b *Batch, p *Presence, newcomer bool) {
	own := s.srv.ownLock(s.jid)
	// Nobody reads another resource's state and tells it after a newer one.
	own.Lock()
	defer own.Unlock()
	if p.Available {
		s.arrived()
		s.presence.Store(p)
	} else if s.srv.nodes.tookOver(s) {
		s.presence.Store(nil)
		s.srv.nodes.update(b, s)
		return
	}
	for _, other := range s.srv.registry.of(s.jid.Bare()) {
		state := other.Presence()
		if state == nil {
			continue
		}
		b.SendPresence(other, p, nil)
		if newcomer && other != s {
			b.SendPresence(s, state, nil)
		}
	}
	// What other nodes answer comes after the echo. They learn that a session is there
	// before what it says, and that it is not after its last word.
	if p.Available {
		s.srv.nodes.update(b, s)
		s.srv.nodes.tellOwn(b, s, p)
		return
	}
	s.presence.Store(nil)
	s.srv.nodes.tellOwn(b, s, p)
	s.srv.nodes.update(b, s)
}

// tellOwnHere tells the user's available resources at this node.
func (srv *Server) tellOwnHere(b *Batch, p *Presence) {
	own := srv.ownLock(p.JID)
	own.Lock()
	defer own.Unlock()
	for _, s := range srv.registry.of(p.JID.Bare()) {
		if s.Presence() != nil {
			b.SendPresence(s, p, nil)
		}
	}
}

// directPresence takes a presence to somebody (RFC 6121 section 4.6).
func (s *Session) directPresence(st *Stanza, p *Presence) {
	if !s.srv.reachable(st) {
		return
	}
	if d := s.srv.domain(st.To.Domain()); d.service != nil && d.foreign == nil {
		s.srv.guard("service presence", s, func() { d.service.ServePresence(s.srv.ctx, st, p) })
		return
	}
	if p.Available {
		rare := s.scarce()
		if _, known := rare.directed[st.To]; !known && len(rare.directed) >= s.srv.cfg.Limits.Directed {
			st.Reply(Error(stanza.ResourceConstraint, "too many addresses have directed presence already"))
			return
		}
		if rare.directed == nil {
			rare.directed = make(map[jid.JID]struct{})
		}
		rare.directed[st.To] = struct{}{}
	} else if rare := s.rare.Load(); rare != nil {
		delete(rare.directed, st.To)
	}
	if !s.srv.tell(st.Batch, p, st.To) && p.Available {
		delete(s.scarce().directed, st.To)
		st.Reply(notConnected())
	}
}

// tellDirected takes back what directed presence said. toldOwn says that the
// user's available resources know already.
func (s *Session) tellDirected(b *Batch, p *Presence, toldOwn bool) {
	rare := s.rare.Load()
	if rare == nil {
		return
	}
	for to := range rare.directed {
		if toldOwn && to.Bare() == p.JID.Bare() {
			if s.srv.knowsOwn(to) || to == s.jid {
				continue
			}
		}
		s.srv.tell(b, p, to)
	}
	rare.directed = nil
}

// knowsOwn reports whether one of the user's own resources is told of the others, or
// is not there.
func (srv *Server) knowsOwn(full jid.JID) bool {
	if s := srv.registry.get(full); s != nil {
		return s.Presence() != nil
	}
	r, ok := srv.nodes.routes.get(full)
	return !ok || r.available
}

// tell delivers a presence to a user's address, wherever it is connected. False says that
// it is one of a Foreign that is not there.
func (srv *Server) tell(b *Batch, p *Presence, to jid.JID) bool {
	if f := srv.foreign(to); f != nil {
		b.buf = p.AppendTo(b.buf[:0], to, nil)
		return f.Receive(b, b.buf)
	}
	srv.tellHere(b, p, to)
	srv.nodes.tell(b, p, to)
	return true
}

// tellHere delivers a presence to a user's address at this node (RFC 6121 sections
// 8.5.2.1.2 and 8.5.3.1).
func (srv *Server) tellHere(b *Batch, p *Presence, to jid.JID) {
	switch {
	case to.Local() == "" || !srv.passes(p.JID, to):
	case to.IsFull():
		if s := srv.registry.get(to); s != nil {
			b.SendPresence(s, p, nil)
		}
	default:
		for _, s := range srv.registry.of(to) {
			if s.Presence() != nil {
				b.SendPresence(s, p, nil)
			}
		}
	}
}

// probe answers a presence probe (RFC 6121 section 4.3.2).
func (s *Session) probe(st *Stanza) {
	if st.To.IsZero() || !s.srv.reachable(st) {
		return
	}
	d, to := s.srv.domain(st.To.Domain()), st.To.Bare()
	if d.service != nil || to.Local() == "" {
		return
	}
	if to == s.jid.Bare() {
		for _, other := range s.srv.registry.of(to) {
			if p := other.Presence(); p != nil {
				st.Batch.SendPresence(s, p, nil)
			}
		}
		s.srv.nodes.probeOwn(st.Batch, s.jid)
		return
	}
	if !s.srv.passes(to, s.jid) {
		return // whoever is blocked learns nothing
	}
	e := &Probe{Batch: st.Batch, From: s, To: to}
	if st.To.IsFull() {
		e.Only = st.To
	}
	if s.srv.hooks.probe.fire(s.srv, e); !e.Answered {
		s.sendPresenceType(st.Batch, to, "unsubscribed")
	}
}

// Probe tells a session what it may see of a user, given by the bare address, as if it
// had sent a probe. It may be called outside the session's turn.
func (h *Host) Probe(b *Batch, s *Session, to jid.JID) {
	h.srv.hooks.probe.fire(h.srv, &Probe{Batch: b, From: s, To: to})
}

// subscription passes a subscription stanza to whoever keeps the rosters (RFC
// 6121 section 3); where nobody does, a request is denied.
func (s *Session) subscription(st *Stanza) {
	if st.To.IsZero() {
		st.Reply(Error(stanza.BadRequest, "a subscription needs an address"))
		return
	}
	if !s.srv.reachable(st) {
		return
	}
	d, to := s.srv.domain(st.To.Domain()), st.To.Bare()
	e := &Subscription{Batch: st.Batch, From: s, To: to, Type: st.Type, Element: st.Element}
	if e.Type == "subscribe" && !s.srv.passes(s.jid, to) {
		return // but whoever is blocked may leave
	}
	if d.service == nil && to.Local() != "" {
		s.srv.hooks.subscription.fire(s.srv, e)
	}
	if !e.Answered && st.Type == "subscribe" {
		s.sendPresenceType(st.Batch, to, "unsubscribed")
	}
}

func (s *Session) sendPresenceType(b *Batch, from jid.JID, typ string) {
	b.buf = AppendPresenceType(b.buf[:0], from, s.jid.Bare(), typ)
	b.Send(s, b.buf)
}
