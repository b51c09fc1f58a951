package server

import (
	"iter"

	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

// Undelivered takes back what a connection was given and its peer never got:
// complete top-level elements in the order of, and exactly as in, the calls of
// Transport.Write. A transport calls it after the core has closed it, holding no lock
// of its own and on a goroutine that may wait: others learn first that the session is
// gone. elements is not kept. More may be given back later.
//
//   - A message to the full address goes where it would go if it came now, when
//     the resource is gone (RFC 6121 section 8.5.3.2) or taken by a newer session.
//   - A message to the bare address goes to those resources that became available
//     too late to have got a copy.
//   - When no resource takes it, its sender is told service-unavailable, like
//     anybody who writes to somebody who is not there. XEP-0206 section 7 has a
//     connection manager say recipient-unavailable to its server; between users it
//     would give away that somebody was online.
//   - A message from somebody who is blocked by now goes back to the sender.
//   - A message from the account itself was meant for that connection alone, as copies of
//     others are (XEP-0280), and is dropped.
//   - An iq request is answered with service-unavailable.
//   - All else is dropped: presence, iq answers, errors, headlines, elements of the
//     stream. So nothing that is sent from here can come back for ever.
//
// While the server shuts down nothing goes back: those it would go to are leaving
// as well.
func (s *Session) Undelivered(elements []byte) {
	s.takeBack(func(u *undelivered) { u.giveBack(u.stanzas(elements)) })
}

// takeBack runs f when the session has ended, unless the server shuts down.
func (s *Session) takeBack(f func(u *undelivered)) {
	if s.srv.closing.Load() || !s.jid.IsFull() {
		return
	}
	select {
	case <-s.srv.endings.of(s):
	case <-s.srv.ctx.Done():
		return
	}
	if next := s.srv.registry.get(s.jid); next != nil && next != s {
		// It hears first that it is bound: clients take whatever comes before for the
		// answer.
		next.Turn().End()
	}
	u := undelivered{Batch: Batch{srv: s.srv}, s: s}
	defer u.Flush()
	s.srv.guard("undelivered", s, func() { f(&u) })
}

// undelivered is what goes back of one session.
type undelivered struct {
	Batch
	s *Session
	// copied is how many messages to the bare address come before the next one, of
	// all that the session was ever given.
	copied uint64
}

func (u *undelivered) giveBack(stanzas iter.Seq[returned]) {
	copies := uint64(0)
	for el := range stanzas {
		if el.to == u.s.jid.Bare() && el.kind == Message && !el.replayed() && !u.seenTo(&el) {
			copies++
		}
	}
	u.copied = max(u.s.copies.Load(), copies) - copies
	var safe needless
	defer func() { safe.fire(&u.Batch) }()
	for el := range stanzas {
		switch el.kind {
		case Message:
			u.safely(&el, &safe)
		case IQStanza:
			if el.typ == "get" || el.typ == "set" {
				u.refuse(&el)
			}
		case PresenceStanza:
		}
	}
}

// returned is a stanza on its way back.
type returned struct {
	*xmlscan.Element
	kind     Kind
	typ      string
	from, to jid.JID
	kept     *kept // nil when nobody wants to know what becomes of it
}

// replayed reports whether the stanza came from the store, and to this session only.
func (el *returned) replayed() bool { return el.kept != nil && el.kept.replayed }

// entries walks over the stanzas of a queue.
func (u *undelivered) entries(left []entry) iter.Seq[returned] {
	return func(yield func(returned) bool) {
		for _, e := range left {
			for el := range u.stanzas(e.data) {
				el.kept = e.kept
				if !yield(el) {
					return
				}
			}
		}
	}
}

// stanzas walks over those elements that are stanzas between addresses.
func (u *undelivered) stanzas(elements []byte) iter.Seq[returned] {
	return func(yield func(returned) bool) {
		scan := scanSent(elements)
		var el xmlscan.Element
		for rest := elements; len(rest) > 0; {
			n, err := scan.Next(rest, &el)
			if err != nil {
				u.srv.log.Error("undelivered elements cannot be read", "conn", u.s.conn, "err", err)
				return
			}
			rest = rest[n:]
			kind, ok := kindOf(&el)
			from, err1 := jid.Parse(el.AttrString("from"))
			to, err2 := jid.Parse(el.AttrString("to"))
			if !ok || err1 != nil || err2 != nil {
				continue
			}
			if !yield(returned{Element: &el, kind: kind, typ: el.AttrString("type"), from: from, to: to}) {
				return
			}
		}
	}
}

// scanSent scans elements that the server wrote itself, which the outbox alone limits.
func scanSent(elements []byte) *xmlscan.Scanner {
	scan := new(xmlscan.Scanner)
	scan.Scope(streamScope())
	scan.SetLimits(xmlscan.Limits{Bytes: len(elements) + 1, Depth: len(elements) + 1, Attrs: len(elements) + 1})
	return scan
}

// streamScope is what a stanza that the server wrote may use without declaring it.
func streamScope() []xmlscan.Attr {
	return []xmlscan.Attr{{Name: []byte("xmlns:stream"), Value: []byte(ns.Stream), Quote: '\''}}
}

// safely sends a message on. One that is in the store stays there as long as it is not
// safe elsewhere.
func (u *undelivered) safely(el *returned, safe *needless) {
	if el.kept == nil {
		u.message(el)
		return
	}
	el.kept.busy.Lock()
	defer el.kept.busy.Unlock()
	d := delivery{to: el.to.Bare(), kept: el.kept}
	u.delivery = &d
	taken := u.message(el)
	u.delivery = nil
	if d.direct {
		safe.add(d.to, el.kept.took())
	}
	safe.add(d.to, el.kept.released(!taken && el.kept.inStore() != ""))
}

// message sends a message on, or says that it could not be delivered. It reports whether
// somebody has it or nobody needs it.
func (u *undelivered) message(el *returned) bool {
	if u.seenTo(el) {
		return false
	}
	bare := !el.to.IsFull()
	index := u.copied
	if bare && !el.replayed() {
		u.copied++
	}
	if el.typ == "error" || el.typ == "headline" || el.from == u.s.jid.Bare() {
		return true
	}
	if !u.srv.passes(el.from, el.to) {
		u.refuse(el) // as if it came now
		return true
	}
	takes := func(x *Session) (can, needs bool) {
		p := x.Presence()
		can = x != u.s && p != nil && p.Priority >= 0
		return can, can && !(bare && !el.replayed() && x.arrival.Load().hasCopy(u.s, index))
	}
	if !bare {
		if x := u.srv.registry.get(el.to); x != nil && x != u.s {
			u.Send(x, el.Raw)
			return true
		}
		if r, ok := u.srv.nodes.routes.get(el.to); ok && u.sendTo(r.peer, sent{hops: 1, alone: true, to: el.to, data: el.Raw}) {
			return true
		}
	}
	taken := false
	if bare || el.typ == "chat" {
		for _, x := range u.srv.registry.of(el.to.Bare()) {
			can, needs := takes(x)
			taken = taken || can
			if !needs {
				continue
			}
			if bare && !el.replayed() {
				x.copies.Add(1)
			}
			u.Send(x, el.Raw)
		}
		taken = u.elsewhere(el, bare, index, taken)
	}
	if taken {
		return true
	}
	return u.nobodyTook(el)
}

// nobodyTook asks who keeps the message. It reports false for one that waits in the
// store already.
func (u *undelivered) nobodyTook(el *returned) bool {
	e := &Nobody{
		Batch: &u.Batch, From: el.from, To: el.to, Type: el.typ, Element: el.Element, Data: el.Raw,
		Returned: true, ID: el.kept.inStore(),
	}
	u.srv.hooks.nobody.fire(u.srv, e)
	switch {
	case e.ID != "":
		return false
	case e.Handled:
	case e.Refused.Condition != "":
		u.refuseWith(el, e.Refused)
	default:
		u.refuse(el)
	}
	return true
}

// elsewhere sends a message on to the user's resources at other nodes, and reports
// whether anybody takes it; taken says that somebody does here.
func (u *undelivered) elsewhere(el *returned, bare bool, index uint64, taken bool) bool {
	var late []route
	for _, r := range u.srv.nodes.routes.of(el.to.Bare()) {
		switch {
		case !r.takesBare():
		case bare && r.arrival.hasCopy(u.s, index):
			taken = true
		default:
			late = append(late, r)
		}
	}
	alone := !taken && len(late) == 1
	for _, r := range late {
		taken = u.sendTo(r.peer, sent{hops: maxHops, alone: alone, to: r.full, data: el.Raw}) || taken
	}
	return taken
}

// refuse tells the sender, if still there, that nobody took a stanza.
func (u *undelivered) refuse(el *returned) { u.refuseWith(el, Error(stanza.ServiceUnavailable, "")) }

func (u *undelivered) refuseWith(el *returned, with stanza.Error) {
	if u.srv.registry.get(el.from) == u.s {
		return
	}
	st := &Stanza{
		Batch: &u.Batch, Kind: el.kind, From: el.from, To: el.to,
		Element: el.Element, Type: el.typ,
	}
	st.Reply(with)
}

// arrival is where among all sessions one first became available, and how many
// messages to the bare address the user's others had been given by then; others are
// known by their Conn.
type arrival struct {
	number uint64
	copies map[string]uint64
}

// arrived notes that s is available from now on.
func (s *Session) arrived() {
	if s.arrival.Load() != nil {
		return
	}
	s.arrival.Store(s.srv.newArrival(s.jid.Bare(), s))
}

// newArrival is the arrival of a user's connection; s is nil when it is to another
// node.
func (srv *Server) newArrival(bare jid.JID, s *Session) *arrival {
	a := &arrival{number: srv.arrivals.Add(1)}
	for _, other := range srv.registry.of(bare) {
		if other == s {
			continue
		}
		if a.copies == nil {
			a.copies = make(map[string]uint64)
		}
		a.copies[other.conn] = other.copies.Load()
	}
	return a
}

// hasCopy reports whether a connection was given the message to the bare address that
// was the one of that index, from 0, that gone was given.
func (a *arrival) hasCopy(gone *Session, index uint64) bool {
	theirs := gone.arrival.Load()
	if a == nil || theirs == nil {
		return false
	}
	if from, ok := a.copies[gone.conn]; ok {
		return index >= from
	}
	// It came before the other one did, or after that had left.
	return a.number < theirs.number
}
