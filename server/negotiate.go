package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
	"unique"

	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"

	"rollcall/conf"
	"rollcall/internal/auth"
	"rollcall/internal/jid"
	"rollcall/internal/ns"
	"rollcall/internal/xmlscan"
)

var (
	errNoHeader  = errors.New("an element came before the stream's header")
	errTooMuch   = errors.New("too many bytes before authentication")
	errAnonymous = errors.New("too many anonymous users")
	errNoTLS     = errors.New("TLS was asked for where it is not offered")
)

// negotiation is what a session needs only until a resource is bound.
type negotiation struct {
	timer    *time.Timer // of the login time
	host     string
	exchange *auth.Exchange // under way
	since    uint64         // the exchange's beginning among the removals of users
	id       string         // of the stream
	refused  bool           // SASL failed
	failures int            // of authentication
	taken    int            // bytes of elements
}

// newID makes an unguessable stream id (RFC 6120 section 4.7.3).
func newID() string { return rand.Text() }

// open answers a stream header (RFC 6120 section 4.7).
func (s *Session) open(t *Turn, h StreamHeader) {
	s.Touch()
	switch s.phase {
	case closed:
		return
	case bound, relaying:
		s.close(t, StreamError(stream.PolicyViolation, errors.New("a stream was restarted after binding")))
		return
	}
	s.phase = negotiating
	host, bad := s.checkHeader(h)
	answer := StreamHeader{ID: newID(), From: host, To: h.From, Lang: "en", Version: "1.0"}
	if bad != nil {
		s.transport.Open(answer)
		s.close(t, StreamError(*bad, fmt.Errorf("header to=%.128q version=%.16q", h.To, h.Version)))
		return
	}
	s.neg.host, s.neg.id = host, answer.ID
	s.neg.exchange = nil
	s.lang = unique.Make(h.Lang)
	if h.Version == "" {
		answer.Version = "" // RFC 6120 section 4.7.5
	}
	s.transport.Open(answer)
	if s.srv.closing.Load() {
		s.close(t, Close{Reason: ReasonShutdown})
		return
	}
	if h.Version == "" {
		t.touch(s)
		return // it would not expect features
	}
	t.buf = s.appendFeatures(t.buf[:0])
	s.send(t, t.buf)
}

// maxLang bounds the language tag, which goes out with every stanza.
const maxLang = 35 // RFC 5646 section 4.4.1

// checkHeader returns the virtual host that a header asks for.
func (s *Session) checkHeader(h StreamHeader) (host string, bad *stream.Error) {
	host = s.srv.cfg.Hosts[0]
	if h.To == "" {
		return host, &stream.ImproperAddressing
	}
	to, err := jid.Parse(h.To)
	if err != nil || to.Local() != "" || to.IsFull() || !s.srv.isHost(to.Domain()) {
		return host, &stream.HostUnknown
	}
	host = to.Domain()
	if h.Version == "" && s.traits&legacyAuth != 0 {
		return host, nil // from before XMPP, whose clients log in with XEP-0078
	}
	if major, _, _ := strings.Cut(h.Version, "."); strings.Trim(major, "0") == "" || strings.Trim(major, "0123456789") != "" {
		return host, &stream.UnsupportedVersion // RFC 6120 section 4.7.5
	}
	if len(h.Lang) > maxLang {
		return host, &stream.PolicyViolation
	}
	if !s.jid.IsZero() && s.jid.Domain() != host {
		return host, &stream.HostUnknown
	}
	return host, nil
}

// negotiate takes an element before a resource is bound.
func (s *Session) negotiate(t *Turn, el *xmlscan.Element) Outcome {
	space, name := string(el.Space), string(el.Local)
	_, isStanza := kindOf(el)
	switch {
	case space == ns.TLS && name == "starttls":
		return s.startTLS(t)
	case space == ns.SASL && s.jid.IsZero():
		return s.sasl(t, name, el)
	case isStanza && name == "iq" && !s.jid.IsZero() && s.bindOrSession(t, el):
	case isStanza && name == "iq" && s.jid.IsZero() && s.earlyIQ(t, el):
	case isStanza && name == "iq" && s.jid.IsZero() && s.legacyAuth(t, el):
	case isStanza:
		// RFC 6120 section 4.9.3.12 before authentication, 7.1 after it.
		s.close(t, StreamError(stream.NotAuthorized, fmt.Errorf("%s before binding", name)))
	default:
		s.close(t, StreamError(stream.UnsupportedStanzaType, nil))
	}
	return More
}

