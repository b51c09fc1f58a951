package server

import (
	"errors"
	"fmt"
	"strconv"

	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"

	"rollcall/internal/auth"
	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

var (
	errAfterSASL = errors.New("iq:auth after SASL failed")
	errFields    = errors.New("iq:auth without a name, a resource or a secret")
)

// credentials are what a client says in a request of XEP-0078.
type credentials struct{ username, resource, password, digest string }

// legacyAuth answers a request to log in as before SASL (XEP-0078).
func (s *Session) legacyAuth(t *Turn, el *xmlscan.Element) bool {
	st := &Stanza{
		Batch: &t.Batch, Session: s, Kind: IQStanza, Element: el, To: s.host(), Type: el.AttrString("type"),
	}
	get := st.Type == "get"
	if string(el.ChildSpace) != ns.IQAuth || !get && st.Type != "set" {
		return false
	}
	switch {
	case s.neg.refused:
		s.close(t, StreamError(stream.PolicyViolation, errAfterSASL)) // section 6
	case s.state()&iqAuth == 0:
		st.Reply(Error(stanza.ServiceUnavailable, ""))
	case len(el.Attr("id")) == 0 || el.Children != 1:
		st.Reply(Error(stanza.BadRequest, ""))
	case get:
		if err := st.result(Raw(s.legacyFields())); err != nil {
			s.close(t, Close{Reason: ReasonInternal, Cause: err})
		}
	default:
		s.legacyLogin(t, st)
	}
	return true
}

// host is the address of the virtual host that the stream's header asked for.
func (s *Session) host() jid.JID {
	if d := s.srv.domain(s.neg.host); d != nil {
		return d.address
	}
	return jid.JID{}
}

// legacyFields are what a client has to fill in, the same for every user.
func (s *Session) legacyFields() []byte {
	dst := append([]byte(nil), "<query xmlns='"+ns.IQAuth+"'><username/>"...)
	if s.state()&plainAllowed != 0 {
		dst = append(dst, "<password/>"...)
	}
	if s.srv.cfg.Auth.Digests() {
		dst = append(dst, "<digest/>"...)
	}
	return append(dst, "<resource/></query>"...)
}

func readCredentials(el *xmlscan.Element) (c credentials) {
	for query := range xmlscan.Children(el.Inner, ns.Client) {
		for field := range xmlscan.Children(query.Inner, ns.IQAuth) {
			if string(field.Space) != ns.IQAuth {
				continue
			}
			text := xmlscan.Text(field.Inner)
			switch string(field.Local) {
			case "username":
				c.username = text
			case "resource":
				c.resource = text
			case "password":
				c.password = text
			case "digest":
				c.digest = text
			}
		}
	}
	return c
}

// legacyLogin authenticates and binds in one step.
func (s *Session) legacyLogin(t *Turn, st *Stanza) {
	c, n := readCredentials(st.Element), s.neg
	if c.username == "" || c.resource == "" || c.password == "" && c.digest == "" {
		s.legacyRefused(t, st, stanza.NotAcceptable, &auth.Failure{Condition: auth.MalformedRequest, Cause: errFields, User: c.username})
		return
	}
	n.since = s.srv.removals.now()
	account, f := s.legacyAccount(c)
	if f != nil {
		s.legacyRefused(t, st, legacyCondition(f), f)
		return
	}
	full, err := account.WithResource(c.resource)
	if err != nil || !full.IsFull() {
		s.legacyRefused(t, st, stanza.JIDMalformed, &auth.Failure{Condition: auth.MalformedRequest, Cause: err, User: c.username})
		return
	}
	refused := s.enter(t, full, func() error {
		s.srv.metrics.auth("success")
		st.From = s.jid
		return st.result(nil)
	})
	if refused != "" {
		s.jid = jid.JID{}
		replyLegacy(st, refused)
	}
}

// legacyAccount is who the client has proven to be.
func (s *Session) legacyAccount(c credentials) (jid.JID, *auth.Failure) {
	a := s.srv.cfg.Auth
	switch {
	case c.password == "":
		return a.Digest(s.srv.ctx, s.neg.host, c.username, s.neg.id, c.digest)
	case s.state()&plainAllowed == 0:
		return jid.JID{}, &auth.Failure{Condition: auth.EncryptionRequired, User: c.username}
	}
	return a.Password(s.srv.ctx, s.neg.host, c.username, c.password)
}

// legacyRefused answers a failed login. It counts like one of SASL.
func (s *Session) legacyRefused(t *Turn, st *Stanza, c stanza.Condition, f *auth.Failure) {
	s.loginFailed(f)
	replyLegacy(st, c)
	if s.neg.failures >= s.srv.cfg.AuthAttempts {
		s.close(t, Close{Reason: ReasonAuth})
	}
}

func legacyCondition(f *auth.Failure) stanza.Condition {
	switch f.Condition {
	case auth.AccountDisabled:
		return stanza.Forbidden
	case auth.TemporaryAuthFailure:
		return stanza.InternalServerError
	case auth.MalformedRequest:
		return stanza.NotAcceptable
	}
	return stanza.NotAuthorized
}

// legacyCodes are the error codes from before XMPP (XEP-0086), which XEP-0078 section 5
// wants as well.
var legacyCodes = [...]struct {
	stanza.Condition
	code int
}{
	{stanza.BadRequest, 400}, {stanza.JIDMalformed, 400}, {stanza.NotAuthorized, 401}, {stanza.Forbidden, 403},
	{stanza.NotAcceptable, 406}, {stanza.Conflict, 409}, {stanza.InternalServerError, 500},
	{stanza.ResourceConstraint, 500},
}

// replyLegacy sends an error with both its condition and its code.
func replyLegacy(st *Stanza, c stanza.Condition) {
	b := st.Batch
	el := append(st.appendReply(b.buf[:0], "error"), '>')
	el = append(el, "<error"...)
	for _, l := range legacyCodes {
		if l.Condition == c {
			el = append(el, " code='"...)
			el = strconv.AppendInt(el, int64(l.code), 10)
			el = append(el, '\'')
		}
	}
	el = fmt.Appendf(el, " type='%s'><%s xmlns='"+ns.Stanzas+"'/></error></iq>", errorType(c), c)
	b.buf = el
	b.Send(st.Session, el)
}
