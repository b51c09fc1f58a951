package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/beevik/etree"
	"mellium.im/xmpp/stanza"

	"rollcall/internal/jid"
	"rollcall/internal/ns"
)

// Scope says whom an iq request must be addressed to.
type Scope uint8

// The scopes; they can be combined.
const (
	// ToServer: a virtual host.
	ToServer Scope = 1 << iota
	// ToSelf: nobody, or the sender's own bare address.
	ToSelf
	// ToOther: another user's bare address.
	ToOther
)

// IQ is a request of type get or set with exactly one child.
type IQ struct {
	*Stanza
	// Scope is the one scope that the address falls in; 0 at a service host.
	Scope Scope
	// Space and Name are those of the child.
	Space, Name string
}

// Set reports whether the request is of type set.
func (iq *IQ) Set() bool { return iq.Type == "set" }

// Payload parses the child.
func (iq *IQ) Payload() (*etree.Element, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(iq.Append(nil, iq.From, iq.To)); err != nil {
		return nil, fmt.Errorf("iq payload: %w", err)
	}
	for _, c := range doc.Root().ChildElements() {
		return c, nil
	}
	return nil, Error(stanza.BadRequest, "the request has no child")
}

// Encode is an element of a parsed payload by itself: with the declarations of
// namespaces that it has from further out.
func Encode(el *etree.Element) []byte {
	alone := el.Copy()
	declared := func(space, key string) bool {
		return slices.ContainsFunc(alone.Attr, func(a etree.Attr) bool { return a.Space == space && a.Key == key })
	}
	if el.Space == "" && !declared("", "xmlns") {
		alone.CreateAttr("xmlns", el.NamespaceURI())
	}
	for around := el.Parent(); around != nil; around = around.Parent() {
		for _, a := range around.Attr {
			if a.Space == "xmlns" && !declared("xmlns", a.Key) {
				alone.CreateAttr("xmlns:"+a.Key, a.Value)
			}
		}
	}
	var b bytes.Buffer
	// A reader takes line ends and tabs for blanks in attributes, unless they are references.
	alone.WriteTo(&b, &etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true})
	return b.Bytes()
}

// Payload is the child of an iq result.
type Payload interface {
	// AppendXML appends the encoded child.
	AppendXML(dst []byte) ([]byte, error)
}

// Sent is a Payload that hears when the result was handed to the connection: what the
// module sends from then on comes after it.
type Sent interface {
	Sent(b *Batch)
}

// Raw is a Payload that is encoded already.
type Raw []byte

// AppendXML implements Payload.
func (r Raw) AppendXML(dst []byte) ([]byte, error) { return append(dst, r...), nil }

// Tree is a Payload as a tree; it must carry its xmlns attribute.
type Tree struct{ *etree.Element }

// AppendXML implements Payload.
func (t Tree) AppendXML(dst []byte) ([]byte, error) {
	w := bytes.NewBuffer(dst)
	t.WriteTo(w, &etree.WriteSettings{AttrSingleQuote: true})
	return w.Bytes(), nil
}

// IQHandler answers a request with the child of its result, nil for an empty
// result, or with an error: a stanza.Error goes to the client, anything else is
// logged and becomes internal-server-error. It runs on the sender's turn.
type IQHandler func(ctx context.Context, iq *IQ) (Payload, error)

type iqKey struct {
	space, name string
	scope       Scope
}

type iqEntry struct {
	iqKey
	module string
	handle IQHandler
}

// serveIQ routes an iq (RFC 6120 section 8.2.3, RFC 6121 section 8.5).
func (s *Session) serveIQ(t *Turn, st *Stanza) {
	request := st.Type == "get" || st.Type == "set"
	switch {
	case len(st.Element.Attr("id")) == 0:
		st.Reply(Error(stanza.BadRequest, "an iq needs an id"))
		return
	case request && st.Element.Children != 1:
		st.Reply(Error(stanza.BadRequest, "a request has exactly one child"))
		return
	case !request && st.Type != "result" && st.Type != "error":
		st.Reply(Error(stanza.BadRequest, "unknown type of iq"))
		return
	}
	to := st.To
	if to.IsZero() {
		to = s.jid.Bare()
	}
	if request && string(st.Element.ChildSpace) == ns.Session && (to == s.jid.Bare() || to.String() == s.jid.Domain()) {
		s.srv.answerSession(st)
		return
	}
	d := s.srv.domain(to.Domain())
	switch {
	case d == nil:
		st.Reply(Error(stanza.RemoteServerNotFound, ""))
	case d.foreign != nil:
		st.goOut(d.foreign)
		return
	case d.service == nil && to.Local() != "" && !s.srv.passes(s.jid, to):
		st.Reply(Error(stanza.ServiceUnavailable, ""))
	case d.service == nil && to.Local() != "" && to.IsFull():
		if !request || !s.refused(t, st) {
			s.srv.routeIQ(st, to)
		}
	case request:
		s.answer(t, st, d)
	}
	// What reaches the server itself answers its own requests.
	if !request && s.srv.hooks.answer.any() {
		s.srv.hooks.answer.fire(s.srv, &Answer{
			Batch: st.Batch, Session: s, ID: st.Element.AttrString("id"), Failed: st.Type == "error",
		})
	}
}

// toResource is the scope of requests from one client to another.
const toResource Scope = 1 << 6