func (s *Session) send(t *Turn, el []byte) { t.Send(s, el) }

// startTLS obeys RFC 6120 section 5.4.2.
func (s *Session) startTLS(t *Turn) Outcome {
	if s.state()&(canStartTLS|secure|authenticated) != canStartTLS {
		s.send(t, []byte("<failure xmlns='"+ns.TLS+"'/>"))
		s.close(t, Close{Reason: ReasonTLS, Cause: errNoTLS})
		return Done
	}
	s.send(t, []byte("<proceed xmlns='"+ns.TLS+"'/>"))
	s.neg.exchange = nil
	s.transport.(TLSStarter).StartTLS()
	return Restart
}

// sasl obeys RFC 6120 section 6.4.
func (s *Session) sasl(t *Turn, name string, el *xmlscan.Element) Outcome {
	n, st := s.neg, s.state()
	var f *auth.Failure
	switch {
	case st&authAllowed == 0:
		f = &auth.Failure{Condition: auth.EncryptionRequired}
	case name == "auth":
		n.since = s.srv.removals.now()
		n.exchange, f = s.srv.cfg.Auth.Start(n.host, el.AttrString("mechanism"), st&plainAllowed != 0)
	case name == "abort":
		f = &auth.Failure{Condition: auth.Aborted}
	case name != "response" || n.exchange == nil:
		f = &auth.Failure{Condition: auth.MalformedRequest, Cause: errors.New(name + " out of turn")}
	}
	if f != nil {
		return s.saslFailed(t, f)
	}
	challenge, done, f := n.exchange.Step(s.srv.ctx, xmlscan.Text(el.Inner))
	switch {
	case f != nil:
		return s.saslFailed(t, f)
	case !done:
		s.sendSASL(t, "challenge", challenge)
		return More
	}
	if n.exchange.Anonymous() && !s.enterAnonymously() {
		return s.saslFailed(t, &auth.Failure{Condition: auth.TemporaryAuthFailure, Cause: errAnonymous})
	}
	s.authenticated(n.exchange.Account())
	s.sendSASL(t, "success", challenge)
	return Restart
}

func (s *Session) sendSASL(t *Turn, name, text string) {
	el := append(t.buf[:0], '<')
	el = append(el, name...)
	el = append(el, " xmlns='"+ns.SASL+"'"...)
	if text == "" {
		el = append(el, "/>"...)
	} else {
		el = append(el, '>')
		el = append(el, text...)
		el = append(el, "</"...)
		el = append(el, name...)
		el = append(el, '>')
	}
	t.buf = el
	s.send(t, el)
}

func (s *Session) saslFailed(t *Turn, f *auth.Failure) Outcome {
	n := s.neg
	n.exchange, n.refused = nil, true
	s.loginFailed(f)
	s.send(t, []byte("<failure xmlns='"+ns.SASL+"'><"+f.Condition+"/></failure>"))
	if n.failures >= s.srv.cfg.AuthAttempts {
		s.close(t, Close{Reason: ReasonAuth}) // RFC 6120 section 6.4.5
	}
	return More
}

// loginFailed counts and logs a failure.
func (s *Session) loginFailed(f *auth.Failure) {
	s.neg.failures++
	s.srv.metrics.auth(f.Condition)
	info := s.transport.Info()
	s.srv.log.Info("authentication failed", "condition", f.Condition, "err", f.Cause,
		"user", f.User, "conn", s.conn, "transport", info.Kind, "remote", info.Remote)
}

// bindOrSession answers what a client may ask between authentication and
// binding; anything else is not its business.
func (s *Session) bindOrSession(t *Turn, el *xmlscan.Element) bool {
	st := &Stanza{
		Batch: &t.Batch, Session: s, Kind: IQStanza, From: s.jid, Element: el,
		Type: el.AttrString("type"),
	}
	if st.Type != "set" {
		return false
	}
	switch string(el.ChildSpace) {
	case ns.Bind:
		s.bind(t, st)
	case ns.Session:
		s.srv.answerSession(st)
	default:
		return false
	}
	return true
}

// answerSession answers the session request of RFC 3921 section 3, which has
// meant nothing since RFC 6121.
func (srv *Server) answerSession(st *Stanza) {
	if host, err := jid.Parse(st.From.Domain()); err == nil {
		st.To = host
	}
	if err := st.result(nil); err != nil {
		srv.log.Error("session result", "err", err)
	}
}

// bind gives the session its full address (RFC 6120 section 7).
func (s *Session) bind(t *Turn, st *Stanza) {
	resource, resources := "", 0
	for c := range xmlscan.Children(st.Element.Inner, ns.Client) {
		for r := range xmlscan.Children(c.Inner, ns.Bind) {
			if string(r.Local) == "resource" && string(r.Space) == ns.Bind {
				resource = xmlscan.Text(r.Inner)
				resources++
			}
		}
	}
	if resource == "" {
		resource = newID()
	}
	full, err := s.jid.WithResource(resource)
	if len(st.Element.Attr("id")) == 0 || st.Element.Children != 1 || resources > 1 || err != nil || !full.IsFull() {
		st.Reply(Error(stanza.BadRequest, "")) // RFC 6120 section 7.7.2.1
		return
	}
	bare := s.jid
	if refused := s.enter(t, full, func() error { return st.result(boundTo{s}) }); refused != "" {
		s.jid = bare
		st.Reply(Error(refused, ""))
	}
}

// enter binds the session to a full address, or to another one of the same account
// where the policy says so, and then answers.
func (s *Session) enter(t *Turn, full jid.JID, answer func() error) (refused stanza.Condition) {
	old, refused := s.take(&t.Batch, full)
	if refused != "" {
		return refused
	}
	since := s.neg.since
	s.grown()
	s.phase = bound
	s.srv.metrics.bound(s.transport.Info().Kind)
	// The answer is the first that the client gets, whatever others send it by now.
	err := answer()
	if old != nil {
		s.srv.replace(old)
	}
	switch {
	case s.srv.removals.since(full.Bare(), since):
		s.close(t, Close{Reason: ReasonUserRemoved})
	case err != nil:
		s.close(t, Close{Reason: ReasonInternal, Cause: err})
	default:
		s.logBound()
	}
	return ""
}

// boundTo is the Payload that tells a session its address.
type boundTo struct{ *Session }

// AppendXML implements Payload.
func (b boundTo) AppendXML(dst []byte) ([]byte, error) {
	dst = append(dst, "<bind xmlns='"+ns.Bind+"'><jid>"...)
	dst = xmlscan.AppendText(dst, b.jid.String())
	return append(dst, "</jid></bind>"...), nil
}

// take enters the session in the registry under an address, or under another
// one where the policy says so. It returns the session that had it before, if its
// hooks may still be running.
func (s *Session) take(b *Batch, full jid.JID) (old *Session, refused stanza.Condition) {
	bare := full.Bare()
	for {
		s.jid = full
		again := false
		ending, ok := s.srv.registry.put(s, func(all []*Session, had *Session) bool {
			_, elsewhere := s.srv.nodes.routes.get(full)
			taken := had != nil || elsewhere
			switch {
			case taken && s.srv.cfg.Session.ResourceConflict == conf.ConflictRefuse:
				refused = stanza.Conflict
			case taken && s.srv.cfg.Session.ResourceConflict == conf.ConflictRename:
				again = true
			case !taken && len(all)+len(s.srv.nodes.routes.of(bare)) >= s.srv.cfg.Limits.Resources:
				refused = stanza.ResourceConstraint // RFC 6120 section 7.6.2.1
			default:
				if old = had; old != nil {
					s.srv.nodes.farewell(b, old)
				}
				// A node where the address is taken gives it up when it hears of this.
				s.srv.nodes.announce(b, s)
				return true
			}
			return false
		})
		if ok && old == nil {
			old = ending
		}
		if ok || refused != "" {
			return old, refused
		}
		if again {
			// A generated resource is a valid one.
			if renamed, err := bare.WithResource(newID()); err == nil {
				full = renamed
			}
		}
	}
}

// replaceTime bounds how long a new session waits for the old one's teardown.
const replaceTime = 5 * time.Second

// replace closes the session whose address a new one took, if it is not ending
// already, and waits until its hooks ran: what they say of the old connection comes before what the new one
// says of itself.
func (srv *Server) replace(old *Session) {
	old.Kick(Close{Reason: ReasonReplaced})
	timer := time.NewTimer(replaceTime)
	defer timer.Stop()
	select {
	case <-srv.endings.of(old):
	case <-timer.C:
		srv.log.Warn("the replaced session is still busy", "jid", old.jid.String(), "conn", old.conn)
	}
}

func (s *Session) logBound() {
	if !s.srv.informs() {
		return
	}
	info := s.transport.Info()
	s.srv.log.Info("bound", "jid", s.jid.String(), "conn", s.conn,
		"transport", info.Kind, "remote", info.Remote, "secure", info.Secure)
}