// GuardIQ lets f refuse requests to clients from others, or from a Foreign, whose child is
// name in namespace space, by an error, before they are routed. It fails when somebody
// else guards them.
func (h *Host) GuardIQ(space, name string, f func(ctx context.Context, iq *IQ) error) error {
	key := iqKey{space, name, toResource}
	guard := func(ctx context.Context, iq *IQ) (Payload, error) { return nil, f(ctx, iq) }
	if err := h.srv.iqs.add(iqEntry{key, h.module.Name(), guard}); err != nil {
		return err
	}
	h.undo = append(h.undo, func() { h.srv.iqs.remove(key) })
	return nil
}

// refused reports whether somebody refuses a request to another client.
func (s *Session) refused(t *Turn, st *Stanza) bool {
	entry, ok := s.srv.iqs.find(st.Element.ChildSpace, st.Element.ChildLocal, toResource)
	if !ok {
		return false
	}
	_, err := s.run(t, st, entry)
	if err != nil {
		st.refuse(s.srv, err, "iq", entry.space, "module", entry.module)
	}
	return err != nil
}

// routeIQ hands an iq to the full address it is for (RFC 6121 section 8.5.3.2.3).
func (srv *Server) routeIQ(st *Stanza, to jid.JID) {
	if target := srv.registry.get(to); target != nil {
		srv.forward(st, target)
		return
	}
	if p, ok := st.route(to); ok && st.forwardTo(p, to) {
		return
	}
	st.Reply(Error(stanza.ServiceUnavailable, ""))
}

// answer finds the handler of a request to the server and sends what it says.
func (s *Session) answer(t *Turn, st *Stanza, d *domain) {
	payload, module, err := s.handle(t, st, d)
	if err == nil {
		err = st.result(payload)
	}
	if err != nil {
		st.refuse(s.srv, err, "iq", string(st.Element.ChildSpace), "module", module)
	}
}

// handle runs the handler of a request and survives its panic.
func (s *Session) handle(t *Turn, st *Stanza, d *domain) (payload Payload, module string, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.srv.panicked("iq "+string(st.Element.ChildSpace), p, "conn", s.conn, "jid", s.jid.String())
			err = errPanicked
		}
	}()
	el, iq := st.Element, &t.iq
	if d.service != nil {
		*iq = IQ{Stanza: st, Space: string(el.ChildSpace), Name: string(el.ChildLocal)}
		payload, err = d.service.ServeIQ(s.srv.ctx, iq)
		return payload, "", err
	}
	scope := s.scopeOf(st)
	entry, ok := s.srv.iqs.find(el.ChildSpace, el.ChildLocal, scope)
	if !ok {
		return nil, "", stanza.Error{Condition: stanza.ServiceUnavailable}
	}
	*iq = IQ{Stanza: st, Scope: scope, Space: entry.space, Name: entry.name}
	payload, err = entry.handle(s.srv.ctx, iq)
	return payload, entry.module, err
}

func (s *Session) scopeOf(st *Stanza) Scope {
	switch {
	case st.To.IsZero() || st.To == s.jid.Bare():
		return ToSelf
	case st.To.Local() == "":
		return ToServer
	default:
		return ToOther
	}
}

// Detailed is an error with a condition of the application's own (RFC 6120 section
// 8.3.2).
type Detailed struct {
	Err    stanza.Error
	Detail string // the encoded element
}

// Error implements error.
func (e Detailed) Error() string { return e.Err.Error() }

// Unwrap makes errors.As find the stanza error.
func (e Detailed) Unwrap() error { return e.Err }

// refuse answers a request with its handler's error.
func (st *Stanza) refuse(srv *Server, err error, about ...any) {
	var d Detailed
	errors.As(err, &d) // leaves it empty when there is no detail
	st.reply(srv.stanzaError(err, about...), d.Detail)
}

// result sends an iq result.
func (st *Stanza) result(p Payload) error {
	b := st.Batch
	buf := st.appendReply(b.buf[:0], "result")
	if p == nil {
		buf = append(buf, '/', '>')
	} else {
		var err error
		if buf, err = p.AppendXML(append(buf, '>')); err != nil {
			return err
		}
		buf = append(buf, "</iq>"...)
	}
	b.buf = buf
	st.back(buf)
	if x, ok := p.(Sent); ok {
		x.Sent(b)
	}
	return nil
}

// stanzaError is what a client may know of a handler's error; the rest is
// logged.
func (srv *Server) stanzaError(err error, about ...any) stanza.Error {
	var e stanza.Error
	if errors.As(err, &e) && e.Condition != "" {
		return e
	}
	srv.log.Error("request failed", append(about, "err", err)...)
	return stanza.Error{Condition: stanza.InternalServerError}
}

// AppendIQ appends an iq request of the server's own; id needs no escaping.
func AppendIQ(dst []byte, typ, id string, from, to jid.JID, payload []byte) []byte {
	dst = append(dst, "<iq xmlns='"+ns.Client+"'"...)
	dst = appendAddress(dst, " from='", from)
	dst = appendAddress(dst, " to='", to)
	dst = append(dst, " type='"...)
	dst = append(dst, typ...)
	dst = append(dst, "' id='"...)
	dst = append(dst, id...)
	dst = append(dst, "'>"...)
	dst = append(dst, payload...)
	return append(dst, "</iq>"...)
}
